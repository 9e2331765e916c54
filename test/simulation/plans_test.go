package simulation

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// A plan that chance seldom draws.
func TestASecretIsReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		east, west := w.region("east"), w.region("west")
		ref := service.SecretRef{Vault: east.vault, Secret: "secret"}
		_, err := east.service.CreateSecret(east.as(east.token), service.NewSecret{Vault: east.vault, Name: "secret", Value: secret.NewPlaintext([]byte("one"))})
		must(t, err)
		_, err = east.service.ReplicateSecret(east.as(east.token), service.SecretReplication{SecretRef: ref, Targets: []secret.Target{{Region: "west"}}})
		must(t, err)
		must(t, w.rest())
		key := east.keyOf("secret")
		if _, ok, _ := west.shard.snapshot().Get(key); !ok {
			t.Fatal("west does not have the secret")
		}
		_, err = east.service.ReplicateSecret(east.as(east.token), service.SecretReplication{SecretRef: ref})
		must(t, err)
		time.Sleep(time.Minute)
		if _, ok, _ := west.shard.snapshot().Get(key); ok {
			t.Fatal("west still has the secret")
		}
		peer, _, err := record.Load(west.shard.snapshot(), record.Peers, record.PeerKey("east"))
		must(t, err)
		if _, ok, _ := west.shard.snapshot().Get(record.TombstoneKey(key)); !ok && peer.GetHorizon() == 0 {
			t.Fatal("nothing keeps older states away")
		}
		must(t, w.rest())
	})
}

// Targets come and go while secrets are written, purged and created again, over
// links that are bad.
func TestTargetsComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		east := w.region("east")
		for _, to := range names {
			w.setLink("east", to, lossy)
			if to != "east" {
				w.region(to).shard.slow.Store(int64(time.Second))
			}
		}
		var busy sync.WaitGroup
		for n := range 4 {
			busy.Go(func() {
				for range 60 {
					s := step{name: n % 2, set: rand.IntN(8), wait: time.Duration(rand.Int())}
					do := []string{"put", "put", "put", "create", "purge", "replicate secret"}[rand.IntN(6)]
					if err := w.do(do, east, s); err != nil {
						t.Error(err)
					}
					time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
				}
			})
		}
		for range 40 {
			if err := w.do("replicate vault", east, step{set: rand.IntN(8)}); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Duration(rand.IntN(500)) * time.Millisecond)
		}
		busy.Wait()
		w.heal()
		must(t, w.rest())
		must(t, w.failure())
	})
}

// do does an action by its name.
func (w *world) do(name string, r *region, s step) error {
	i := slices.IndexFunc(actions, func(a action) bool { return a.name == name })
	if err := actions[i].do(w, r, s); !slices.Contains(allowed, secret.CodeOf(err)) {
		return err
	}
	return nil
}
