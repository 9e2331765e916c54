package simulation

import (
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
		if _, ok, _ := west.shard.snapshot().Get(record.TombstoneKey(key)); !ok {
			t.Fatal("nothing keeps older states away")
		}
		must(t, w.rest())
	})
}
