package keyring

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// NewKeys are data keys that no transaction has stored yet. They enter the cache
// only when they are read back.
type NewKeys struct {
	sealer Sealer
	txn    record.Txn
}

// AddTo adds the conditions and writes that store the keys. If the transaction
// fails because a condition does not hold, the keys are useless.
func (n *NewKeys) AddTo(txn *record.Txn) {
	txn.Conditions = append(txn.Conditions, n.txn.Conditions...)
	txn.Writes = append(txn.Writes, n.txn.Writes...)
}

// Sealer seals what the same transaction stores: only together with AddTo.
func (n *NewKeys) Sealer() *Sealer { return &n.sealer }

// NewScope makes the MAC key and the first SEAL key of a new vault or account.
// The transaction they are added to fails if the scope has keys already. Errors:
// those of kms.Wrapper.
func (k *Keyring) NewScope(ctx context.Context, scope string, now time.Time) (*NewKeys, error) {
	return k.newScope(ctx, "", scope, randomKey(), now)
}

// NewScopeUnder is NewScope under the master key of a name.
func (k *Keyring) NewScopeUnder(ctx context.Context, masterKey, scope string, now time.Time) (*NewKeys, error) {
	return k.newScope(ctx, masterKey, scope, randomKey(), now)
}

// NewReplicaScope is NewScope for a vault or account that another region has:
// with that region's MAC key and a SEAL key of its own, under the master key of a
// name, empty for the region's own. It takes macKey over.
func (k *Keyring) NewReplicaScope(ctx context.Context, masterKey, scope string, macKey secret.Plaintext, now time.Time) (*NewKeys, error) {
	if macKey.Len() != keyBytes {
		return nil, secret.Invalid("mac_key", "must have %d bytes, has %d", keyBytes, macKey.Len())
	}
	return k.newScope(ctx, masterKey, scope, macKey.Reveal(), now)
}

func (k *Keyring) newScope(ctx context.Context, masterKey, scope string, macKey []byte, now time.Time) (*NewKeys, error) {
	n := new(NewKeys)
	var err error
	if n.sealer.mac, err = k.addKey(ctx, n, masterKey, keyID{scope, macGeneration}, macKey, now); err != nil {
		return nil, err
	}
	if n.sealer.seal, err = k.addKey(ctx, n, masterKey, keyID{scope, firstGeneration}, randomKey(), now); err != nil {
		return nil, err
	}
	n.activate(scope, firstGeneration, 0)
	return n, nil
}

// NewGeneration makes the next SEAL key of a scope, under the master key of a
// name (empty for the region's own), and makes it the active one;
// content sealed under the others can still be opened. The transaction fails if
// another generation became active meanwhile. Errors: those of Sealer and of
// kms.Wrapper.
func (k *Keyring) NewGeneration(ctx context.Context, view record.View, masterKey, scope string, now time.Time) (*NewKeys, error) {
	current, err := k.Sealer(ctx, view, scope)
	if err != nil {
		return nil, err
	}
	n := &NewKeys{sealer: Sealer{mac: current.mac}}
	generation := current.Generation() + 1
	if n.sealer.seal, err = k.addKey(ctx, n, masterKey, keyID{scope, generation}, randomKey(), now); err != nil {
		return nil, err
	}
	n.activate(scope, generation, current.condition.Revision)
	return n, nil
}

// MACKey returns the MAC key of a scope, to hand it to a region that will hold a
// replica. It always asks the key service. Errors: those of Open.
func (k *Keyring) MACKey(ctx context.Context, view record.View, scope string) (secret.Plaintext, error) {
	id := keyID{scope, macGeneration}
	stored, _, err := loadRecord(view, id)
	if err != nil {
		return secret.Plaintext{}, err
	}
	raw, err := k.opts.Wrapper.Unwrap(ctx, wrappedOf(stored), id.binding())
	if err != nil {
		return secret.Plaintext{}, err
	}
	return secret.NewPlaintext(raw), nil
}

// MasterKey is a master key of the key service by its name, as
// kms.Wrapper.WrapUnder takes it, and its ID.
type MasterKey struct{ Name, ID string }

// MasterKey asks the key service which master key is the active one of a name,
// empty for the region's own. Errors: those of kms.Wrapper.
func (k *Keyring) MasterKey(ctx context.Context, name string) (MasterKey, error) {
	id, err := k.opts.Wrapper.MasterKey(ctx, name)
	return MasterKey{Name: name, ID: id}, err
}

// RotateMasterKey has the key service make another master key the active one of a
// name. made is false if it cannot: its keys are then made with its own tools.
// Errors: those of kms.Rotator.
func (k *Keyring) RotateMasterKey(ctx context.Context, name string) (made bool, err error) {
	r, ok := k.opts.Wrapper.(kms.Rotator)
	if !ok {
		return false, nil
	}
	_, err = r.RotateMasterKey(ctx, name)
	return err == nil, err
}

// Rewrap returns a transaction that puts those data keys of a scope under a master
// key that are under another, without writes if there are none. A data key itself
// stays the same, so sealing and opening go on meanwhile. Errors: those of
// kms.Wrapper and of the view.
func (k *Keyring) Rewrap(ctx context.Context, view record.View, m MasterKey, scope string) (record.Txn, error) {
	var txn record.Txn
	var all []record.Stored
	prefix := record.DataKeyPrefix + scope + "/"
	err := view.Scan(record.Key(prefix), record.PrefixEnd(prefix), func(stored record.Stored) bool {
		all = append(all, record.Stored{Key: stored.Key, Value: bytes.Clone(stored.Value), Revision: stored.Revision})
		return true
	})
	for _, stored := range all {
		if err != nil {
			break
		}
		var value []byte
		if value, err = k.RewrapRecord(ctx, m, stored); value != nil {
			txn.Require(stored.Key, stored.Revision)
			txn.Put(stored.Key, value)
		}
	}
	if err != nil {
		return record.Txn{}, err
	}
	return txn, nil
}

// RewrapRecord returns the record of a data key under a master key, nil if it is
// already. Errors: those of kms.Wrapper, and of record.Kind.Decode.
func (k *Keyring) RewrapRecord(ctx context.Context, m MasterKey, stored record.Stored) ([]byte, error) {
	key, err := record.DataKeys.Decode(stored.Value)
	if err != nil {
		return nil, secret.Wrap(secret.CodeOf(err), err, "record "+string(stored.Key))
	}
	if key.GetMasterKey() == m.ID {
		return nil, nil
	}
	id := keyID{key.GetScope(), key.GetGeneration()}
	if id.key() != stored.Key || key.GetPurpose() != id.purpose() {
		return nil, otherRecord(id)
	}
	value, err := k.rewrapped(ctx, m.Name, id, key)
	if err != nil {
		return nil, fmt.Errorf("rewrap data key %s: %w", id, err)
	}
	return value, nil
}

func (k *Keyring) rewrapped(ctx context.Context, name string, id keyID, key *recordpb.DataKey) ([]byte, error) {
	raw, err := k.opts.Wrapper.Unwrap(ctx, wrappedOf(key), id.binding())
	if err != nil {
		return nil, err
	}
	defer clear(raw)
	wrapped, err := k.opts.Wrapper.WrapUnder(ctx, name, raw, id.binding())
	if err != nil {
		return nil, err
	}
	return encodeDataKey(id, wrapped, record.FromNanos(key.GetCreatedAt())), nil
}

// addKey wraps raw, adds its record to n and returns the key. It wipes raw.
func (k *Keyring) addKey(ctx context.Context, n *NewKeys, masterKey string, id keyID, raw []byte, now time.Time) (*dataKey, error) {
	defer clear(raw)
	wrapped, err := k.opts.Wrapper.WrapUnder(ctx, masterKey, raw, id.binding())
	if err != nil {
		return nil, err
	}
	n.txn.Require(id.key(), 0)
	n.txn.Put(id.key(), encodeDataKey(id, wrapped, now))
	// Its own count of uses: the key may never be stored.
	return newDataKey(id, raw, new(usage))
}

// activate adds the pointer to the active generation, which must still be at
// revision, and so the sealer's condition.
func (n *NewKeys) activate(scope string, generation uint32, revision int64) {
	key := record.ActiveDataKeyKey(scope)
	n.txn.Require(key, revision)
	n.txn.Put(key, record.ActiveDataKeys.Encode(&recordpb.ActiveDataKey{Scope: scope, Generation: generation}))
	n.sealer.condition = record.Condition{Key: key, Revision: revision}
}

func randomKey() []byte {
	key := make([]byte, keyBytes)
	_, _ = rand.Read(key) // never fails
	return key
}
