package store_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/store"
)

// cluster is three servers of one store in this process.
type cluster struct {
	options [3]store.EmbeddedOptions
	servers [3]*store.Embedded
}

func startCluster(t *testing.T, peer store.TLSFiles) *cluster {
	t.Helper()
	c := new(cluster)
	members := make(map[string]string)
	for i := range c.options {
		members[fmt.Sprint("m", i)] = freeAddress(t)
	}
	for i := range c.options {
		name := fmt.Sprint("m", i)
		c.options[i] = store.EmbeddedOptions{
			Name: name, Dir: t.TempDir(), ListenPeer: members[name], InitialCluster: members, PeerTLS: peer,
		}
	}
	c.start(t, 0, 1, 2)
	t.Cleanup(func() {
		for i := range c.servers {
			c.kill(t, i)
		}
	})
	return c
}

// start starts members together, since none is ready without a majority.
func (c *cluster) start(t *testing.T, members ...int) {
	t.Helper()
	var g errgroup.Group
	for _, i := range members {
		g.Go(func() (err error) {
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			o := c.options[i]
			o.UnsafeNoFsync = true
			c.servers[i], err = store.StartEmbedded(ctx, o)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

func (c *cluster) kill(t *testing.T, i int) {
	t.Helper()
	if c.servers[i] != nil {
		closeServer(t, c.servers[i])
		c.servers[i] = nil
	}
}

// commitSoon commits through an election: only failures that an election
// explains are borne.
func commitSoon(t *testing.T, s *store.Shard, n int) {
	t.Helper()
	for {
		_, err := s.Commit(context.Background(), put(numbered(n), "x", 0))
		if err == nil || secret.HasCode(err, secret.CodeStale) {
			return // conflict: an attempt of unknown outcome had committed
		}
		wantCode(t, err, secret.CodeUnavailable, secret.CodeOutcomeUnknown)
	}
}

// It is not parallel, so that it runs first: see TestMain.
func TestClusterOfThree(t *testing.T) {
	authority := newAuthority(t)
	c := startCluster(t, authority.issue(t, "peer"))
	s := open(t, c.servers[0].Client())
	commitSoon(t, s, 0)
	f := follow(t, open(t, c.servers[1].Client()), 0)
	f.reach(t, mustGet(t, s, numbered(0)).Revision)

	c.kill(t, 2)
	for n := 1; n < 5; n++ {
		commitSoon(t, s, n)
	}
	last := mustGet(t, open(t, c.servers[1].Client()), numbered(4)).Revision

	c.kill(t, 1) // no majority: nothing is acknowledged, nothing is read
	alone := store.Open(store.Options{Client: c.servers[0].Client(), Prefix: prefix, Timeout: 500 * time.Millisecond, Heartbeat: heartbeat})
	_, err := alone.Commit(context.Background(), put("lost", "x", 0))
	wantCode(t, err, secret.CodeUnavailable, secret.CodeOutcomeUnknown)
	_, _, err = alone.View(context.Background()).Get(numbered(0))
	wantCode(t, err, secret.CodeUnavailable)
	if h := alone.Health(context.Background()); h.Err == nil {
		t.Errorf("health without a majority: %+v", h)
	}
	if err := follow(t, alone, last).end(); !secret.HasCode(err, secret.CodeUnavailable) {
		t.Errorf("feed without a majority: %v", err)
	}

	c.start(t, 1, 2)
	commitSoon(t, s, 5)
	again := open(t, c.servers[2].Client())
	for n := range 6 {
		mustGet(t, again, numbered(n))
	}
	if h := again.Health(context.Background()); h.Err != nil || !h.Members[0].HasLeader {
		t.Errorf("health of the whole cluster: %+v", h)
	}
}
