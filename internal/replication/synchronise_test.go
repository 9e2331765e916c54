package replication

import (
	"context"
	"slices"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/queue"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// vaultCopy is a local copy with one vault, and the store beside it, which keeps what is
// committed.
type vaultCopy struct {
	Copy
	vault     *secret.Vault
	committed []record.Write
}

func (c *vaultCopy) View(fn func(record.View) error) error { return fn(c) }

func (c *vaultCopy) Get(key record.Key) (record.Stored, bool, error) {
	return record.Stored{Key: key, Value: record.Vaults.Encode(c.vault)}, key == record.VaultKey(c.vault.ID), nil
}

func (c *vaultCopy) Scan(record.Key, record.Key, func(record.Stored) bool) error { return nil }

func (c *vaultCopy) Commit(_ context.Context, txn record.Txn) (int64, error) {
	c.committed = append(c.committed, txn.Writes...)
	return 1, nil
}

// underWay ships nothing: no mutation is cleared.
type underWay struct{ Outgoing }

func (underWay) Ship(context.Context, record.View, record.Key, int64, []secret.VersionID) (*service.Shipment, error) {
	return nil, service.ErrNotCleared
}

// Who clears a mutation may have found out whom to tell of it before the target was
// one: a synchronisation that comes upon it leaves a message.
func TestASynchronisationLeavesAMessageForWhatIsNotCleared(t *testing.T) {
	c := &vaultCopy{vault: &secret.Vault{
		ID: "v", Account: "a", Ownership: secret.NewOwnership("east", "life"), Replication: secret.Replication{Targets: []secret.Target{{Region: "west"}}},
	}}
	s := NewSender(SenderOptions{
		Region: "east", Target: "west", Queue: queue.New(queue.Options{Local: c}), Routes: NewRoutes("east"), Service: underWay{}, Local: c, Store: c,
	})
	key := record.SecretKey(secret.NewID("v", "s"))
	if err := s.sendAll(t.Context(), []record.Key{key}); err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(c.committed, func(w record.Write) bool { return w.Key == record.MessageKey("west", key) }) {
		t.Errorf("nothing tells west of %s: %v", key, c.committed)
	}
}
