package client

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	// slowStrikes is how many calls in a row another endpoint must have answered
	// first until one counts as too slow to be asked.
	slowStrikes = 3
	// An endpoint that is dead or slow is probed after the first pause, then ever
	// more rarely until it answers a call, with jitter.
	firstProbe = 500 * time.Millisecond
	lastProbe  = 30 * time.Second
	// probeTimeout bounds a probe.
	probeTimeout = 3 * time.Second
)

// breaker keeps calls from an endpoint that is dead or slow, until a probe has
// found that it answers. It is closed at first. Safe for concurrent use.
type breaker struct {
	mu      sync.Mutex
	strikes int
	isOpen  bool
	opens   chan struct{} // closed when it opens
	probing bool
	probeAt time.Time
	pauses  *backoff.ExponentialBackOff
}

func newBreaker() *breaker {
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.MaxInterval, pauses.Multiplier = firstProbe, lastProbe, 2
	pauses.Reset()
	return &breaker{opens: make(chan struct{}), pauses: pauses}
}

func (b *breaker) open() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.isOpen
}

// opened returns a channel that is closed once the breaker opens.
func (b *breaker) opened() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.opens
}

// answered notes an answer to a call, whatever it says.
func (b *breaker) answered() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.strikes = 0
	b.pauses.Reset()
	b.shut()
}

// broke notes that a call got no answer.
func (b *breaker) broke() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trip()
}

// slow notes that another endpoint was faster, although it was asked later.
func (b *breaker) slow() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.strikes++; b.strikes >= slowStrikes {
		b.trip()
	}
}

// trip opens the breaker. The caller holds the lock, as with shut.
func (b *breaker) trip() {
	if b.isOpen {
		return
	}
	b.isOpen, b.strikes = true, 0
	b.probeAt = time.Now().Add(b.pauses.NextBackOff())
	close(b.opens)
}

func (b *breaker) shut() {
	if b.isOpen {
		b.isOpen, b.opens = false, make(chan struct{})
	}
}

// dueProbe reports whether it is the caller who is to probe now.
func (b *breaker) dueProbe(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.isOpen || b.probing || now.Before(b.probeAt) {
		return false
	}
	b.probing = true
	return true
}

// probed notes what a probe has found.
func (b *breaker) probed(alive bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing = false
	if alive {
		b.shut()
		return
	}
	b.probeAt = time.Now().Add(b.pauses.NextBackOff())
}

// probeDue starts the probes whose time has come, beside the caller's call: so an
// endpoint that is dead costs a probe now and then, not each call its time.
func (c *core) probeDue() {
	if len(c.regions) == 1 && len(c.regions[0].endpoints) == 1 {
		return // it is asked in any case
	}
	now := time.Now()
	for _, r := range c.regions {
		for _, e := range r.endpoints {
			if !e.breaker.dueProbe(now) {
				continue
			}
			if !c.running.start() {
				e.breaker.probed(false)
				return
			}
			go func() {
				defer c.running.done()
				e.breaker.probed(e.alive(c.life))
			}()
		}
	}
}

// alive reports whether a process answers that is not about to stop.
func (e *endpoint) alive(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, e.base+probePath, http.NoBody)
	if err != nil {
		return false
	}
	answer, err := e.region.http.Do(request)
	if err != nil {
		return false
	}
	_ = answer.Body.Close()
	return answer.StatusCode < http.StatusInternalServerError
}

// probePath is what load balancers ask too. What does not know it is alive.
const probePath = "/health/reads"

// group counts goroutines that must have ended before the client is closed.
type group struct {
	mu     sync.Mutex
	closed bool
	wait   sync.WaitGroup
}

func (g *group) start() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.wait.Add(1)
	}
	return !g.closed
}

func (g *group) done() { g.wait.Done() }

// close waits for those that run, and lets no other start.
func (g *group) close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.wait.Wait()
}
