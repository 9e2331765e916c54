package isolation_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/oklog/ulid/v2"
	"golang.org/x/sync/errgroup"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/store"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

const (
	home  = "east"
	vault = "shop"
	// writers is how many clients send mutations at the same time, each the next one
	// when it has the answer to the last.
	writers = 32
	// others bounds the messages that are not of secrets: the vault's and those of
	// the people in its account.
	others = 10
)

// source is the home region of a vault; its targets die.
type source struct {
	t       testing.TB
	regions *lifeboattest.Regions
	region  *lifeboattest.Region
	admin   *lifeboattest.Client
	token   string
	shard   *store.Shard
	// repeated counts mutations that had to be repeated.
	repeated atomic.Int64
}

// startSource starts a home region and the regions beside it. Its store may be as
// large as that of a region in production.
func startSource(t testing.TB, o lifeboattest.Options, beside ...string) *source {
	t.Helper()
	configure := o.Configure
	o.Configure = func(process string, c *config.Config) {
		c.Store.Embedded.QuotaBytes = config.Default().Store.Embedded.QuotaBytes
		if configure != nil {
			configure(process, c)
		}
	}
	s := &source{t: t, regions: lifeboattest.StartRegions(t, o, append([]string{home}, beside...)...)}
	s.region = s.regions.Region(home)
	account, err := s.region.NewAccount(t.Context(), vault)
	must(t, err)
	s.token, s.admin, s.shard = account.Token, account.Client(s.region.Control()), s.region.Shard(t)
	return s
}

func (s *source) replicate(targets ...string) {
	s.t.Helper()
	wanted := &lifeboatv1.ReplicateVaultRequest_Targets{}
	for _, target := range targets {
		wanted.Targets = append(wanted.Targets, &lifeboatv1.Target{Region: target})
	}
	_, err := s.admin.ReplicateVault(s.t.Context(), connect.NewRequest(&lifeboatv1.ReplicateVaultRequest{Vault: vault, Targets: wanted}))
	must(s.t, err)
}

func nameOf(i int) string { return fmt.Sprintf("service-%02d/password-%07d", i%20, i) }

func (s *source) create(ctx context.Context, i int) error {
	request := &lifeboatv1.CreateSecretRequest{Vault: vault, Name: nameOf(i), Value: value(i), RequestToken: ulid.Make().String()}
	return s.surely(ctx, func() error {
		_, err := s.admin.CreateSecret(ctx, connect.NewRequest(request))
		return err
	})
}

func (s *source) update(ctx context.Context, i int) error {
	request := &lifeboatv1.PutSecretVersionRequest{Vault: vault, Secret: nameOf(i), Value: value(i), RequestToken: ulid.Make().String()}
	return s.surely(ctx, func() error {
		_, err := s.admin.PutSecretVersion(ctx, connect.NewRequest(request))
		return err
	})
}

// surely repeats a mutation, which bears a request token, as clients do: on a busy
// machine the store may not answer in time.
func (s *source) surely(ctx context.Context, mutate func() error) (err error) {
	for range 20 {
		if err = mutate(); connect.CodeOf(err) != connect.CodeUnavailable || ctx.Err() != nil {
			return err
		}
		s.repeated.Add(1)
	}
	return err
}

func value(i int) []byte { return fmt.Appendf(nil, "value %d of a common size for a password", i) }

// write makes n mutations as fast as the region takes them, waits until they are
// cleared, and says what it was like.
func (s *source) write(what string, n int, mutate func(ctx context.Context, i int) error) {
	s.t.Helper()
	took := make([][]time.Duration, writers)
	repeated := s.repeated.Load()
	var next atomic.Int64
	began := time.Now()
	g, ctx := errgroup.WithContext(s.t.Context())
	for w := range writers {
		g.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return nil
				}
				sent := time.Now()
				if err := mutate(ctx, i); err != nil {
					return fmt.Errorf("%s, mutation %d: %w", what, i, err)
				}
				took[w] = append(took[w], time.Since(sent))
			}
		})
	}
	must(s.t, g.Wait())
	acknowledged := time.Since(began)
	s.cleared()
	all := slices.Sorted(slices.Values(slices.Concat(took...)))
	s.t.Logf("%s: %d mutations in %s (%.0f/s), cleared %s later; p50 %s, p99 %s; %d repeated", what, n, acknowledged.Round(time.Millisecond),
		float64(n)/acknowledged.Seconds(), (time.Since(began) - acknowledged).Round(time.Millisecond), all[len(all)/2].Round(time.Microsecond), all[len(all)*99/100].Round(time.Microsecond), s.repeated.Load()-repeated)
}

// cleared waits until every mutation is.
func (s *source) cleared() {
	s.t.Helper()
	until(s.t, "all mutations are cleared", func(ctx context.Context) (bool, any, error) {
		status, err := statusOf(ctx, s.region)
		open := lifeboattest.Cleared(status)
		return open == nil, fmt.Sprint(open), err // text, which is the same while nothing changes
	})
}

func statusOf(ctx context.Context, r *lifeboattest.Region) (*lifeboatv1.GetStatusResponse, error) {
	answer, err := r.Operator().GetStatus(ctx, connect.NewRequest(&lifeboatv1.GetStatusRequest{}))
	if err != nil {
		return nil, err
	}
	return answer.Msg, nil
}

// queues answers the state of the queue of each target.
func (s *source) queues(ctx context.Context) (map[string]*lifeboatv1.Queue, error) {
	answer, err := s.region.Operator().ListQueues(ctx, connect.NewRequest(&lifeboatv1.ListQueuesRequest{}))
	if err != nil {
		return nil, err
	}
	all := map[string]*lifeboatv1.Queue{}
	for _, q := range answer.Msg.GetQueues() {
		all[q.GetRegion()] = q
	}
	return all, nil
}

// caughtUp waits until nothing waits for a target any more.
func (s *source) caughtUp(target string) {
	s.t.Helper()
	until(s.t, target+" has caught up", func(ctx context.Context) (bool, any, error) {
		queues, err := s.queues(ctx)
		if err != nil {
			return false, nil, err
		}
		there, err := statusOf(ctx, s.regions.Region(target))
		q := queues[target]
		return q.GetDepth() == 0 && !q.GetResynchronising(), [2]int64{int64(q.GetDepth()), there.GetStoreRevision()}, err //nolint:gosec // a count
	})
}

// watchDepth notes the most messages that ever waited for a target, until stop is
// called, which returns it.
func (s *source) watchDepth(target string) (stop func() uint64) {
	ctx, cancel := context.WithCancel(s.t.Context())
	var most uint64
	var watching sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			if queues, err := s.queues(ctx); err == nil {
				most = max(most, queues[target].GetDepth())
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
	return func() uint64 {
		cancel()
		watching.Wait()
		return most
	}
}

// waiting counts the messages for a target that the store itself holds.
func (s *source) waiting(target string) (messages, bytes int) {
	s.t.Helper()
	return s.stored(string(record.MessageKey(secret.RegionName(target), "")))
}

// stored counts what the store itself holds below a prefix. What it takes grows with
// the square of that.
func (s *source) stored(prefix string) (records, bytes int) {
	s.t.Helper()
	must(s.t, s.shard.View(s.t.Context()).Scan(record.Key(prefix), record.PrefixEnd(prefix), func(r record.Stored) bool {
		records++
		bytes += len(r.Key) + len(r.Value)
		return true
	}))
	return records, bytes
}

// room checks that the store is not full, and says how large it is.
func (s *source) room(when string) {
	s.t.Helper()
	health := s.shard.Health(s.t.Context())
	must(s.t, health.Err)
	if health.NoSpace {
		s.t.Errorf("%s the store is full", when)
	}
	for _, m := range health.Members {
		must(s.t, m.Err)
		s.t.Logf("%s the store has %d MiB, %d MiB of them in use, of %d MiB", when, m.DatabaseBytes>>20, m.InUseBytes>>20, m.QuotaBytes>>20)
	}
}

// equal checks that a target has what its home has, by digest.
func (s *source) equal(target string, secrets int) {
	s.t.Helper()
	found, err := s.admin.CompareVault(s.t.Context(), connect.NewRequest(&lifeboatv1.CompareVaultRequest{Vault: vault, Region: target}))
	must(s.t, err)
	if len(found.Msg.GetDiffering())+len(found.Msg.GetSurplus()) > 0 || found.Msg.GetSecrets() != uint64(secrets) {
		s.t.Errorf("%s, which must have %d secrets, differs: %v", target, secrets, found.Msg)
	}
}
