package pipeline

import (
	"context"
	"errors"
	"time"
)

const (
	leaseName = "pipeline"
	// idleCheck bounds how late the loop notices what no event tells it: a host
	// that stopped reporting, events that have become old.
	idleCheck = time.Second
	// uselessFor is how long an owner that too few hosts report to keeps the
	// lease; givenUpFor is how long it then leaves it to others.
	uselessFor = 10 * time.Second
	givenUpFor = 2 * time.Second
	// gatherFor is how long after a batch the next one gathers if it is not full:
	// each batch is an entry of the store's log and at least one request to each
	// target, whatever its size. A mutation after a pause does not wait.
	gatherFor = 5 * time.Millisecond
)

var errUseless = errors.New("too few hosts report to this process")

// Run clears mutations while this process owns the pipeline's lease, until ctx
// ends. It gives the lease up for a while if it can do nothing with it: hosts may
// reach another control process.
func (p *Pipeline) Run(ctx context.Context) error {
	for {
		err := p.Store.Hold(ctx, leaseName, p.own)
		if !errors.Is(err, errUseless) {
			return err
		}
		p.Logger.Warn("the pipeline is left to another process for a while", "error", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(givenUpFor):
		}
	}
}

// owner is what the owner of the lease remembers of its turns.
type owner struct {
	trimmed, requeued, turned time.Time
	// useful is when it last had nothing to do or hosts to do it with.
	useful time.Time
}

func (p *Pipeline) own(ctx context.Context) error {
	p.Logger.Info("this process owns the pipeline")
	p.setOwning(true)
	defer p.setOwning(false)
	o := owner{requeued: p.Now(), useful: p.Now()}
	for {
		changed, useful := p.begun(&o)
		if !useful {
			return errUseless
		}
		err := p.turn(ctx, &o)
		o.turned = p.Now()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			p.Logger.Warn("pipeline step failed; it will be repeated", "error", err)
		} else if p.ready() > 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
			if err := Gather(ctx, gatherFor, p.Now().Sub(o.turned), func() bool { return p.ready() >= batch }); err != nil {
				return err
			}
		case <-time.After(idleCheck):
		}
	}
}

// Gather lets the next batch gather until a time has passed since the last one, unless
// it is full. Errors: the context's.
func Gather(ctx context.Context, atMost, sinceLast time.Duration, full func() bool) error {
	rest := atMost - sinceLast
	if rest <= 0 || full() {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(min(rest, atMost)): // also if the clock was set back
		return nil
	}
}

func (p *Pipeline) setOwning(owning bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.owning = owning; owning {
		p.restart() // what was delivered meanwhile is not known
	}
}

// begun looks at what only time tells, before a turn: a host that stopped
// reporting no longer holds others up.
func (p *Pipeline) begun(o *owner) (changed <-chan struct{}, useful bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before, now := p.cleared, p.Now()
	p.advance()
	if p.cleared != before {
		p.wake()
	}
	if now.Sub(o.requeued) >= idleCheck {
		o.requeued = now
		p.requeue()
	}
	if len(p.items) == 0 || len(p.registered) == 0 || 2*p.reporting(now) > len(p.registered) {
		o.useful = now
	}
	return p.changed, now.Sub(o.useful) < uselessFor
}

// reporting counts the registered hosts that report to this process; mu is held.
func (p *Pipeline) reporting(now time.Time) (n int) {
	for id := range p.registered {
		if p.heard(p.reports[id], now) {
			n++
		}
	}
	return n
}

// turn does once what is to be done.
func (p *Pipeline) turn(ctx context.Context, o *owner) error {
	if err := p.clearBatch(ctx); err != nil {
		return err
	}
	if err := p.markFailed(ctx); err != nil {
		return err
	}
	now := p.Now()
	if now.Sub(o.trimmed) <= p.OutboxFor/60 {
		return nil
	}
	if err := p.trimOutbox(ctx); err != nil {
		return err
	}
	o.trimmed = now
	return nil
}
