package replication

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/time/rate"

	peerv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1"
	"github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1/peerv1connect"
	"github.com/lifeboat-secrets/lifeboat/internal/queue"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// collectPage is how many deleted records a region is asked about at a time.
const collectPage = 500

// Graves is what a collector needs of the service.
type Graves interface {
	Graves() (*service.Graves, error)
	RaiseHorizon(ctx context.Context, peer secret.RegionName, said secret.Moment) (revision int64, err error)
	CollectDeleted(ctx context.Context, graves []service.Grave) (int, error)
	ForgetReplicas(ctx context.Context, home secret.RegionName, said secret.Moment, graves []service.Grave) (int, error)
}

// CollectorOptions of a Collector. Those without a default are required.
type CollectorOptions struct {
	Service Graves
	Queue   *queue.Queue
	Store   Store
	// Clients reach the peers over their links.
	Clients map[secret.RegionName]peerv1connect.ReplicationServiceClient
	// Every is how often what is left of deleted records is looked at; default one
	// hour.
	Every time.Duration
	// PerSecond bounds the records that are forgotten; default 500.
	PerSecond int
	// Collected is told what each round found and did; may be nil.
	Collected func(Collected)
	Logger    *slog.Logger
	Now       func() time.Time
}

// Collected is what a round of collection found and did.
type Collected struct {
	// Resting counts what is left of deleted records of this region by what it waits
	// for, Copies that of other regions' records: both as found.
	Resting map[secret.Resting]int
	Copies  int
	// Own and OfOthers were forgotten.
	Own, OfOthers int
}

// Collector forgets what is left of deleted records, when nothing can bring them
// back. Only one process of a region should run it at a time, which saves work; two
// at once do no harm, and one that is killed leaves nothing to be mended.
type Collector struct {
	CollectorOptions
	limit *rate.Limiter
}

// NewCollector returns a Collector. Run it.
func NewCollector(o CollectorOptions) *Collector {
	o.Every, o.PerSecond = cmp.Or(o.Every, time.Hour), cmp.Or(o.PerSecond, 500)
	if o.Collected == nil {
		o.Collected = func(Collected) {}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Collector{CollectorOptions: o, limit: rate.NewLimiter(rate.Limit(o.PerSecond), collectPage)}
}

// Run collects until ctx ends, and returns its error.
func (c *Collector) Run(ctx context.Context) error {
	tick := time.NewTicker(c.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		done, err := c.Collect(ctx)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			c.Logger.Info("what is left of some deleted records cannot be collected now; it will", "error", err)
		}
		if done.Own+done.OfOthers > 0 {
			c.Logger.Info("collected what was left of deleted records", "own", done.Own, "of_others", done.OfOthers)
		}
	}
}

// Collect does one round. What cannot be collected, because a region does not answer
// or has not heard of the deletion, stays for the next one.
func (c *Collector) Collect(ctx context.Context) (Collected, error) {
	graves, err := c.Service.Graves()
	if err != nil {
		return Collected{}, err
	}
	done := Collected{Resting: graves.Resting, Copies: graves.Copies}
	own, err := c.collectOwn(ctx, graves)
	done.Own = own
	errs := []error{err}
	for home, left := range graves.Replicas {
		n, err := c.forget(ctx, home, left)
		done.OfOthers += n
		errs = append(errs, err)
	}
	c.Collected(done)
	return done, errors.Join(errs...)
}

// collectOwn forgets records whose home is here, page by page: whoever may hold them
// is asked first, and must have taken note that they were deleted.
func (c *Collector) collectOwn(ctx context.Context, graves *service.Graves) (collected int, err error) {
	var errs []error
	for page := range slices.Chunk(graves.Ready, collectPage) {
		if err := c.limit.WaitN(ctx, len(page)); err != nil {
			return collected, err
		}
		confirmed, err := c.confirm(ctx, graves.At, page)
		errs = append(errs, err)
		page = slices.DeleteFunc(slices.Clone(page), func(g service.Grave) bool { return !g.Collectable(graves.Forgotten, confirmed[g.Record]) })
		n, err := c.Service.CollectDeleted(ctx, page)
		collected += n
		errs = append(errs, err)
	}
	return collected, errors.Join(errs...)
}

// confirm asks the holders of deleted records whether these are live there. It
// returns those that confirmed, by record. An error names what did not answer.
func (c *Collector) confirm(ctx context.Context, at secret.Moment, graves []service.Grave) (map[record.Key][]secret.RegionName, error) {
	held := make(map[secret.RegionName][]record.Key)
	for _, g := range graves {
		for _, holder := range g.Holders {
			held[holder] = append(held[holder], g.Record)
		}
	}
	confirmed := make(map[record.Key][]secret.RegionName)
	var errs []error
	for holder, keys := range held {
		live, err := c.ask(ctx, holder, at, keys)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, key := range keys {
			if !live[key] {
				confirmed[key] = append(confirmed[key], holder)
			}
		}
	}
	return confirmed, errors.Join(errs...)
}

// ask asks one holder. It takes note of when that said so: what it has in a backup
// made before may be live. What is live there although nothing is under way is told
// anew.
func (c *Collector) ask(ctx context.Context, holder secret.RegionName, at secret.Moment, keys []record.Key) (map[record.Key]bool, error) {
	client := c.Clients[holder]
	if client == nil {
		return nil, secret.Errorf(secret.CodeUnavailable, "region %s, which may hold deleted records, is no peer", holder)
	}
	asked, cancel := context.WithTimeout(ctx, deliverTimeout)
	defer cancel()
	answer, err := client.ConfirmDeleted(asked, connect.NewRequest(&peerv1.ConfirmDeletedRequest{
		Incarnation: string(at.Incarnation), Revision: at.Revision, Records: namesOf(keys),
	}))
	if err != nil {
		return nil, err
	}
	said := secret.Moment{Incarnation: secret.Incarnation(answer.Msg.GetIncarnation()), Revision: answer.Msg.GetRevision()}
	if _, err := c.Service.RaiseHorizon(ctx, holder, said); err != nil {
		return nil, err
	}
	live := make(map[record.Key]bool)
	for _, name := range answer.Msg.GetLive() {
		live[record.Key(name)] = true
	}
	return live, c.tellAnew(ctx, holder, answer.Msg.GetLive())
}

func (c *Collector) tellAnew(ctx context.Context, target secret.RegionName, live []string) error {
	for batch := range slices.Chunk(live, batchMessages/2) {
		var txn record.Txn
		for _, name := range batch {
			c.Logger.Warn("the target holds a record that is deleted, although nothing was under way; it is told again", "target", target, "record", name)
			c.Queue.Enqueue(&txn, []secret.RegionName{target}, record.Key(name), c.Now())
		}
		if _, err := c.Store.Commit(ctx, txn); err != nil {
			return err
		}
	}
	return nil
}

// forget forgets what is left here of another region's records, as far as that region
// says that it may be.
func (c *Collector) forget(ctx context.Context, home secret.RegionName, graves []service.Grave) (forgotten int, err error) {
	client := c.Clients[home]
	if client == nil {
		return 0, nil // a region that is gone for good leaves them for good
	}
	for page := range slices.Chunk(graves, collectPage) {
		if err := c.limit.WaitN(ctx, len(page)); err != nil {
			return forgotten, err
		}
		req := &peerv1.GetForgottenRequest{}
		for _, g := range page {
			req.Records = append(req.Records, string(g.Record))
		}
		asked, cancel := context.WithTimeout(ctx, deliverTimeout)
		answer, err := client.GetForgotten(asked, connect.NewRequest(req))
		cancel()
		if err != nil {
			return forgotten, err
		}
		said := secret.Moment{Incarnation: secret.Incarnation(answer.Msg.GetIncarnation()), Revision: answer.Msg.GetRevision()}
		page = slices.DeleteFunc(slices.Clone(page), func(g service.Grave) bool {
			return !slices.Contains(answer.Msg.GetRecords(), string(g.Record))
		})
		n, err := c.Service.ForgetReplicas(ctx, home, said, page)
		if forgotten += n; err != nil {
			return forgotten, err
		}
	}
	return forgotten, nil
}
