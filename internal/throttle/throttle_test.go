package throttle

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func limiter(t testing.TB, o Options) (*Limiter, *clock) {
	t.Helper()
	c := &clock{t: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	o.Now = c.now
	l, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return l, c
}

func refused(t *testing.T, err error, after time.Duration) {
	t.Helper()
	var r interface{ RetryAfter() time.Duration }
	if !secret.HasCode(err, secret.CodeThrottled) || !errors.As(err, &r) || r.RetryAfter() != after {
		t.Errorf("error %v; want throttled with retry after %s", err, after)
	}
}

func allowed(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("refused: %v", err)
	}
}

func TestAccountBucket(t *testing.T) {
	l, c := limiter(t, Options{PerAccount: Rate{PerSecond: 2, Burst: 3}})
	for range 3 {
		allowed(t, l.Allow("a", "v"))
	}
	refused(t, l.Allow("a", "v"), 500*time.Millisecond)
	refused(t, l.Allow("a", "w"), 500*time.Millisecond) // a refusal takes no token
	allowed(t, l.Allow("b", "v"))
	allowed(t, l.Allow("", "v"))
	c.t = c.t.Add(500 * time.Millisecond)
	allowed(t, l.Allow("a", "v"))
	refused(t, l.Allow("a", "v"), 500*time.Millisecond)
}

func TestRefusalByTheVaultTakesNothingFromTheAccount(t *testing.T) {
	l, _ := limiter(t, Options{PerAccount: Rate{PerSecond: 1, Burst: 2}, PerVault: Rate{PerSecond: 1, Burst: 1}})
	allowed(t, l.Allow("a", "v"))
	for range 10 {
		refused(t, l.Allow("a", "v"), time.Second)
	}
	allowed(t, l.Allow("a", "w"))
	refused(t, l.Allow("a", "x"), time.Second)
}

func TestRequestsInProgress(t *testing.T) {
	l, _ := limiter(t, Options{MaxConcurrent: 2})
	allowed(t, l.Requests().Enter())
	allowed(t, l.Requests().Enter())
	refused(t, l.Requests().Enter(), busyRetryAfter)
	l.Requests().Leave()
	allowed(t, l.Requests().Enter())
	if n := l.Requests().InProgress(); n != 2 {
		t.Errorf("%d in progress", n)
	}
}

func TestWatchesTakeNoSlotOfRequests(t *testing.T) {
	l, _ := limiter(t, Options{MaxConcurrent: 4, MaxWatches: 1})
	allowed(t, l.Watches().Enter())
	refused(t, l.Watches().Enter(), busyRetryAfter)
	for n := range 4 {
		if err := l.Requests().Crowded(); (err != nil) != (n > 2) {
			t.Errorf("with %d of 4 in progress: %v", n, err)
		}
		allowed(t, l.Requests().Enter())
	}
	refused(t, l.Requests().Crowded(), busyRetryAfter)
	refused(t, l.Requests().Enter(), busyRetryAfter)
	l.Watches().Leave()
	allowed(t, l.Watches().Enter())
}

func TestNoLimits(t *testing.T) {
	l, _ := limiter(t, Options{})
	for range 10000 {
		allowed(t, l.Requests().Enter())
		allowed(t, l.Allow("a", "v"))
	}
	if n := testing.AllocsPerRun(100, func() { _ = l.Allow("a", "v") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestIdleBucketsAreDropped(t *testing.T) {
	l, c := limiter(t, Options{PerVault: Rate{PerSecond: 1, Burst: 1}})
	for i := range 20_000 {
		allowed(t, l.Allow("a", secret.VaultID(fmt.Sprint(i))))
		c.t = c.t.Add(time.Millisecond) // 1,000 buckets are in use at a time
	}
	total := 0
	for i := range l.vaults.shards {
		total += len(l.vaults.shards[i].byKey)
	}
	if total > shardCount*2*minSweep {
		t.Errorf("%d buckets are kept", total)
	}
}

func TestManyAtOnceTakeNoMoreThanThereIs(t *testing.T) {
	l, _ := limiter(t, Options{PerAccount: Rate{PerSecond: 1, Burst: 100}})
	var wg sync.WaitGroup
	var taken atomic.Int64
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if l.Allow("a", "v") == nil {
					taken.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if n := taken.Load(); n != 100 {
		t.Errorf("%d requests allowed, want 100", n)
	}
}

func TestBadOptions(t *testing.T) {
	for _, o := range []Options{
		{MaxConcurrent: -1},
		{MaxWatches: -1},
		{PerAccount: Rate{PerSecond: -1, Burst: 1}},
		{PerVault: Rate{PerSecond: 1}},
	} {
		if _, err := New(o); !secret.HasCode(err, secret.CodeInvalid) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

func BenchmarkAllow(b *testing.B) {
	for name, o := range map[string]Options{
		"off":  {},
		"both": {PerAccount: Rate{1e9, 1e9}, PerVault: Rate{1e9, 1e9}},
	} {
		b.Run(name, func(b *testing.B) {
			l, err := New(o)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				_ = l.Requests().Enter()
				_ = l.Allow("01JABCDEFGHJKMNPQRSTVWXYZ0", "01JABCDEFGHJKMNPQRSTVWXYZ1")
				l.Requests().Leave()
			}
		})
	}
}
