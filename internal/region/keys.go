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
	// catchUpWithin bounds the wait for what was written last.
	catchUpWithin = 30 * time.Second
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
		RotateMasterKeyEvery: k.RotateMasterKeyEvery, DataKeysPerSecond: k.DataKeysPerSecond, RecordsPerSecond: k.RecordsPerSecond, BackupsKeptFor: k.BackupsKeptFor,
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
	dataKeys, masterKeys, shreddings chan struct{}
}

func newKeyWork() keyWork {
	return keyWork{dataKeys: make(chan struct{}, 1), masterKeys: make(chan struct{}, 1), shreddings: make(chan struct{}, 1)}
}

// changed notices that there is more to do.
func (w keyWork) changed(key record.Key) {
	switch {
	case key.HasPrefix(record.DataKeyRotationPrefix):
		wake(w.dataKeys)
	case key.HasPrefix(record.ShreddingPrefix):
		wake(w.shreddings)
	case key == record.MasterKeyRotationKey:
		wake(w.masterKeys)
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
	if err := p.catchUp(ctx); err != nil && ctx.Err() == nil {
		p.log.Warn("work on keys begins by a copy that may lack the latest changes", "error", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.repeat(ctx, "data keys", p.keyWork.dataKeys, p.service.MaintainDataKeys) })
	g.Go(func() error { return p.repeat(ctx, "master keys", p.keyWork.masterKeys, p.service.MaintainMasterKeys) })
	g.Go(func() error { return p.repeat(ctx, "shreddings", p.keyWork.shreddings, p.service.MaintainShreddings) })
	return g.Wait()
}

// catchUp waits, within bounds, until this process's copy is as new as the store is now.
// Work that is due by what was written last would be missed else, and looked for only
// after a while.
func (p *Process) catchUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, catchUpWithin)
	defer cancel()
	revision, err := p.store.Revision(ctx)
	if err != nil {
		return err
	}
	return p.local.WaitApplied(ctx, revision)
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

// keyState is what a scrape reads of the work on keys.
type keyWorkState struct {
	service.KeyStats
	service.KeyStatus
}

func (p *Process) keyWorkMetrics() prometheus.Collector {
	s := newReadings("keys", func() keyWorkState { return keyWorkState{p.service.KeyStats(), p.keyStatus()} })
	s.gauge("scopes", "Vaults and accounts, which have a data key each.", func(k keyWorkState) float64 { return float64(k.Scopes) })
	s.gauge("older_generations", "Generations of data keys that no longer seal and are not deleted yet.", func(k keyWorkState) float64 { return float64(k.Older) })
	s.gauge("highest_generation", "Highest generation of a data key that seals.", func(k keyWorkState) float64 { return float64(k.HighestGeneration) })
	s.gauge("oldest_data_key_age_seconds", "Age of the oldest data key that seals.", func(k keyWorkState) float64 { return age(k.OldestActive) })
	s.gauge("rotating", "Rotations of data keys under way.", func(k keyWorkState) float64 { return float64(k.Rotating) })
	s.gauge("failed_records", "Records that the last rotations could not open.", func(k keyWorkState) float64 { return float64(k.Failed) })
	s.gauge("master_key_rotating", "1 while the rotation of master keys is under way.", func(k keyWorkState) float64 {
		return truth(k.MasterRotation != nil && k.MasterRotation.GetFinishedAt() == 0)
	})
	s.gauge("master_key_failed_data_keys", "Data keys that the last rotation of master keys could not wrap again.", func(k keyWorkState) float64 {
		return float64(k.MasterRotation.GetFailed())
	})
	s.counter("rotations_total", "Rotations of data keys that this process brought to their end.", func(k keyWorkState) uint64 { return k.Rotated })
	s.counter("master_key_rotations_total", "Rotations of master keys that this process brought to their end.", func(k keyWorkState) uint64 { return k.MasterRotated })
	s.counter("rewrapped_data_keys_total", "Data keys that this process had wrapped again by another master key.", func(k keyWorkState) uint64 { return k.Rewrapped })
	s.counter("shredded_vaults_total", "Shredded vaults of which this process deleted the last sealed record.", func(k keyWorkState) uint64 { return k.Shredded })
	s.counter("resealed_records_total", "Records that this process sealed again under a newer data key.", func(k keyWorkState) uint64 { return k.Resealed })
	return s
}

func age(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return max(0, time.Since(t).Seconds())
}

// keyStatus is by this process's own copy; empty while that is not complete.
func (p *Process) keyStatus() (status service.KeyStatus) {
	_ = p.synced(func(view record.View) (err error) {
		status, err = p.service.KeyStatus(view)
		return err
	})
	return status
}

// masterKeyCollector tells what each master key is needed for.
type masterKeyCollector struct{ p *Process }

var (
	descDataKeys = prometheus.NewDesc("lifeboat_keys_data_keys", "Data keys that the master key wraps.", []string{"master_key"}, nil)
	descBackups  = prometheus.NewDesc("lifeboat_keys_backups", "Backups that may be restored and need the master key.", []string{"master_key"}, nil)
)

// Describe implements prometheus.Collector.
func (masterKeyCollector) Describe(into chan<- *prometheus.Desc) {
	into <- descDataKeys
	into <- descBackups
}

// Collect implements prometheus.Collector.
func (c masterKeyCollector) Collect(into chan<- prometheus.Metric) {
	for _, m := range c.p.keyStatus().MasterKeys {
		into <- prometheus.MustNewConstMetric(descDataKeys, prometheus.GaugeValue, float64(m.DataKeys), m.ID)
		into <- prometheus.MustNewConstMetric(descBackups, prometheus.GaugeValue, float64(m.Backups), m.ID)
	}
}
