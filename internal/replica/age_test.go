package replica_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/replica"
)

// clocks are the two clocks of a host, which tests set.
type clocks struct{ wall, boot atomic.Int64 }

func newClocks() *clocks {
	c := &clocks{}
	c.wall.Store(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano())
	c.boot.Store(int64(time.Hour))
	return c
}

func (c *clocks) pass(d time.Duration) {
	c.wall.Add(int64(d))
	c.boot.Add(int64(d))
}

func (c *clocks) in(o replica.Options) replica.Options {
	o.Now = func() time.Time { return time.Unix(0, c.wall.Load()) }
	o.Boot = func() time.Duration { return time.Duration(c.boot.Load()) }
	return o
}

func connected(p replica.Position) bool    { return p.Connected }
func disconnected(p replica.Position) bool { return !p.Connected }

func (h *host) mustBeAged(want time.Duration) {
	h.t.Helper()
	if got := h.Age(); got != want || h.Position().Age != want {
		h.t.Errorf("age %v, in the position %v, want %v", got, h.Position().Age, want)
	}
}

// cutOff has followed m and is cut off now.
func cutOff(t *testing.T, m *memory, c *clocks) *host {
	h := start(t, c.in(options(t, m)))
	h.until("connected", connected)
	h.wait(m.put(name(1), ref(1)))
	h.mustBeAged(0)
	m.sever(errCut)
	h.until("disconnected", disconnected)
	return h
}

func TestAgeIsNotThatOfTheTimeOfDay(t *testing.T) {
	m, c := initialised(), newClocks()
	h := cutOff(t, m, c)
	c.pass(30 * time.Hour)
	h.mustBeAged(30 * time.Hour)
	c.wall.Add(-int64(29 * time.Hour))
	h.mustBeAged(30 * time.Hour)
	c.wall.Add(int64(1000 * time.Hour))
	h.mustBeAged(30 * time.Hour)
}

func TestAgeAfterARestart(t *testing.T) {
	for _, tc := range []struct {
		name       string
		wall, boot time.Duration
		want       func(time.Duration) bool
	}{
		{"an hour later", time.Hour, -time.Hour, func(d time.Duration) bool { return d == time.Hour }},
		{"set back a little", -time.Second, 0, func(d time.Duration) bool { return d == 0 }},
		{"set back", -time.Minute, 0, func(d time.Duration) bool { return d > 365*24*time.Hour }},
		{"no clock at boot", -50 * 365 * 24 * time.Hour, -time.Hour, func(d time.Duration) bool { return d > 365*24*time.Hour }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m, c := initialised(), newClocks()
			h := cutOff(t, m, c)
			h.end()
			c.wall.Add(int64(tc.wall))
			c.boot.Add(int64(tc.boot))
			h = start(t, h.opts)
			before := h.Age()
			if !tc.want(before) {
				t.Errorf("age %v", before)
			}
			c.pass(time.Hour)
			h.mustBeAged(before + time.Hour)
			m.sever(nil)
			h.until("connected", connected)
			h.mustBeAged(0)
		})
	}
}

func TestAgeOfAHostThatNeverHeardOfTheStore(t *testing.T) {
	m := newMemory()
	m.sever(errCut)
	if h := start(t, options(t, m)); h.Age() < 365*24*time.Hour {
		t.Errorf("age %v", h.Age())
	}
}

// A machine that was suspended wakes up connected to a store that has gone on.
func TestSilenceIsNoConnection(t *testing.T) {
	m, c := initialised(), newClocks()
	h := start(t, c.in(options(t, m)))
	h.until("connected", connected)
	c.pass(2 * time.Second)
	if !h.Connected() || h.Age() != 2*time.Second {
		t.Errorf("after 2 s of silence: connected %v, age %v", h.Connected(), h.Age())
	}
	c.boot.Add(int64(time.Hour)) // also if the time of day does not tell
	if h.Connected() || h.Position().Connected || h.Age() < time.Hour {
		t.Errorf("after an hour of silence: connected %v, age %v", h.Connected(), h.Age())
	}
}

// scripted is a source whose feed is a function.
type scripted struct {
	*memory
	feed func(ctx context.Context, after int64, apply func(record.Batch) error) error
}

func (s scripted) Feed(ctx context.Context, after int64, apply func(record.Batch) error) error {
	return s.feed(ctx, after, apply)
}

func TestAnAnswerOfTheStoreIsNotBeingUpToDate(t *testing.T) {
	m, c := initialised(), newClocks()
	h := cutOff(t, m, c)
	h.end()
	c.pass(30 * time.Hour)
	m.put(name(1), ref(2))
	revoked := m.put(name(2), ref(2))
	m.sever(nil)
	asked, steps := make(chan bool), make(chan record.Batch)
	defer close(steps)
	h.opts.Source = scripted{m, func(ctx context.Context, _ int64, apply func(record.Batch) error) error {
		select {
		case asked <- true:
		case <-ctx.Done():
			return ctx.Err()
		}
		for {
			select {
			case b, ok := <-steps:
				if !ok || b.Revision == 0 {
					return errCut
				}
				if err := apply(b); err != nil {
					return err
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}}
	h = start(t, h.opts)
	mustBeStale := func(when string) {
		t.Helper()
		if p := h.Position(); p.Connected || p.Age != 30*time.Hour {
			t.Errorf("%s: connected %v, age %v", when, p.Connected, p.Age)
		}
	}
	<-asked // the store has answered, and the feed is followed
	mustBeStale("before any change")
	steps <- record.Batch{}
	<-asked // once more
	mustBeStale("after a lost connection")
	changes := m.log[len(m.log)-2:]
	steps <- changes[0]
	h.wait(revoked - 1)
	mustBeStale("half way")
	c.pass(time.Hour)
	steps <- changes[1]
	h.until("as of when the store was asked", func(p replica.Position) bool { return p.Age == time.Hour })
	steps <- record.Batch{Revision: revoked, Asked: time.Now().Add(-time.Minute)}
	h.until("vouched for", func(p replica.Position) bool { return p.Age < time.Hour })
	if age := h.Age(); age < time.Minute || age > 10*time.Minute {
		t.Errorf("age %v after a beat that took a minute", age)
	}
	steps <- record.Batch{Revision: revoked}
	h.until("up to date", func(p replica.Position) bool { return p.Age == 0 && p.Connected })
}
