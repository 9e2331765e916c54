package simulation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1/peerv1connect"
	"github.com/lifeboat-secrets/lifeboat/internal/ownership"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/replication"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// takeovers is a world in which homes move: a vault of east that all regions hold.
type takeovers struct {
	*world
	vault secret.VaultID
	token string
	// acknowledged are the versions that callers were told of, by the secret.
	acknowledged map[secret.ID][]secret.VersionID
	// heads are the same of a policy, deletions the orders at which it was deleted.
	heads     []head
	deletions []secret.Order
}

// secretNames are those that the vault has.
var secretNames = []string{"a", "b"}

func newTakeovers(t *testing.T) *takeovers {
	w := &takeovers{world: newWorld(t), acknowledged: map[secret.ID][]secret.VersionID{}}
	home := w.region("east")
	w.vault, w.token = secret.VaultID(home.vault), home.token
	targets := []secret.Target{{Region: "south"}, {Region: "west"}}
	_, err := home.service.ReplicateVault(home.as(w.token), service.VaultReplication{Vault: home.vault, Targets: &targets})
	must(t, err)
	for _, name := range secretNames {
		o, err := home.service.CreateSecret(home.as(w.token), service.NewSecret{
			Vault: home.vault, Name: name, Value: secret.NewPlaintext([]byte("first")), Retention: secret.Retention{MaxVersions: secret.MaxVersions},
		})
		must(t, err)
		w.acknowledged[o.Secret.ID] = append(w.acknowledged[o.Secret.ID], o.Version.ID)
	}
	w.mutatePolicy(home, -1, false)
	time.Sleep(time.Minute) // all regions have it
	for _, r := range w.regions {
		r.service.Survivors = w.survivors(r)
	}
	return w
}

func (w *takeovers) survivors(r *region) *replication.Survivors {
	clients := map[secret.RegionName]peerv1connect.ReplicationServiceClient{}
	for _, peer := range names {
		if peer != r.name {
			clients[peer] = &link{w.world, r.name, peer}
		}
	}
	return replication.NewSurvivors(replication.SurvivorsOptions{
		Region: r.name, Local: local{r.shard}, Service: r.service, Digester: r.service, Clients: clients, Logger: slog.New(slog.DiscardHandler),
	})
}

// keep runs the keeper of each region until ctx ends.
func (w *takeovers) keep(ctx context.Context, running interface{ Go(func()) }) {
	for _, r := range w.regions {
		k := ownership.New(ownership.Options{
			Service: r.service, Local: func(fn func(record.View) error) error { return fn(r.shard.snapshot()) },
			Peers: func(context.Context) []ownership.Peer { return w.peersOf(r) }, Untold: func(lost secret.RegionName, _ time.Time, _ []string) (bool, []string, error) {
				return w.untold(r, lost), nil, nil
			},
		})
		running.Go(func() { _ = k.Run(ctx) })
		running.Go(func() { _ = r.service.Survivors.(*replication.Survivors).Run(ctx) })
	}
}

func (w *takeovers) peersOf(r *region) (all []ownership.Peer) {
	for _, peer := range w.regions {
		if peer == r {
			continue
		}
		_, took := peer.shard.snapshot().records[record.TakeoverKey(r.name)]
		all = append(all, ownership.Peer{Region: peer.name, Known: w.quality(r.name, peer.name) == good, TookOver: took})
	}
	return all
}

// untold reports whether anything waits.
func (w *takeovers) untold(r *region, lost secret.RegionName) bool {
	v := r.shard.snapshot()
	for key := range v.records {
		if key.HasPrefix(record.WorkPrefix) || key.HasPrefix(string(record.MessageKey(lost, ""))) || key == record.ResynchronisationKey(lost) ||
			key.HasPrefix(record.SynchronisationPrefix+string(lost)+"/") {
			return true
		}
	}
	return false
}

func (w *takeovers) put(r *region, name string, value string) {
	o, err := r.service.PutSecretVersion(r.as(w.token), service.NewValue{
		SecretRef: service.SecretRef{Vault: string(w.vault), Secret: name}, Value: secret.NewPlaintext([]byte(value)),
	})
	if err == nil {
		w.acknowledged[o.Secret.ID] = append(w.acknowledged[o.Secret.ID], o.Version.ID)
	}
}

func (w *takeovers) handOver(r *region, s step) {
	key := record.VaultKey(w.vault)
	if s.set > 1 {
		key = r.keyIn(w.vault, secretNames[s.name])
	}
	_ = r.service.HandOver(context.Background(), key, names[s.other])
}

func (r *region) keyIn(vault secret.VaultID, name string) record.Key {
	stored := r.shard.snapshot().records[record.SecretNameKey(vault, name)]
	id, err := record.DecodeReference(stored.Value)
	must(r.world.t, err)
	return record.SecretKey(secret.ID(id))
}

// act does one step.
func (w *takeovers) act(n int, s step) {
	r := w.regions[s.at]
	switch s.what {
	case 0, 1, 2, 3:
		w.put(r, secretNames[s.name], fmt.Sprint("value ", n))
		w.mutatePolicy(r, n, s.set == 0)
	case 4:
		_ = r.service.TakeOver(context.Background(), names[s.other], false)
	case 5:
		w.handOver(r, s)
	case 6:
		for _, other := range names {
			q := quality(s.set % 3)
			w.setLink(r.name, other, q)
			w.setLink(other, r.name, q)
		}
	case 7:
		w.setLink(r.name, names[s.other], quality(s.set%3))
	case 8:
		r.crash()
		r.start()
	}
	time.Sleep(s.wait)
}

// settled reports what is not as it should be at rest.
func (w *takeovers) settled() error {
	for id, versions := range w.acknowledged {
		first := w.secretIn(w.regions[0], id)
		for _, r := range w.regions {
			sec := w.secretIn(r, id)
			if sec.Ownership.Order != first.Ownership.Order || sec.Ownership.Home != first.Ownership.Home || !slices.EqualFunc(sec.Versions, first.Versions, sameVersion) {
				return fmt.Errorf("%s has %s at %s, %s at %s", r.name, id, sec.Ownership.Order, w.regions[0].name, first.Ownership.Order)
			}
		}
		for _, version := range versions {
			if first.Version(version) == nil && !w.inConflict(id, version) {
				return fmt.Errorf("G7: version %s of %s was acknowledged, and is in no history and no conflict", version, id)
			}
		}
	}
	errs := []error{w.settledPolicy()}
	for _, r := range w.regions {
		fence, _, err := record.Load(r.shard.snapshot(), record.Fences, record.FenceKey)
		must(w.t, err)
		if len(fence.GetTakenOver())+len(fence.GetSupersededBy()) > 0 {
			errs = append(errs, fmt.Errorf("%s has the fence %v", r.name, fence))
		}
	}
	return errors.Join(errs...)
}

func sameVersion(a, b secret.VersionInfo) bool { return a.ID == b.ID }

func (w *takeovers) secretIn(r *region, id secret.ID) *secret.Secret {
	sec, _, err := record.Load(r.shard.snapshot(), record.Secrets, record.SecretKey(id))
	must(w.t, err)
	return sec
}

func (w *takeovers) inConflict(id secret.ID, version secret.VersionID) bool {
	for _, r := range w.regions {
		for key, stored := range r.shard.snapshot().records {
			if !key.HasPrefix(record.ConflictPrefix) {
				continue
			}
			var c *recordpb.Conflict
			c, err := record.Conflicts.Decode(stored.Value)
			must(w.t, err)
			if c.GetRecord() == string(record.SecretKey(id)) && slices.Contains(c.GetVersions(), string(version)) {
				return true
			}
		}
	}
	return false
}

func takeoverSteps() *rapid.Generator[[]step] {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
		return step{
			what: rapid.IntRange(0, 8).Draw(t, "what"), at: rapid.IntRange(0, 2).Draw(t, "at"), other: rapid.IntRange(0, 2).Draw(t, "other"),
			name: rapid.IntRange(0, 1).Draw(t, "name"), set: rapid.IntRange(0, 7).Draw(t, "set"),
			wait: time.Duration(rapid.IntRange(0, 4000).Draw(t, "ms")) * time.Millisecond,
		}
	}), 5, 50)
}

// Whoever takes over whom, moves what where, is cut off or crashes: in the end there is
// one home for each secret, all copies are equal, and every acknowledged version, and
// mutation of a policy, is in the history that won or in a conflict.
func TestWhoeverTakesOverNothingIsLost(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		plan := takeoverSteps().Draw(rt, "steps")
		var err error
		synctest.Test(t, func(t *testing.T) { err = runTakeovers(t, plan) })
		if err != nil {
			rt.Fatal(err)
		}
	})
}

func runTakeovers(t *testing.T, plan []step) (err error) {
	w := newTakeovers(t)
	defer w.close()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	w.keep(ctx, &running)
	defer func() {
		cancel()
		running.Wait()
	}()
	for n, s := range plan {
		w.act(n, s)
		if err := w.failure(); err != nil {
			return fmt.Errorf("step %d: %w", n, err)
		}
	}
	w.heal()
	for range 60 {
		time.Sleep(10 * time.Second)
		for _, r := range w.regions {
			for _, target := range names {
				must(t, r.process.queue.RetryAll(ctx, target))
			}
		}
		if err = errors.Join(w.settled(), w.failure()); err == nil {
			return nil
		}
	}
	return err
}

// Regions that take each other over may end up as the homes of an account and of who
// may do what in it.
func TestAnAccountAndItsPrincipalsMayHaveDifferentHomes(t *testing.T) {
	plan := []step{
		{2, 1, 1, 0, 1, 4000 * time.Millisecond},
		{5, 0, 0, 1, 7, 341 * time.Millisecond},
		{6, 0, 1, 0, 4, 1196 * time.Millisecond},
		{7, 2, 2, 1, 7, 3 * time.Millisecond},
		{2, 1, 1, 1, 7, 3 * time.Millisecond},
		{6, 2, 0, 0, 5, 57 * time.Millisecond},
		{1, 1, 1, 1, 0, 0 * time.Millisecond},
		{5, 0, 1, 1, 1, 2 * time.Millisecond},
		{7, 0, 2, 0, 0, 2990 * time.Millisecond},
		{7, 2, 0, 0, 0, 1 * time.Millisecond},
		{7, 1, 0, 0, 5, 2 * time.Millisecond},
		{6, 0, 2, 0, 0, 1155 * time.Millisecond},
		{8, 2, 0, 0, 7, 3 * time.Millisecond},
		{6, 1, 2, 0, 1, 15 * time.Millisecond},
		{4, 2, 0, 1, 5, 5 * time.Millisecond},
		{8, 1, 1, 1, 5, 1480 * time.Millisecond},
		{1, 0, 2, 0, 6, 835 * time.Millisecond},
		{4, 1, 2, 1, 7, 598 * time.Millisecond},
		{3, 0, 2, 0, 6, 11 * time.Millisecond},
		{1, 2, 1, 0, 7, 1014 * time.Millisecond},
		{4, 0, 2, 1, 6, 841 * time.Millisecond},
	}
	for range 20 {
		var err error
		synctest.Test(t, func(t *testing.T) { err = runTakeovers(t, plan) })
		if err != nil {
			t.Fatal(err)
		}
	}
}
