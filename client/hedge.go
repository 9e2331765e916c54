package client

import (
	"context"
	"slices"
	"sync"
	"time"
)

const (
	// maxBeside bounds the requests of one read that are under way at once.
	maxBeside = 3
	// Of all reads a client makes one in tenth twice because the first address is
	// slow, and maxHedges at once: when every region is slow, more would only add load.
	hedgesPerRead = 0.1
	maxHedges     = 10
)

// budget bounds hedges. Safe for concurrent use.
type budget struct {
	mu    sync.Mutex
	spent float64
}

// read earns a part of a hedge.
func (b *budget) read() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.spent = max(0, b.spent-hedgesPerRead)
}

// take reports whether there is one left.
func (b *budget) take() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.spent+1 > maxHedges {
		return false
	}
	b.spent++
	return true
}

// attempt is one request of a read.
type attempt[A any] struct {
	at      *endpoint
	answer  *A
	failure *Error
}

// reading is a read under way.
type reading[A any] struct {
	*round[A]
	// open are the endpoints that were not asked yet, in order; asked those that were
	// and have not answered.
	open, asked []*endpoint
	answers     chan attempt[A]
	running     sync.WaitGroup
	failed      failures
}

// read asks the first region and, if it fails or is slow, the next ones beside it. The
// first answer counts.
func (r *round[A]) read(ctx context.Context) (*A, *Error) {
	endpoints, aside := r.candidates()
	if len(endpoints) == 1 && len(aside) == 0 {
		return r.try(ctx, endpoints[0])
	}
	r.client.budget.read()
	ctx, cancel := context.WithCancel(ctx)
	g := &reading[A]{round: r, open: endpoints, answers: make(chan attempt[A], len(endpoints)), failed: aside}
	defer g.running.Wait()
	defer cancel()
	return g.run(ctx)
}

// candidates returns the endpoints to ask, in order, and the failures of regions that
// are not asked. If no region is known to answer all are asked.
func (r *round[A]) candidates() (endpoints []*endpoint, aside failures) {
	order := r.client.order(r.about, "")
	for _, at := range order {
		available := at.available()
		if endpoints = append(endpoints, available...); len(available) == 0 {
			aside = append(aside, putAside(at))
		}
	}
	if len(endpoints) > 0 {
		return endpoints, aside
	}
	for _, at := range order {
		endpoints = append(endpoints, at.endpoints...)
	}
	return endpoints, nil
}

func (g *reading[A]) run(ctx context.Context) (*A, *Error) {
	wait := time.NewTimer(g.client.hedgeAfter)
	defer wait.Stop()
	opened := g.next(ctx)
	for len(g.asked) > 0 {
		select {
		case a := <-g.answers:
			if a.failure == nil {
				g.won(a.at)
				return a.answer, nil
			}
			if done := g.lost(a); done != nil {
				return nil, done
			}
			opened = g.next(ctx)
			wait.Reset(g.client.hedgeAfter)
		case <-opened:
			opened = g.next(ctx)
			wait.Reset(g.client.hedgeAfter)
		case <-wait.C:
			if len(g.open) > 0 && len(g.asked) < maxBeside && g.client.budget.take() {
				opened = g.next(ctx)
			}
			wait.Reset(g.client.hedgeAfter)
		}
	}
	return nil, g.failed.choose(g.about)
}

// next asks the next endpoint, if there is one, and returns what tells that it is
// known to be dead or slow.
func (g *reading[A]) next(ctx context.Context) (opened <-chan struct{}) {
	if len(g.open) == 0 {
		return nil
	}
	at := g.open[0]
	g.open, g.asked = g.open[1:], append(g.asked, at)
	if !at.breaker.open() {
		opened = at.breaker.opened()
	}
	g.running.Go(func() {
		answer, failure := g.try(ctx, at)
		g.answers <- attempt[A]{at, answer, failure}
	})
	return opened
}

// won takes note of what an answer tells of those that did not give it: who was asked
// before is slow, and who lacks the vault need not be asked next time.
func (g *reading[A]) won(at *endpoint) {
	for _, e := range g.asked {
		if e == at {
			break
		}
		e.breaker.slow()
	}
	for _, e := range g.failed {
		if isAbsent(e, g.about) && lacksVault(e) {
			g.client.absences.note(g.about.vault, e.Region)
		}
	}
}

// lost takes note of a failure. It returns the error of the read if no other region can
// help.
func (g *reading[A]) lost(a attempt[A]) *Error {
	g.asked = slices.DeleteFunc(g.asked, func(e *endpoint) bool { return e == a.at })
	g.failed = append(g.failed, a.failure)
	named := g.client.named(a.failure)
	switch {
	case named == a.at.region: // which knows for sure
		return a.failure
	case !g.mayHelp(a.failure):
		return a.failure
	case isAbsent(a.failure, g.about), a.failure.Code == CodeNotReached:
		// Other hosts of the region have no other answer.
		g.open = slices.DeleteFunc(g.open, func(e *endpoint) bool { return e.region == a.at.region })
	}
	if named != nil {
		slices.SortStableFunc(g.open, func(x, y *endpoint) int { return rankOf(x, named) - rankOf(y, named) })
	}
	return nil
}

func rankOf(e *endpoint, preferred *region) int {
	if e.region == preferred {
		return 0
	}
	return 1
}

// mayHelp reports whether another region or host may answer a read that this error
// refused. Who is throttled is to slow down, not to go elsewhere.
func (g *reading[A]) mayHelp(e *Error) bool {
	if e.final {
		return false
	}
	switch e.Code {
	case CodeUnreachable, CodeUnavailable, CodeOutcomeUnknown, CodeAuditUnavailable, CodeKeyUnavailable, CodeWrongKey,
		CodeNotReached, CodeTampered, CodeCorrupt, CodeUnknownFormat, CodeInternal:
		return true
	}
	return isAbsent(e, g.about)
}
