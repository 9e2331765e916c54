package main

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lifeboat-secrets/lifeboat/internal/audit"
	"github.com/lifeboat-secrets/lifeboat/internal/authn"
	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/keyring"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/file"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/replica"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
	"github.com/lifeboat-secrets/lifeboat/internal/store"
	"github.com/lifeboat-secrets/lifeboat/internal/throttle"
)

// connectedLocal is a local store that is up to date.
type connectedLocal struct{ *replica.Local }

func (connectedLocal) Age() time.Duration { return 0 }

// absentLocal has every read ask the store.
type absentLocal struct{}

func (absentLocal) View(func(record.View) error) error {
	return secret.Errorf(secret.CodeUnavailable, "there is no local store")
}
func (absentLocal) Age() time.Duration { return 0 }

// measureRemote compares reading a value from the local store with reading it
// from the store over the network, as a read does that the local store cannot
// answer. Both are the same use case, without HTTP, one read at a time.
func measureRemote(ctx context.Context, b *bench) (err error) {
	c, err := b.region(ctx, spread, small)
	if err != nil {
		return err
	}
	client, err := c.dial(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	shard := shardOf(client)
	local, err := replica.Open(replica.Options{Path: filepath.Join(b.dir, "remote", "local.db"), Source: shard})
	if err != nil {
		return err
	}
	var g errgroup.Group
	g.Go(func() error { return local.Run(ctx) })
	defer func() { err = errors.Join(err, local.Close(), g.Wait()) }()
	if err := until(ctx, func() error {
		if !local.Position().Synced {
			return errors.New("not in sync yet")
		}
		return nil
	}); err != nil {
		return err
	}
	return b.compareRemote(ctx, c, shard, local)
}

func (b *bench) compareRemote(ctx context.Context, c *cluster, shard *store.Shard, local *replica.Local) (err error) {
	log, err := audit.Open(audit.Options{Paths: []string{filepath.Join(b.dir, "remote", "audit.log")}, Region: "bench", Process: "bench"})
	if err != nil {
		return err
	}
	wrapper, err := file.Open(c.path("kms-keys"))
	if err != nil {
		return errors.Join(err, log.Close())
	}
	keys := keyring.New(keyring.Options{Wrapper: wrapper})
	defer func() { err = errors.Join(err, log.Close(), keys.Close(), wrapper.Close()) }()
	authenticator, err := authn.New(authn.Options{})
	if err != nil {
		return err
	}
	limiter, err := throttle.New(throttle.Options{})
	if err != nil {
		return err
	}
	newService := func(l service.LocalStore) *service.Service {
		return service.New(service.Options{
			Region: "bench", Store: shard, Local: l, Keyring: keys, Authenticator: authenticator, Authorizer: authz.New(authz.Options{}), Audit: log,
			Throttle: limiter,
		})
	}
	near, far := newService(connectedLocal{local}), newService(absentLocal{})
	var ratios, nears, fars []float64
	for range b.rounds {
		var n, f []float64
		for i := range 500 {
			for _, side := range []struct {
				s  *service.Service
				to *[]float64
			}{{near, &n}, {far, &f}} {
				took, err := c.readOnce(ctx, side.s, authenticator, secretName(i))
				if err != nil {
					return err
				}
				*side.to = append(*side.to, took)
			}
		}
		nears, fars = append(nears, percentile(n, 50)), append(fars, percentile(f, 50))
		ratios = append(ratios, percentile(n, 50)/percentile(f, 50))
	}
	b.report.add("local_vs_remote_latency_ratio", "", ratios...)
	b.report.add("local_read_us", "us", nears...)
	b.report.add("remote_read_us", "us", fars...)
	return nil
}

// readOnce reads a value and returns how long it took, in microseconds.
func (c *cluster) readOnce(ctx context.Context, s *service.Service, a *authn.Authenticator, name string) (float64, error) {
	r := &service.Request{
		ID: "bench", Source: netip.MustParseAddr("127.0.0.1"),
		Authenticate: func(view record.View, now time.Time) (authn.Caller, error) { return a.Bearer(view, c.token, now) },
	}
	start := time.Now()
	_, err := s.GetSecretValue(service.WithRequest(ctx, r), service.ValueRef{SecretRef: service.SecretRef{Vault: vaultName, Secret: name}})
	return float64(time.Since(start)) / 1e3, err
}
