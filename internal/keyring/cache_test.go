package keyring_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/lifeboat-secrets/lifeboat/internal/keyring"
	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errAway = kms.Fault("test", errors.New("connection refused"))

func away(context.Context) error { return errAway }

// hang answers when the caller gives up.
func hang(ctx context.Context) error {
	<-ctx.Done()
	return kms.Cancelled(ctx)
}

func TestKeysAreUnwrappedOncePerLifetime(t *testing.T) {
	w := newWorld(t, keyring.Options{CacheFor: time.Hour})
	sealed := w.seal(t, vault, "content", place()) // unwraps the SEAL and the MAC key
	for i, step := range []struct {
		advance time.Duration
		calls   int
	}{{0, 2}, {time.Hour - 1, 2}, {1, 3}, {0, 3}, {time.Hour - 1, 3}, {1, 4}, {50 * time.Hour, 5}} {
		w.advance(step.advance)
		w.mustOpen(t, vault, sealed, "content")
		if got := w.service.calls(); got != step.calls {
			t.Errorf("step %d: %d calls of the key service, want %d", i, got, step.calls)
		}
	}
	if s := w.Stats(); s.Hits != 4 || s.Unwraps != 5 || s.Misses != 5 || s.Failures != 0 || s.StaleServes != 0 || s.Cached != 2 || s.MostSeals != 1 {
		t.Errorf("stats %+v", s)
	}
	if h := w.Health(); !h.OK() || !h.LastSuccess.Equal(w.clock()) || h.KeyService.Driver != "file" {
		t.Errorf("health %+v", h)
	}
}

func TestAHitReadsNoRecord(t *testing.T) {
	w := newWorld(t, keyring.Options{})
	sealed := w.seal(t, vault, "content", place())
	got, err := w.Open(t.Context(), nil, vault, sealed, place())
	if err != nil || string(got.Reveal()) != "content" {
		t.Errorf("Open: %v", err)
	}
}

// However many requests wait for a key, the key service is asked once.
func TestOneCallForManyWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, keyring.Options{Now: time.Now})
		sealed := w.seal(t, vault, "content", place())
		w.Forget(vault)
		before := w.service.calls()
		answer := make(chan struct{})
		w.service.fail(func(context.Context) error { <-answer; return nil })
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() {
				if got, err := w.open(t, vault, sealed, place()); err != nil || got != "content" {
					t.Errorf("Open: %v", err)
				}
			})
		}
		synctest.Wait()
		close(answer)
		wg.Wait()
		if got := w.service.calls() - before; got != 1 {
			t.Errorf("%d calls of the key service, want 1", got)
		}
	})
}

func TestACallOutlivesItsFirstCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, keyring.Options{Now: time.Now})
		sealed := w.seal(t, vault, "content", place())
		w.Forget(vault)
		answer := make(chan struct{})
		w.service.fail(func(context.Context) error { <-answer; return nil })
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := w.Open(ctx, &w.shard, vault, sealed, place())
			if !errors.Is(err, context.Canceled) {
				t.Errorf("first caller: %v", err)
			}
		})
		synctest.Wait()
		wg.Go(func() { w.mustOpen(t, vault, sealed, "content") })
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(answer)
		wg.Wait()
	})
}

func TestStaleKeysServeWhileTheKeyServiceIsAway(t *testing.T) {
	w := newWorld(t, keyring.Options{CacheFor: time.Hour, StaleFor: 3 * time.Hour})
	sealed := w.seal(t, vault, "content", place())
	w.service.fail(away)
	w.advance(2 * time.Hour)
	before := w.service.calls()
	for range 10 {
		w.mustOpen(t, vault, sealed, "content")
	}
	if got := w.service.calls() - before; got != 1 {
		t.Errorf("%d calls of a key service that is away, want 1", got)
	}
	if s := w.Stats(); s.StaleServes != 10 || s.Failures != 1 {
		t.Errorf("stats %+v", s)
	}
	since := w.clock()
	if h := w.Health(); h.OK() || !errors.Is(h.Err, kms.ErrFault) || !h.FailingSince.Equal(since) {
		t.Errorf("health %+v", h)
	}
	w.advance(5 * time.Second)
	w.mustOpen(t, vault, sealed, "content")
	if got := w.service.calls() - before; got != 2 {
		t.Errorf("%d calls after the pause, want 2", got)
	}
	// Sealing goes on as well.
	w.mustOpen(t, vault, w.seal(t, vault, "more", place()), "more")
	if h := w.Health(); !h.FailingSince.Equal(since) {
		t.Errorf("failing since %v, want %v", h.FailingSince, since)
	}
	w.advance(2*time.Hour - 5*time.Second)
	_, err := w.open(t, vault, sealed, place())
	wantCode(t, err, secret.CodeKeyUnavailable, "past the grace")
	if !errors.Is(err, kms.ErrFault) {
		t.Errorf("got %v, want ErrFault", err)
	}
	w.service.fail(nil)
	w.mustOpen(t, vault, sealed, "content")
	if h := w.Health(); !h.OK() || !h.FailingSince.IsZero() {
		t.Errorf("health after recovery %+v", h)
	}
}

// A pause between attempts must not make a key live past its grace.
func TestGraceEndsDuringAPause(t *testing.T) {
	w := newWorld(t, keyring.Options{CacheFor: time.Hour, StaleFor: 3 * time.Second})
	sealed := w.seal(t, vault, "content", place())
	w.service.fail(away)
	w.advance(time.Hour)
	w.mustOpen(t, vault, sealed, "content")
	w.advance(3 * time.Second)
	_, err := w.open(t, vault, sealed, place())
	wantCode(t, err, secret.CodeKeyUnavailable, "past the grace")
}

func TestNoStaleKeys(t *testing.T) {
	w := newWorld(t, keyring.Options{CacheFor: time.Hour, StaleFor: -1})
	sealed := w.seal(t, vault, "content", place())
	w.service.fail(away)
	w.advance(time.Hour)
	_, err := w.open(t, vault, sealed, place())
	wantCode(t, err, secret.CodeKeyUnavailable, "past the lifetime")
}

// A key service that refuses has decided; a stale key must not overrule it.
func TestRefusalEndsUse(t *testing.T) {
	for _, refusal := range []error{kms.WrongKey("test", "master", nil), kms.Tampered("master")} {
		w := newWorld(t, keyring.Options{CacheFor: time.Hour})
		sealed := w.seal(t, vault, "content", place())
		w.service.fail(func(context.Context) error { return refusal })
		w.advance(time.Hour)
		_, err := w.open(t, vault, sealed, place())
		if !errors.Is(err, refusal) {
			t.Errorf("got %v, want %v", err, refusal)
		}
		w.service.fail(away)
		if _, err := w.open(t, vault, sealed, place()); err == nil {
			t.Error("the key was used after it was refused")
		}
	}
}

func TestSlowKeyServiceDelaysStaleReadsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, keyring.Options{Now: time.Now, CacheFor: time.Hour, UnwrapTimeout: 20 * time.Second})
		sealed := w.seal(t, vault, "content", place())
		time.Sleep(2 * time.Hour)
		w.service.fail(hang)
		start := time.Now()
		w.mustOpen(t, vault, sealed, "content")
		if d := time.Since(start); d != time.Second {
			t.Errorf("waited %v, want 1s", d)
		}
		for range 100 {
			w.mustOpen(t, vault, sealed, "content")
		}
		if d := time.Since(start); d != time.Second {
			t.Errorf("later reads waited as well: %v", d)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestUnansweredCallTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, keyring.Options{Now: time.Now, UnwrapTimeout: 3 * time.Second})
		sealed := w.seal(t, vault, "content", place())
		w.Forget(vault)
		w.service.fail(hang)
		start := time.Now()
		_, err := w.open(t, vault, sealed, place())
		wantCode(t, err, secret.CodeKeyUnavailable, "Open")
		if !errors.Is(err, kms.ErrFault) || time.Since(start) != 3*time.Second {
			t.Errorf("after %v: %v, want ErrFault after 3s", time.Since(start), err)
		}
	})
}

// A key that nobody asks for any more must not stay in memory.
func TestIdleKeysAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, keyring.Options{Now: time.Now, CacheFor: time.Hour, StaleFor: time.Hour})
		w.seal(t, vault, "content", place())
		time.Sleep(2*time.Hour - 1)
		synctest.Wait()
		if n := w.Stats().Cached; n != 2 {
			t.Errorf("%d keys before the end, want 2", n)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if n := w.Stats().Cached; n != 0 {
			t.Errorf("%d keys after the end, want 0", n)
		}
	})
}

func TestCloseEndsCallsAndDropsKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, keyring.Options{Now: time.Now})
		sealed := w.seal(t, vault, "content", place())
		elsewhere := w.seal(t, other, "content", place())
		w.Forget(other)
		w.service.fail(hang)
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := w.open(t, other, elsewhere, place())
			wantCode(t, err, secret.CodeKeyUnavailable, "Open during Close")
		})
		synctest.Wait()
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
		w.service.fail(nil)
		for scope, content := range map[string]secret.Sealed{vault: sealed, other: elsewhere} {
			_, err := w.open(t, scope, content, place())
			wantCode(t, err, secret.CodeKeyUnavailable, "Open after Close")
		}
		if n := w.Stats().Cached; n != 0 {
			t.Errorf("%d keys cached after Close", n)
		}
	})
}

// A key read before Forget must not come back after it.
func TestForgetDuringACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, keyring.Options{Now: time.Now})
		sealed := w.seal(t, vault, "content", place())
		w.Forget(vault)
		answer := make(chan struct{})
		w.service.fail(func(context.Context) error { <-answer; return nil })
		before := w.service.calls()
		var wg sync.WaitGroup
		wg.Go(func() { w.mustOpen(t, vault, sealed, "content") })
		synctest.Wait()
		w.Forget(vault)
		wg.Go(func() { w.mustOpen(t, vault, sealed, "content") })
		synctest.Wait()
		close(answer)
		wg.Wait()
		if got := w.service.calls() - before; got != 2 {
			t.Errorf("%d calls of the key service, want 2", got)
		}
	})
}

// A record that was changed is not the key service's fault.
func TestTamperingLeavesHealthAlone(t *testing.T) {
	w := newWorld(t, keyring.Options{})
	sealed := w.seal(t, vault, "content", place())
	w.Forget(vault)
	w.service.fail(func(context.Context) error { return kms.Tampered("master") })
	_, err := w.open(t, vault, sealed, place())
	wantCode(t, err, secret.CodeTampered, "Open")
	if h := w.Health(); !h.OK() || w.Stats().Failures != 1 {
		t.Errorf("health %+v, stats %+v", h, w.Stats())
	}
}

// The cache, under any order of events, does what this model does.
func TestCacheModel(t *testing.T) {
	const cacheFor, staleFor, pause = time.Hour, 90 * time.Minute, 5 * time.Second
	refusal := kms.WrongKey("test", "master", nil)
	modes := map[string]func(context.Context) error{"up": nil, "away": away, "refuses": func(context.Context) error { return refusal }}
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t, keyring.Options{CacheFor: cacheFor, StaleFor: staleFor})
		content := w.seal(t, vault, "content", place())
		w.Forget(vault)
		var mode = "up"
		var cached bool
		var renewAt, usableUntil time.Time
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			switch rapid.SampledFrom([]string{"open", "open", "advance", "mode", "forget"}).Draw(rt, "event") {
			case "advance":
				w.advance(rapid.SampledFrom([]time.Duration{time.Second, pause, 29 * time.Minute, cacheFor, staleFor}).Draw(rt, "by"))
			case "mode":
				mode = rapid.SampledFrom([]string{"up", "away", "refuses"}).Draw(rt, "mode")
				w.service.fail(modes[mode])
			case "forget":
				w.Forget(vault)
				cached = false
			case "open":
				now := w.clock()
				cached = cached && now.Before(usableUntil)
				wantCall := !cached || !now.Before(renewAt)
				switch {
				case !wantCall:
				case mode == "up":
					cached, renewAt, usableUntil = true, now.Add(cacheFor), now.Add(cacheFor+staleFor)
				case mode == "away":
					renewAt = now.Add(pause)
				default:
					cached = false
				}
				before := w.service.calls()
				_, err := w.open(t, vault, content, place())
				if called := w.service.calls() != before; (err == nil) != cached || called != wantCall {
					rt.Fatalf("%s at %v: called %v, error %v; want called %v, success %v", mode, now, called, err, wantCall, cached)
				}
			}
		}
	})
}

func TestConcurrentUseWhileKeysComeAndGo(t *testing.T) {
	w := newWorld(t, keyring.Options{CacheFor: time.Minute})
	sealed := w.seal(t, vault, "content", place())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				if got, err := w.open(t, vault, sealed, place()); err != nil || got != "content" {
					t.Errorf("Open: %v", err)
					return
				}
			}
		})
	}
	wg.Go(func() {
		for i := range 100 {
			w.advance(time.Minute)
			if i%10 == 0 {
				w.Forget(vault)
			}
			_, _ = w.Stats(), w.Health()
		}
	})
	wg.Wait()
}
