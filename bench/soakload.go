package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"github.com/oklog/ulid/v2"
	"golang.org/x/sync/errgroup"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
)

// newSoakRegion makes a region whose processes tell their goroutines and keep as
// little history as they may.
func newSoakRegion(ctx context.Context, dir string) (*cluster, error) {
	return newRegionWith(ctx, dir, spread, soakSecrets, func(conf *config.Config) error {
		conf.Store.CompactionKeep = soakKeep
		return freePorts(&conf.Listen.AdminAddress)
	})
}

// processes of the region by name.
func (c *cluster) processes() map[string]*child {
	all := map[string]*child{"control": c.control}
	for i, h := range c.hosts {
		all[fmt.Sprint("host-", i)] = h
	}
	return all
}

// mixedLoad is what callers of a region do: mostly read, sometimes write, make,
// delete, list, watch, connect anew, and make mistakes.
type mixedLoad struct {
	cluster *cluster
	// done counts requests, mutations those that change something.
	done, mutations atomic.Int64
}

func (c *cluster) mixedLoad() *mixedLoad { return &mixedLoad{cluster: c} }

const (
	soakWorkers = 4
	// soakPause between a worker's requests leaves the machine room for others.
	soakPause = 5 * time.Millisecond
	// soakWatch is how long a watch stays open.
	soakWatch = 2 * time.Second
	// mostWritten is how many of the secrets get new versions.
	mostWritten = 100
)

// run loads the region for a while. Nothing may fail but what must.
func (l *mixedLoad) run(ctx context.Context, length time.Duration) error {
	var g errgroup.Group
	deadline := time.Now().Add(length)
	for worker := range soakWorkers {
		g.Go(func() error {
			doors := append([]string{l.cluster.door}, l.cluster.hostDoors...)
			clients := make([]*api, len(doors))
			defer func() {
				for _, a := range clients {
					if a != nil {
						a.http.CloseIdleConnections()
					}
				}
			}()
			for n := 0; time.Now().Before(deadline) && ctx.Err() == nil; n++ {
				i := mathrand.IntN(len(doors)) //nolint:gosec // a load needs no cryptography
				if clients[i] == nil {
					var err error
					if clients[i], err = newAPI(l.cluster.path("ca.pem"), doors[i]); err != nil {
						return err
					}
				}
				if err := l.one(ctx, clients[i], worker, n); err != nil && ctx.Err() == nil {
					return err
				}
				l.done.Add(1)
				time.Sleep(soakPause)
			}
			return ctx.Err()
		})
	}
	return g.Wait()
}

// one makes a request of a kind drawn by weight.
func (l *mixedLoad) one(ctx context.Context, a *api, worker, n int) error {
	token := l.cluster.admin
	name := secretName(mathrand.IntN(soakSecrets)) //nolint:gosec // as said
	switch draw := mathrand.IntN(100); {           //nolint:gosec // as said
	case draw < 70:
		_, err := a.secrets.GetSecretValue(ctx, auth(token, &lifeboatv1.GetSecretValueRequest{Vault: vaultName, Secret: name}))
		return err
	case draw < 80:
		value := make([]byte, valueBytes)
		_, _ = rand.Read(value)                       // never fails
		name = secretName(mathrand.IntN(mostWritten)) //nolint:gosec // as said
		l.mutations.Add(1)
		_, err := a.secrets.PutSecretVersion(ctx, auth(token, &lifeboatv1.PutSecretVersionRequest{Vault: vaultName, Secret: name, Value: value}))
		return unlessCode(err, connect.CodeUnavailable) // two workers may write to one secret
	case draw < 85:
		return l.createAndDelete(ctx, a, fmt.Sprintf("passing/%d-%d-%d", worker, n, time.Now().UnixNano()))
	case draw < 90:
		_, err := a.secrets.ListSecrets(ctx, auth(token, &lifeboatv1.ListSecretsRequest{Vault: vaultName, PageSize: 100}))
		return err
	case draw < 94:
		_, err := a.secrets.GetSecretValue(ctx, auth(token, &lifeboatv1.GetSecretValueRequest{Vault: vaultName, Secret: "no-such"}))
		return must(err, connect.CodeNotFound)
	case draw < 97:
		_, err := a.secrets.GetSecretValue(ctx, auth("lbt_wrong", &lifeboatv1.GetSecretValueRequest{Vault: vaultName, Secret: name}))
		return must(err, connect.CodeUnauthenticated)
	case draw < 98:
		return l.watch(ctx, a)
	default:
		a.http.CloseIdleConnections()
		return nil
	}
}

func (l *mixedLoad) createAndDelete(ctx context.Context, a *api, name string) error {
	l.mutations.Add(2)
	_, err := a.secrets.CreateSecret(ctx, auth(l.cluster.admin, &lifeboatv1.CreateSecretRequest{Vault: vaultName, Name: name, Value: []byte("passing")}))
	if err != nil {
		return err
	}
	_, err = a.secrets.DeleteSecret(ctx, auth(l.cluster.admin, &lifeboatv1.DeleteSecretRequest{Vault: vaultName, Secret: name, Immediate: true}))
	return err
}

// watch follows events for a moment.
func (l *mixedLoad) watch(ctx context.Context, a *api) error {
	ctx, cancel := context.WithTimeout(ctx, soakWatch)
	defer cancel()
	stream, err := a.secrets.WatchSecrets(ctx, auth(l.cluster.admin, &lifeboatv1.WatchSecretsRequest{Vault: vaultName}))
	if err == nil {
		for stream.Receive() { //nolint:revive // until the time is over
		}
		err = stream.Err()
		_ = stream.Close()
	}
	// The host may notice first that the time is over.
	if code := connect.CodeOf(err); ctx.Err() != nil || code == connect.CodeCanceled || code == connect.CodeDeadlineExceeded {
		return nil
	}
	return err
}

// must reports what did not fail with the code.
func must(err error, code connect.Code) error {
	if connect.CodeOf(err) == code {
		return nil
	}
	return errors.Join(fmt.Errorf("a request did not fail with %s", code), err)
}

func unlessCode(err error, code connect.Code) error {
	if connect.CodeOf(err) == code {
		return nil
	}
	return err
}

// eventsKept is how long the outbox keeps events, its margin included.
const eventsKept = 70 * time.Minute

// fillOutbox makes the events that a load of that many mutations a second would
// have left in the time for which they are kept. Without them a soak of half an
// hour would see the outbox grow, and nothing of it go.
func (c *cluster) fillOutbox(ctx context.Context, perSecond float64) error {
	client, err := c.dial(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	shard := shardOf(client)
	n := int(perSecond * eventsKept.Seconds())
	began := time.Now().Add(-eventsKept)
	var g errgroup.Group
	g.SetLimit(4)
	const batch = 120
	for first := 0; first < n; first += batch {
		g.Go(func() error {
			var txns []record.Txn
			for i := first; i < min(first+batch, n); i++ {
				at := began.Add(time.Duration(float64(i) / perSecond * float64(time.Second)))
				id := ulid.MustNewDefault(at).String()
				var txn record.Txn
				txn.Put(record.OutboxKey(id), record.Events.Encode(&recordpb.Event{
					Id: id, Type: "updated", Vault: "01J00000000000000000000000", Subject: "01J00000000000000000000000/" + id, At: at.UnixNano(),
				}))
				txns = append(txns, txn)
			}
			_, _, err := shard.CommitEach(ctx, txns)
			return err
		})
	}
	return g.Wait()
}
