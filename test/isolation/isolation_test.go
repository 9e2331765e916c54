package isolation_test

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"testing"
	"time"

	"connectrpc.com/connect"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/faultproxy"
	"github.com/lifeboat-secrets/lifeboat/internal/pki"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

// TestAnOutageLeavesOneMessageForEachSecret updates secrets many times while their
// target refuses connections, swallows them, and answers slowly. What waits for the
// target is at most one message for each secret, and it catches up.
func TestAnOutageLeavesOneMessageForEachSecret(t *testing.T) {
	s := startSource(t, lifeboattest.Options{}, "west")
	s.replicate("west")
	s.write("making the secrets", *secretsFlag, s.create)
	s.caughtUp("west")
	again := func(ctx context.Context, i int) error { return s.update(ctx, i%*secretsFlag) }
	each := max(1, *updatesFlag/3)
	s.write("target healthy", max(1, each/4), again)
	s.caughtUp("west")
	made := *secretsFlag + max(1, each/4)
	link := s.regions.Link(home, "west")
	for _, way := range []struct {
		dead string
		die  func()
	}{
		{"refuses", link.Cut}, {"is black-holed", link.Blackhole},
		{"is slow", func() { link.Delay(2 * time.Second); link.Throttle(1 << 10) }},
	} {
		link.Heal() // for no time that counts: it is one outage
		way.die()
		stop := s.watchDepth("west")
		s.write("target "+way.dead, each, again)
		made += each
		most := stop()
		waiting, bytes := s.waiting("west")
		t.Logf("target %s: at most %d messages waited, at the end %d of %d KiB", way.dead, most, waiting, bytes>>10)
		if limit := *secretsFlag + others; int(most) > limit || waiting > limit {
			t.Errorf("target %s: %d messages waited, and %d at the end, for %d secrets", way.dead, most, waiting, *secretsFlag)
		}
		if waiting == 0 {
			t.Errorf("target %s: it was reached all the same", way.dead)
		}
		s.room("with the target dead")
	}
	link.Heal()
	healed := time.Now()
	s.caughtUp("west")
	t.Logf("the target has caught up %s after the outage", time.Since(healed).Round(time.Millisecond))
	s.equal("west", *secretsFlag)
	s.checkOrders(made)
}

// checkOrders checks that the home has every mutation that was acknowledged: the
// orders of its secrets add up to them.
func (s *source) checkOrders(made int) {
	s.t.Helper()
	sum := 0
	must(s.t, s.shard.View(s.t.Context()).Scan(record.SecretPrefix, record.PrefixEnd(record.SecretPrefix), func(r record.Stored) bool {
		owner, err := record.OwnerOf(r.Key, r.Value)
		must(s.t, err)
		sum += int(owner.Ownership.Order.Seq) //nolint:gosec // small
		return true
	}))
	if sum != made {
		s.t.Errorf("%d mutations were acknowledged, the orders of the secrets add up to %d", made, sum)
	}
}

// dead are regions of which nothing but a name and an authority is known: some
// refuse connections, some swallow them, some are slow and then no TLS server.
type dead struct {
	names []string
	peers []config.Peer
}

func newDead(t *testing.T, n int) *dead {
	t.Helper()
	d, dir := &dead{}, t.TempDir()
	sink := listenAndRead(t)
	for i := range n {
		name := fmt.Sprint("dead-", i)
		authority, err := pki.NewAuthority(pki.AuthorityOptions{Region: secret.RegionName(name)})
		must(t, err)
		ca := filepath.Join(dir, name+".pem")
		must(t, pki.WriteFile(ca, authority.CertPEM()))
		proxy, err := faultproxy.Start(faultproxy.Options{Target: sink})
		must(t, err)
		t.Cleanup(func() { must(t, proxy.Close()) })
		switch i % 3 {
		case 0:
			proxy.Cut()
		case 1:
			proxy.Blackhole()
		case 2:
			proxy.Delay(2 * time.Second)
		}
		d.names = append(d.names, name)
		d.peers = append(d.peers, config.Peer{Region: secret.RegionName(name), Addresses: []string{proxy.Address()}, CAFile: ca})
	}
	return d
}

// listenAndRead accepts connections and answers each with what is no TLS.
func listenAndRead(t *testing.T) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("busy\n"))
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		must(t, l.Close())
		<-ended
	})
	return l.Addr().String()
}

// TestTenDeadTargetsDoNotFillTheStore makes more secrets than a queue takes while
// all ten targets of their vault are dead. Each queue stops at its cap and its
// target is marked to be compared; the source goes on; and a target that comes back
// gets everything.
func TestTenDeadTargetsDoNotFillTheStore(t *testing.T) {
	d := newDead(t, 9)
	s := startSource(t, lifeboattest.Options{QueueCap: *capFlag, Configure: func(_ string, c *config.Config) {
		if c.Region.Name == home {
			c.Peers = append(append([]config.Peer(nil), c.Peers...), d.peers...)
		}
	}}, "west")
	s.regions.Link(home, "west").Cut()
	targets := append([]string{"west"}, d.names...)
	s.replicate(targets...)
	s.room("at first")
	s.write("ten dead targets", *distinctFlag, s.create)
	s.room("with ten dead targets")
	queues, err := s.queues(t.Context())
	must(t, err)
	messages, bytes := 0, 0
	for _, target := range targets { // one process enqueues, so that the cap is exact
		n, size := s.waiting(target)
		messages, bytes = messages+n, bytes+size
		if q := queues[target]; n != *capFlag || q.GetDepth() != uint64(n) || !q.GetResynchronising() { //nolint:gosec // small
			t.Errorf("the store holds %d messages for %s: %v", n, target, q)
		}
	}
	t.Logf("%d messages of %d KiB wait for ten targets", messages, bytes>>10)
	work, _ := s.stored(record.WorkPrefix)
	if work != 0 {
		t.Errorf("%d mutations are not cleared because targets are dead", work)
	}
	s.comesBack("west", *distinctFlag)
}

// comesBack heals the way to a target and waits until it has all secrets.
func (s *source) comesBack(target string, secrets int) {
	s.t.Helper()
	s.regions.Link(home, target).Heal()
	healed := time.Now()
	s.caughtUp(target)
	s.t.Logf("%s has caught up with %d secrets in %s", target, secrets, time.Since(healed).Round(time.Millisecond))
	s.equal(target, secrets)
	at := s.regions.Region(target)
	got, err := at.Client(at.Control(), s.token).GetSecretValue(s.t.Context(), connect.NewRequest(&lifeboatv1.GetSecretValueRequest{Vault: vault, Secret: nameOf(secrets - 1)}))
	if err != nil || string(got.Msg.GetValue()) != string(value(secrets-1)) {
		s.t.Errorf("%s answers %v, %v", target, got, err)
	}
}
