package service

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// KeyOptions say how the region looks after its keys. The zero value rotates
// nothing by itself.
type KeyOptions struct {
	// RotateDataKeysEvery is how old the active generation of a data key becomes;
	// 0 means that age does not matter.
	RotateDataKeysEvery time.Duration
	// RotateDataKeysAfter is how often a generation seals, in all processes, before
	// it is rotated; 0 means that it is not counted. See keyring.MaxSeals.
	RotateDataKeysAfter uint64
	// RotateMasterKeyEvery is how long the rotation of master keys is ago before
	// the next one; 0 means that they are rotated when an operator asks only.
	RotateMasterKeyEvery time.Duration
	// DataKeysPerSecond bounds what is wrapped again; default 50.
	DataKeysPerSecond int
	// RecordsPerSecond bounds what is sealed again; default 500.
	RecordsPerSecond int
	// BackupsKeptFor is how long a backup can be expected to be restored, and so
	// keeps the keys that it was made under from being retired.
	BackupsKeptFor time.Duration
}

// keyWork is what a service keeps in mind while it looks after keys.
type keyWork struct {
	resealRate *rate.Limiter
	// dueAt is when it was last looked for rotations that are due.
	dueAt time.Time
	// counted is how many seals were added to the shared counts, by their keys.
	counted           sync.Map
	rotated, resealed atomic.Uint64

	rewrapRate               *rate.Limiter
	masterRotated, rewrapped atomic.Uint64
	shredded                 atomic.Uint64
}

func (o KeyOptions) resealRate() *rate.Limiter {
	perSecond := cmp.Or(o.RecordsPerSecond, 500)
	return rate.NewLimiter(rate.Limit(perSecond), resealRecords)
}

// KeyStats counts what this process did for keys since it started.
type KeyStats struct {
	// MasterRotated are rotations of master keys that ended, Rewrapped the data keys
	// that were wrapped again.
	MasterRotated, Rewrapped uint64
	// Shredded are vaults of which the last sealed record was deleted.
	Shredded uint64
	// Rotated are rotations of data keys that ended, Resealed the records that were
	// sealed again.
	Rotated, Resealed uint64
}

// KeyStats returns the counts.
func (s *Service) KeyStats() KeyStats {
	return KeyStats{
		Rotated: s.rotated.Load(), Resealed: s.resealed.Load(), MasterRotated: s.masterRotated.Load(), Rewrapped: s.rewrapped.Load(),
		Shredded: s.shredded.Load(),
	}
}

// Hosts tells how far the registered hosts have come.
type Hosts interface {
	// Behind returns the registered hosts that are not known to have applied
	// everything up to a revision. known is false if which hosts there are is not.
	Behind(revision int64) (hosts []string, known bool)
}

// KeyScope names whose data key is meant: a vault as in other requests, or else
// an account by ID or name.
type KeyScope struct{ Vault, Account string }

// scope is a vault or an account as the owner of data keys.
type scope struct {
	id       string
	account  secret.AccountID
	vault    *secret.Vault // nil for an account
	revision int64         // of the vault's record
	resource authz.Resource
}

func (c *call) scope(view record.View, ref KeyScope) (scope, error) {
	switch {
	case (ref.Vault == "") == (ref.Account == ""):
		return scope{}, secret.Invalid("vault", "give either a vault or an account")
	case ref.Vault != "":
		vault, revision, err := c.vault(view, ref.Vault)
		if err != nil {
			return scope{}, err
		}
		return scope{id: string(vault.ID), account: vault.Account, vault: vault, revision: revision, resource: vaultResource(vault)}, nil
	}
	account, err := c.account(view, ref.Account)
	if err != nil {
		return scope{}, err
	}
	return scope{id: string(account.ID), account: account.ID, resource: accountResource(account)}, nil
}

// RotateDataKey makes a new generation of a data key and begins to have what
// older ones sealed sealed again; MaintainKeys goes on with that. While a rotation
// is under way it changes nothing and answers that one, with running set.
func (s *Service) RotateDataKey(ctx context.Context, ref KeyScope) (rotation *recordpb.DataKeyRotation, running bool, err error) {
	_, err = s.administer(ctx, authz.RotateDataKey, func(c *call, view record.View) (*record.Txn, error) {
		sc, err := c.scope(view, ref)
		if err != nil {
			return nil, err
		}
		if err := c.authorize(view, sc.resource); err != nil {
			return nil, err
		}
		var txn *record.Txn
		rotation, txn, err = c.beginRotation(ctx, view, sc)
		running = txn == nil
		return txn, err
	})
	return rotation, running, err
}

// beginRotation returns a nil transaction if a rotation is under way.
func (c *call) beginRotation(ctx context.Context, view record.View, sc scope) (*recordpb.DataKeyRotation, *record.Txn, error) {
	key := record.DataKeyRotationKey(sc.id)
	last, revision, err := record.Load(view, record.DataKeyRotations, key)
	switch {
	case err == nil && last.GetFinishedAt() == 0:
		return last, nil, nil
	case err != nil && !errors.Is(err, record.ErrNotFound):
		return nil, nil, err
	case sc.vault != nil && sc.vault.State != secret.Active:
		return nil, nil, secret.Errorf(secret.CodeWrongState, "the vault is being deleted")
	}
	txn, region, err := newTxn(view)
	if err != nil {
		return nil, nil, err
	}
	if err := c.service.Keyring.Check(ctx, region); err != nil {
		return nil, nil, err
	}
	keys, err := c.service.Keyring.NewGeneration(ctx, view, c.service.masterKeyOf(sc.vault), sc.id, c.now)
	if err != nil {
		return nil, nil, err
	}
	keys.AddTo(txn)
	if sc.vault != nil {
		txn.Require(record.VaultKey(sc.vault.ID), sc.revision)
	}
	rotation := &recordpb.DataKeyRotation{
		Scope: sc.id, Account: string(sc.account), Generation: keys.Sealer().Generation(),
		StartedAt: c.now.UnixNano(), StartedBy: string(c.caller.Principal.ID),
	}
	txn.Require(key, revision)
	txn.Put(key, record.DataKeyRotations.Encode(rotation))
	return rotation, txn, nil
}

// DataKeys is what can be known of the data keys of a vault or an account.
type DataKeys struct {
	// Keys are in the order of their generations, the digest key first.
	Keys   []*recordpb.DataKey
	Active uint32
	// Rotation is the last one, nil if there was none.
	Rotation *recordpb.DataKeyRotation
}

// GetDataKeys answers the data keys of a vault or an account.
func (s *Service) GetDataKeys(ctx context.Context, ref KeyScope) (keys DataKeys, err error) {
	err = s.inspect(ctx, authz.GetDataKeys, func(c *call, view record.View) error {
		sc, err := c.scope(view, ref)
		if err != nil {
			return err
		}
		if err := c.authorize(view, sc.resource); err != nil {
			return err
		}
		keys, err = dataKeysOf(view, sc.id)
		return err
	})
	return keys, err
}

func dataKeysOf(view record.View, id string) (keys DataKeys, err error) {
	active, _, err := load(view, record.ActiveDataKeys, record.ActiveDataKeyKey(id), "", "active data key")
	if err != nil {
		return keys, err
	}
	keys.Active = active.GetGeneration()
	err = scanAll(view, record.DataKeys, record.DataKeyPrefix+id+"/", func(k *recordpb.DataKey) bool {
		keys.Keys = append(keys.Keys, k)
		return true
	})
	if err != nil {
		return keys, err
	}
	keys.Rotation, _, err = record.Load(view, record.DataKeyRotations, record.DataKeyRotationKey(id))
	if errors.Is(err, record.ErrNotFound) {
		err = nil
	}
	return keys, err
}
