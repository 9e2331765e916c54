package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
)

const (
	lagRate   = 200 // writes per second
	lagLength = 8 * time.Second
)

// lag collects when each mutation was acknowledged and when each host had it.
type lag struct {
	mu           sync.Mutex
	acknowledged map[string]time.Time
	// applied is the time at which the last host had it, seen by how many.
	applied map[string]time.Time
	seen    map[string]int
}

func mutation(id string, seq uint64) string { return fmt.Sprintf("%s@%d", id, seq) }

// measureLag writes at a steady rate and watches all hosts: a host sends the
// event of a mutation once its local store has applied it. What is measured
// includes the event's way to the watcher.
func measureLag(ctx context.Context, b *bench) error {
	c, err := b.region(ctx, spread, small)
	if err != nil {
		return err
	}
	m := &lag{acknowledged: map[string]time.Time{}, applied: map[string]time.Time{}, seen: map[string]int{}}
	watching, stop := context.WithCancel(ctx)
	var watchers errgroup.Group
	var ready sync.WaitGroup
	for _, door := range c.hostDoors {
		ready.Add(1)
		watchers.Go(func() error { return m.watch(watching, c, door, ready.Done) })
	}
	ready.Wait()
	err = m.write(ctx, c)
	if err == nil {
		err = until(ctx, m.complete)
	}
	stop()
	if err := errors.Join(err, watchers.Wait()); err != nil {
		return err
	}
	b.reportLag(m)
	return nil
}

// watch takes note of what a host has applied. It calls ready once its watch is
// open: the host answers with a heartbeat or the first event.
func (m *lag) watch(ctx context.Context, c *cluster, door string, ready func()) error {
	host, err := newAPI(c.path("ca.pem"), door)
	if err != nil {
		ready()
		return err
	}
	defer host.http.CloseIdleConnections()
	stream, err := host.secrets.WatchSecrets(ctx, auth(c.admin, &lifeboatv1.WatchSecretsRequest{Vault: vaultName}))
	ready()
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	for stream.Receive() {
		if e := stream.Msg().GetEvent(); e != nil {
			m.apply(mutation(e.GetSecretId(), e.GetOrder().GetSeq()), time.Now())
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return stream.Err()
}

func (m *lag) apply(mutation string, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen[mutation]++
	if at.After(m.applied[mutation]) {
		m.applied[mutation] = at
	}
}

// write puts versions at a steady rate, whether or not the last are done.
func (m *lag) write(ctx context.Context, c *cluster) error {
	tick := time.NewTicker(time.Second / lagRate)
	defer tick.Stop()
	var g errgroup.Group
	value := make([]byte, valueBytes)
	for i := range int(lagLength.Seconds() * lagRate) {
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), g.Wait())
		case <-tick.C:
		}
		g.Go(func() error {
			put, err := c.api.secrets.PutSecretVersion(ctx, auth(c.token, &lifeboatv1.PutSecretVersionRequest{
				Vault: vaultName, Secret: secretName(i % small), Value: value,
			}))
			if err != nil {
				return err
			}
			now := time.Now()
			s := put.Msg.GetSecret()
			m.mu.Lock()
			defer m.mu.Unlock()
			m.acknowledged[mutation(s.GetId(), s.GetOwnership().GetOrder().GetSeq())] = now
			return nil
		})
	}
	return g.Wait()
}

// complete returns an error as long as a host lacks a mutation.
func (m *lag) complete() error { return m.completeOn(hosts) }

// completeOn returns an error as long as fewer watchers than n have seen a mutation.
func (m *lag) completeOn(n int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	missing := 0
	for mutation := range m.acknowledged {
		if m.seen[mutation] < n {
			missing++
		}
	}
	if missing > 0 {
		return fmt.Errorf("%d mutations are not on all hosts", missing)
	}
	return nil
}

func (b *bench) reportLag(m *lag) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var lags []float64
	for mutation, at := range m.acknowledged {
		lags = append(lags, max(0, m.applied[mutation].Sub(at).Seconds()*1e3))
	}
	b.report.add("apply_lag_p50_ms", "ms", percentile(lags, 50))
	b.report.add("apply_lag_p99_ms", "ms", percentile(lags, 99))
	b.report.add("apply_lag_max_ms", "ms", percentile(lags, 100))
}
