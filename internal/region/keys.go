package region

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

const (
	// keysEvery is how often is looked for what time makes due, and keysRetry how
	// soon work goes on that something was in the way of.
	keysEvery = time.Minute
	keysRetry = time.Second
	// sealsEvery is how often a process adds to the counts of seals.
	sealsEvery = 10 * time.Second
	// sealsAtEnd bounds the last time, when it stops.
	sealsAtEnd = 2 * time.Second
)

// keyOptions say how the region looks after its keys.
func (p *Process) keyOptions() service.KeyOptions {
	k := p.config.Keys
	return service.KeyOptions{
		RotateDataKeysEvery: k.RotateDataKeysEvery, RotateDataKeysAfter: k.RotateDataKeysAfter,
		RecordsPerSecond: k.RecordsPerSecond, BackupsKeptFor: k.BackupsKeptFor,
	}
}

// startKeyWork starts what looks after keys. One control process carries on
// rotations; each counts what it seals.
func (p *Process) startKeyWork(ctx context.Context) {
	p.run(ctx, "keys", func(ctx context.Context) error { return p.store.Hold(ctx, "keys", p.maintainKeys) })
	p.run(ctx, "counts of seals", p.countSeals)
}

// keyWork wakes what carries on work on keys.
type keyWork struct {
	dataKeys chan struct{}
}

func newKeyWork() keyWork {
	return keyWork{dataKeys: make(chan struct{}, 1)}
}

// changed notices that there is more to do.
func (w keyWork) changed(key record.Key) {
	if key.HasPrefix(record.DataKeyRotationPrefix) {
		wake(w.dataKeys)
	}
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// maintainKeys runs while this process holds the lease.
func (p *Process) maintainKeys(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.repeat(ctx, "data keys", p.keyWork.dataKeys, p.service.MaintainDataKeys) })
	return g.Wait()
}

// repeat does a kind of work when it is woken, and now and then.
func (p *Process) repeat(ctx context.Context, what string, woken <-chan struct{}, work func(context.Context) (soon bool, err error)) error {
	for failures := 0; ; {
		pause := keysEvery
		soon, err := work(ctx)
		if soon {
			pause = keysRetry
		}
		if failures++; err == nil {
			failures = 0
		} else if ctx.Err() == nil {
			pause = min(keysRetry<<min(failures-1, 6), keysEvery)
			p.log.Warn("work on keys is not done; it goes on after a pause", "what", what, "pause", pause, "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-woken:
		case <-time.After(pause):
		}
	}
}

func (p *Process) countSeals(ctx context.Context) error {
	tick := time.NewTicker(sealsEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), sealsAtEnd)
			defer cancel()
			_ = p.service.CountSeals(last) // as much as the store takes now
			return ctx.Err()
		case <-tick.C:
		}
		if err := p.service.CountSeals(ctx); err != nil && ctx.Err() == nil {
			p.log.Warn("seals are not counted yet", "error", err)
		}
	}
}

func (p *Process) keyWorkMetrics() prometheus.Collector {
	s := newReadings("keys", p.service.KeyStats)
	s.counter("rotations_total", "Rotations of data keys that this process brought to their end.", func(k service.KeyStats) uint64 { return k.Rotated })
	s.counter("resealed_records_total", "Records that this process sealed again under a newer data key.", func(k service.KeyStats) uint64 { return k.Resealed })
	return s
}
