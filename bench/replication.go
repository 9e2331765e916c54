package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

const (
	// roundTrip is that of the slow link between regions.
	roundTrip = 80 * time.Millisecond
	// drained is how many secrets a target catches up with.
	drained = 10_000
	home    = "east"
)

// replicated is a home region with targets, all in this process: what is measured
// includes the work of the targets, which share the machine.
type replicated struct {
	*lifeboattest.Regions
	account *lifeboattest.Account
}

func startReplicated(ctx context.Context, dir string, targets ...string) (*replicated, error) {
	regions, err := lifeboattest.OpenRegions(ctx, lifeboattest.Options{Dir: dir, Fsync: true}, append([]string{home}, targets...)...)
	if err != nil {
		return nil, err
	}
	r := &replicated{Regions: regions}
	if r.account, err = regions.Region(home).NewAccount(ctx, "acme"); err == nil {
		err = r.replicate(ctx, targets)
	}
	if err != nil {
		return nil, errors.Join(err, regions.Close())
	}
	return r, nil
}

func (r *replicated) replicate(ctx context.Context, targets []string) error {
	request := &lifeboatv1.ReplicateVaultRequest{Vault: r.account.Vault, Targets: &lifeboatv1.ReplicateVaultRequest_Targets{}}
	for _, target := range targets {
		request.Targets.Targets = append(request.Targets.Targets, &lifeboatv1.Target{Region: target})
	}
	_, err := r.client().ReplicateVault(ctx, connect.NewRequest(request))
	return err
}

func (r *replicated) client() *lifeboattest.Client {
	return r.account.Client(r.Region(home).Control())
}

// put puts a value, and makes the secret if it is not there.
func (r *replicated) put(ctx context.Context, name string, value []byte) error {
	c, vault := r.client(), r.account.Vault
	_, err := c.PutSecretVersion(ctx, connect.NewRequest(&lifeboatv1.PutSecretVersionRequest{Vault: vault, Secret: name, Value: value}))
	if connect.CodeOf(err) != connect.CodeNotFound {
		return err
	}
	_, err = c.CreateSecret(ctx, connect.NewRequest(&lifeboatv1.CreateSecretRequest{Vault: vault, Name: name, Value: value}))
	return err
}

// depth returns how many messages wait for a target.
func (r *replicated) depth(ctx context.Context, target string) (uint64, error) {
	answer, err := r.Region(home).Operator().ListQueues(ctx, connect.NewRequest(&lifeboatv1.ListQueuesRequest{}))
	if err != nil {
		return 0, err
	}
	for _, q := range answer.Msg.GetQueues() {
		if q.GetRegion() == target {
			return q.GetDepth(), nil
		}
	}
	return 0, fmt.Errorf("there is no queue for %s", target)
}

func (r *replicated) waitEmpty(ctx context.Context, target string) error {
	for {
		depth, err := r.depth(ctx, target)
		if err != nil || depth == 0 {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// measureReplication measures what replication costs the source and how fast a
// target is reached.
func measureReplication(ctx context.Context, b *bench) error {
	if err := b.measureReach(ctx); err != nil {
		return err
	}
	return b.measureSource(ctx)
}

// measureReach measures the lag and how fast a target catches up, with and without
// a round trip.
func (b *bench) measureReach(ctx context.Context) (err error) {
	r, err := startReplicated(ctx, filepath.Join(b.dir, "reach"), "west")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	var near, far, ratio []float64
	for range max(1, b.rounds/3) {
		n, err := r.drain(ctx, 0)
		if err != nil {
			return err
		}
		f, err := r.drain(ctx, roundTrip)
		if err != nil {
			return err
		}
		near, far, ratio = append(near, n), append(far, f), append(ratio, f/n)
	}
	b.report.add("crr_drain_per_s", "1/s", near...)
	b.report.add("crr_drain_80ms_per_s", "1/s", far...)
	b.report.add("crr_drain_rtt_ratio", "", ratio...)
	lags, err := r.lags(ctx)
	if err != nil {
		return err
	}
	b.report.add("crr_lag_p50_ms", "ms", percentile(lags, 50))
	b.report.add("crr_lag_p99_ms", "ms", percentile(lags, 99))
	return nil
}

func (r *replicated) delay(d time.Duration) {
	r.Link(home, "west").Delay(d / 2)
	r.Link("west", home).Delay(d / 2)
}

// drain has the target miss a mutation of each secret, and answers how many it
// catches up with per second.
func (r *replicated) drain(ctx context.Context, rtt time.Duration) (float64, error) {
	operator := r.Region(home).Operator()
	if _, err := operator.PauseQueue(ctx, connect.NewRequest(&lifeboatv1.PauseQueueRequest{Region: "west"})); err != nil {
		return 0, err
	}
	r.delay(rtt)
	var g errgroup.Group
	g.SetLimit(connections)
	value := make([]byte, valueBytes)
	for i := range drained {
		g.Go(func() error { return r.put(ctx, secretName(i), value) })
	}
	if err := g.Wait(); err != nil {
		return 0, err
	}
	var waiting uint64
	for waiting < drained {
		depth, err := r.depth(ctx, "west")
		if err != nil {
			return 0, err
		}
		waiting = depth
		time.Sleep(5 * time.Millisecond)
	}
	start := time.Now()
	if _, err := operator.ResumeQueue(ctx, connect.NewRequest(&lifeboatv1.ResumeQueueRequest{Region: "west"})); err != nil {
		return 0, err
	}
	err := r.waitEmpty(ctx, "west")
	r.delay(0)
	return drained / time.Since(start).Seconds(), err
}

// lags writes at a steady rate over the slow link and answers how long after its
// acknowledgement each mutation could be read in the target.
func (r *replicated) lags(ctx context.Context) ([]float64, error) {
	r.delay(roundTrip)
	defer r.delay(0)
	m := &lag{acknowledged: map[string]time.Time{}, applied: map[string]time.Time{}, seen: map[string]int{}}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	west := r.Region("west")
	stream, err := west.Client(west.Control(), r.account.Token).WatchSecrets(watching, connect.NewRequest(&lifeboatv1.WatchSecretsRequest{Vault: r.account.Vault}))
	if err != nil {
		return nil, err
	}
	var watcher errgroup.Group
	watcher.Go(func() error {
		for stream.Receive() {
			if e := stream.Msg().GetEvent(); e != nil {
				m.apply(mutation(e.GetSecretId(), e.GetOrder().GetSeq()), time.Now())
			}
		}
		return nil
	})
	tick := time.NewTicker(time.Second / lagRate)
	defer tick.Stop()
	var g errgroup.Group
	c, value := r.client(), make([]byte, valueBytes)
	for i := range int(lagLength.Seconds() * lagRate) {
		<-tick.C
		g.Go(func() error {
			put, err := c.PutSecretVersion(ctx, connect.NewRequest(&lifeboatv1.PutSecretVersionRequest{Vault: r.account.Vault, Secret: secretName(i), Value: value}))
			if err == nil {
				s := put.Msg.GetSecret()
				m.mu.Lock()
				m.acknowledged[mutation(s.GetId(), s.GetOwnership().GetOrder().GetSeq())] = time.Now()
				m.mu.Unlock()
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if err := until(ctx, func() error { return m.completeOn(1) }); err != nil {
		return nil, err
	}
	stop()
	_ = watcher.Wait()
	var lags []float64
	for mutation, at := range m.acknowledged {
		lags = append(lags, max(0, m.applied[mutation].Sub(at).Seconds()*1e3))
	}
	return lags, nil
}
