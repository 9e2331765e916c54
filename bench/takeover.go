package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/keyring"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/file"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

// heir is the region that takes home over.
const heir = "west"

// measureTakeover measures how long after the decision to take a region over the first
// write is accepted, at a thousand and, if that is the size of the large region, a
// million secrets, and how fast a region that returns catches up.
func measureTakeover(ctx context.Context, b *bench) error {
	var few []float64
	for i := range max(1, b.rounds/2) {
		took, err := b.takeOver(ctx, fmt.Sprint("takeover-", i), small)
		if err != nil {
			return err
		}
		few = append(few, took)
	}
	b.report.add("takeover_s_1k", "s", few...)
	if b.secrets == million {
		took, err := b.takeOver(ctx, "takeover-1m", million)
		if err != nil {
			return err
		}
		b.report.add("takeover_s_1m", "s", took)
		b.report.add("takeover_1m_vs_1k_ratio", "", took/median(few))
		return nil
	}
	return b.measureReturn(ctx)
}

// startPairOf starts home and heir with room for a million secrets.
func startPairOf(ctx context.Context, dir string) (*replicated, error) {
	regions, err := lifeboattest.OpenRegions(ctx, lifeboattest.Options{Dir: dir, Fsync: true, Configure: func(_ string, c *config.Config) {
		c.Store.Embedded.QuotaBytes = config.Default().Store.Embedded.QuotaBytes
	}}, home, heir)
	if err != nil {
		return nil, err
	}
	r := &replicated{Regions: regions}
	if r.account, err = regions.Region(home).NewAccount(ctx, "acme"); err == nil {
		err = r.replicate(ctx, []string{heir})
	}
	if err == nil {
		err = until(ctx, func() error {
			_, err := r.atHeir().GetVault(ctx, connect.NewRequest(&lifeboatv1.GetVaultRequest{Vault: r.account.Vault}))
			return err
		})
	}
	if err != nil {
		return nil, errors.Join(err, regions.Close())
	}
	return r, nil
}

func (r *replicated) atHeir() *lifeboattest.Client {
	west := r.Region(heir)
	return west.Client(west.Control(), r.account.Token)
}

// takeOver measures one takeover of n secrets. They are written straight into the heir's
// store, as replicas: the region that is lost is not asked for any.
func (b *bench) takeOver(ctx context.Context, name string, n int) (took float64, err error) {
	dir := filepath.Join(b.dir, name)
	r, err := startPairOf(ctx, dir)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, r.Close(), os.RemoveAll(dir)) }()
	if err := r.fillHeir(ctx, n); err != nil {
		return 0, err
	}
	if err := r.lose(ctx); err != nil {
		return 0, err
	}
	began := time.Now()
	if _, err := r.Region(heir).Operator().TakeOverRegion(ctx, connect.NewRequest(&lifeboatv1.TakeOverRegionRequest{Region: home})); err != nil {
		return 0, err
	}
	err = until(ctx, func() error { return r.putAtHeir(ctx, n-1) })
	return time.Since(began).Seconds(), err
}

func (r *replicated) putAtHeir(ctx context.Context, i int) error {
	_, err := r.atHeir().PutSecretVersion(ctx, connect.NewRequest(&lifeboatv1.PutSecretVersionRequest{
		Vault: r.account.Vault, Secret: secretName(i), Value: make([]byte, valueBytes),
	}))
	return err
}

// fillHeir makes replicas 0 to n-1, and waits until they can be read.
func (r *replicated) fillHeir(ctx context.Context, n int) (err error) {
	east, closeEast, err := r.Region(home).OpenShard()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeEast()) }()
	identity, _, err := record.Load(east.View(ctx), record.Regions, record.RegionKey)
	if err != nil {
		return err
	}
	if err := r.fillWest(ctx, identity, n); err != nil {
		return err
	}
	return until(ctx, func() error {
		got, err := r.atHeir().GetSecretValue(ctx, connect.NewRequest(&lifeboatv1.GetSecretValueRequest{Vault: r.account.Vault, Secret: secretName(n - 1)}))
		if err == nil && got.Msg.GetFreshness().GetFromStore() {
			err = errors.New("not there yet")
		}
		return err
	})
}

func (r *replicated) fillWest(ctx context.Context, identity *recordpb.Region, n int) error {
	west, closeWest, err := r.Region(heir).OpenShard()
	if err != nil {
		return err
	}
	wrapper, err := file.Open(r.Region(heir).KeyFile())
	if err != nil {
		return errors.Join(err, closeWest())
	}
	keys := keyring.New(keyring.Options{Wrapper: wrapper})
	err = fill(ctx, west, keys, identity, n)
	return errors.Join(err, keys.Close(), wrapper.Close(), closeWest())
}

// lose cuts home off and waits until the heir knows.
func (r *replicated) lose(ctx context.Context) error {
	r.Isolate(home)
	return r.Region(heir).WaitPeer(ctx, home, func(p *lifeboatv1.Peer) bool { return !p.GetReachable() })
}

// measureReturn has home miss a takeover and a new version of each secret, and measures
// how many it catches up with per second.
func (b *bench) measureReturn(ctx context.Context) (err error) {
	dir := filepath.Join(b.dir, "return")
	r, err := startPairOf(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close(), os.RemoveAll(dir)) }()
	if err := atOnce(ctx, func(ctx context.Context, i int) error { return r.put(ctx, secretName(i), make([]byte, valueBytes)) }); err != nil {
		return err
	}
	if err := until(ctx, func() error { return r.lacksNothing(ctx, home) }); err != nil {
		return err
	}
	if err := r.lose(ctx); err != nil {
		return err
	}
	if _, err := r.Region(heir).Operator().TakeOverRegion(ctx, connect.NewRequest(&lifeboatv1.TakeOverRegionRequest{Region: home})); err != nil {
		return err
	}
	if err := atOnce(ctx, r.putAtHeir); err != nil {
		return err
	}
	if err := until(ctx, func() error { return r.hasMoved(ctx) }); err != nil {
		return err
	}
	began := time.Now()
	r.Rejoin(home)
	if err := until(ctx, func() error { return r.lacksNothing(ctx, heir) }); err != nil {
		return err
	}
	b.report.add("return_sync_per_s", "1/s", drained/time.Since(began).Seconds())
	return nil
}

// atOnce does something for each secret that a target catches up with.
func atOnce(ctx context.Context, do func(context.Context, int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(connections)
	for i := range drained {
		g.Go(func() error { return do(ctx, i) })
	}
	return g.Wait()
}

// hasMoved returns an error until all records of home have moved to the heir.
func (r *replicated) hasMoved(ctx context.Context) error {
	answer, err := r.Region(heir).Operator().ListTakeovers(ctx, connect.NewRequest(&lifeboatv1.ListTakeoversRequest{}))
	if err == nil && (len(answer.Msg.GetTakeovers()) != 1 || answer.Msg.GetTakeovers()[0].GetMovedAt() == nil) {
		err = errors.New("not all records have moved")
	}
	return err
}

// lacksNothing returns an error while something of a region waits for the other one, or
// it has taken that over.
func (r *replicated) lacksNothing(ctx context.Context, from string) error {
	operator := r.Region(from).Operator()
	status, err := operator.GetStatus(ctx, connect.NewRequest(&lifeboatv1.GetStatusRequest{}))
	if err != nil {
		return err
	}
	queues, err := operator.ListQueues(ctx, connect.NewRequest(&lifeboatv1.ListQueuesRequest{}))
	if err != nil {
		return err
	}
	takeovers, err := operator.ListTakeovers(ctx, connect.NewRequest(&lifeboatv1.ListTakeoversRequest{}))
	if err != nil {
		return err
	}
	if err := lifeboattest.Cleared(status.Msg); err != nil {
		return err
	}
	waiting := uint64(len(takeovers.Msg.GetTakeovers()))
	for _, q := range queues.Msg.GetQueues() {
		waiting += q.GetDepth()
	}
	if waiting > 0 {
		return fmt.Errorf("%d mutations wait", waiting)
	}
	return nil
}
