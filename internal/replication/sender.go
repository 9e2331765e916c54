package replication

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1/peerv1connect"
	"github.com/lifeboat-secrets/lifeboat/internal/pipeline"
	"github.com/lifeboat-secrets/lifeboat/internal/queue"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

const (
	// batchMessages and batchBytes bound what goes into one request; batchBytes is
	// exceeded only by a single large secret.
	batchMessages = 128
	batchBytes    = 1 << 20
	// maxInFlight bounds the batches under way to a target. At a round trip of
	// 150 ms that is 13,000 small secrets, or 100 MiB, each second.
	maxInFlight = 16
	// deliverTimeout bounds one request.
	deliverTimeout = 30 * time.Second
	// deferFor is how long a record rests whose last mutation is not cleared yet;
	// clearing it puts its message again, which ends the rest.
	deferFor = 2 * time.Second
	// gatherFor is how long after a batch was taken the next one gathers if it is not
	// full: a batch costs a request and a transaction, whatever its size. A mutation
	// after a pause does not wait.
	gatherFor = 20 * time.Millisecond
)

// Outgoing is what a sender needs of the service.
type Outgoing interface {
	Ship(ctx context.Context, view record.View, key record.Key, cleared int64, values []secret.VersionID) (*service.Shipment, error)
	ShipPromotion(view record.View, key record.Key, to secret.RegionName) (*service.Shipment, error)
	NotePromotion(ctx context.Context, key record.Key, by secret.RegionName) (settled bool, err error)
}

// Store is what a sender needs of the shard.
type Store interface {
	Commit(ctx context.Context, txn record.Txn) (revision int64, err error)
}

// Copy is this process's copy of the shard.
type Copy interface {
	LocalStore
	// Applied returns the revision that the copy has reached.
	Applied() int64
	// WaitApplied returns when the copy has reached a revision, or ctx ends, with its
	// error.
	WaitApplied(ctx context.Context, revision int64) error
}

// SenderOptions of a Sender. Those without a default are required.
type SenderOptions struct {
	Region, Target secret.RegionName
	Queue          *queue.Queue
	Routes         *Routes
	Service        Outgoing
	Digester       Digester
	Local          Copy
	Store          Store
	// Client reaches the target over its link.
	Client peerv1connect.ReplicationServiceClient
	// Delivered is told how long after its commit each state was received; it must
	// not block. May be nil.
	Delivered func(lag time.Duration)
	// Compared is told what each scheduled comparison found; may be nil.
	Compared func(Comparison)
	// SynchronisePerSecond bounds the records that a synchronisation sends; default
	// 5000.
	SynchronisePerSecond int
	// CompareEvery is how often everything that the target holds is compared by
	// digest; default 10 minutes, negative means never.
	CompareEvery time.Duration
	Logger       *slog.Logger
	Now          func() time.Time
}

// Sender brings one target what waits for it. Only one process should run it at a
// time, which saves work; two at once do no harm.
type Sender struct {
	SenderOptions
	// synchronising is told that there may be a synchronisation to do.
	synchronising chan struct{}
	lane          lane
}

// NewSender returns a Sender. Feed it with Changed and Run it.
func NewSender(o SenderOptions) *Sender {
	o.SynchronisePerSecond = cmp.Or(o.SynchronisePerSecond, 5000)
	o.CompareEvery = cmp.Or(o.CompareEvery, 10*time.Minute)
	if o.Delivered == nil {
		o.Delivered = func(time.Duration) {}
	}
	if o.Compared == nil {
		o.Compared = func(Comparison) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Sender{SenderOptions: o, synchronising: make(chan struct{}, 1), lane: lane{more: make(chan struct{}, 1)}}
}

// Changed takes note of what the local store applied.
func (s *Sender) Changed(changes []record.Change) {
	prefix := record.SynchronisationPrefix + string(s.Target) + "/"
	for _, c := range changes {
		if c.Key.HasPrefix(prefix) {
			signal(s.synchronising)
			return
		}
	}
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run delivers until ctx ends, and returns its error.
func (s *Sender) Run(ctx context.Context) error {
	s.Logger.Info("this process replicates to the region", "target", s.Target)
	var parts sync.WaitGroup
	defer parts.Wait()
	parts.Go(func() { s.runSynchronisations(ctx) })
	parts.Go(func() { s.runResynchronisations(ctx) })
	parts.Go(func() { s.runComparisons(ctx) })
	slots := make(chan struct{}, maxInFlight)
	parts.Go(func() { s.runLane(ctx, slots) })
	var taken time.Time
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case slots <- struct{}{}:
		}
		if err := s.Queue.Wait(ctx, s.Target); err != nil {
			return err
		}
		if err := s.gather(ctx, taken, func() int { return s.Queue.Waiting(s.Target) }); err != nil {
			return err
		}
		taken = s.Now()
		messages := s.Queue.Take(s.Target, batchMessages)
		parts.Go(func() {
			defer func() { <-slots }()
			s.deliver(ctx, messages)
		})
	}
}

// gather lets a batch gather after one was taken.
func (s *Sender) gather(ctx context.Context, taken time.Time, waiting func() int) error {
	return pipeline.Gather(ctx, gatherFor, s.Now().Sub(taken), func() bool { return waiting() >= batchMessages })
}

// deliver brings the target the present states of what messages point at.
func (s *Sender) deliver(ctx context.Context, messages []queue.Message) {
	if len(messages) == 0 {
		return
	}
	keys := make([]record.Key, len(messages))
	byKey := make(map[record.Key]queue.Message, len(messages))
	for i, m := range messages {
		keys[i], byKey[m.Record] = m.Record, m
	}
	fates := s.send(ctx, parcelsOf(keys...))
	var done, deferred, unreached []queue.Message
	var failed []queue.Failure
	rest := deferFor
	for _, key := range keys {
		m, fate := byKey[key], fates[key]
		if key.HasPrefix(record.VaultPrefix) && secret.HasCode(fate.err, secret.CodeNotFound) {
			fate = s.sendWithAccount(ctx, key)
		}
		switch {
		case fate.err == nil:
			done = append(done, m)
			s.Delivered(s.Now().Sub(m.CommittedAt))
		case fate.unreachable:
			unreached = append(unreached, m)
		case fate.rest > 0:
			deferred, rest = append(deferred, m), fate.rest
		default:
			failed = append(failed, queue.Failure{Message: m, Code: secret.CodeOf(fate.err), Reason: reasonOf(fate.err)})
		}
	}
	s.settle(ctx, done, failed)
	if len(deferred) > 0 {
		s.Queue.Release(s.Target, deferred, rest)
	}
	if len(unreached) > 0 {
		wait := s.Queue.Unreachable(s.Target, unreached)
		s.Logger.Debug("the target is not reached", "target", s.Target, "messages", len(unreached), "again_in", wait, "error", fates[unreached[0].Record].err)
	}
}

// sendWithAccount sends a vault once more, after the account that the target says it
// lacks: a message may come before the synchronisation that brings all of it.
func (s *Sender) sendWithAccount(ctx context.Context, vault record.Key) fate {
	err := s.sendAccountOf(ctx, vault)
	if _, refused := errors.AsType[*secret.Error](err); refused {
		return fate{err: err}
	}
	if err != nil {
		return fate{err: err, rest: clearsIn}
	}
	return s.send(ctx, parcelsOf(vault))[vault]
}

func (s *Sender) settle(ctx context.Context, done []queue.Message, failed []queue.Failure) {
	if len(done) > 0 {
		if err := s.Queue.Done(ctx, s.Target, done); err != nil && ctx.Err() == nil {
			s.Logger.Warn("delivered messages could not be deleted; they will be delivered again", "target", s.Target, "error", err)
		}
	}
	if len(failed) == 0 {
		return
	}
	f := failed[0]
	s.Logger.Warn("the target refuses records", "target", s.Target, "records", len(failed), "first", f.Message.Record, "code", f.Code, "reason", f.Reason)
	if err := s.Queue.Failed(ctx, s.Target, failed); err != nil && ctx.Err() == nil {
		s.Logger.Warn("failures could not be stored", "target", s.Target, "error", err)
	}
}

// reasonOf is what people are shown of an error: its message, not its cause.
func reasonOf(err error) string { return refusal(err).GetMessage() }
