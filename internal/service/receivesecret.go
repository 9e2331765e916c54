package service

import (
	"bytes"
	"context"
	"errors"

	"github.com/oklog/ulid/v2"

	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/keyring"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// meantFor reports whether a secret of the vault is meant for the region.
func meantFor(v *secret.Vault, sec *secret.Secret, region secret.RegionName) bool {
	return sec.MeantFor(v.Ownership.Home, v.Replication, region)
}

// planSecret plans the arrival of a secret's state.
func (a *arrival) planSecret(ctx context.Context, view record.View) (*record.Txn, error) {
	a.receipt = Receipt{}
	incoming, err := record.Secrets.Decode(a.shipment.State)
	if err != nil {
		return nil, err
	}
	a.entry.Resource.Kind, a.entry.Resource.ID, a.entry.Resource.Name = string(authz.SecretResource), string(incoming.ID), incoming.Name
	a.entry.Resource.Vault, a.entry.Resource.Account = incoming.ID.Vault(), incoming.Account
	vault, vaultRevision, err := a.vaultOf(view, incoming)
	if err != nil {
		return nil, err
	}
	held, revision, graveRevision, err := heldSecret(view, incoming.ID)
	if err != nil {
		return nil, err
	}
	meant := meantFor(vault, incoming, a.service.Region)
	another := revision+graveRevision > 0 && !held.SameSecret(incoming)
	back := graveRevision > 0 && secret.ComesBack(held.Ownership, incoming.Ownership, meant)
	switch {
	case another:
		if done, err := a.collide(ctx, view, vault, held, incoming); done || err != nil {
			return nil, err
		}
		if held.State == secret.Deleted {
			held = nil
		}
	case revision+graveRevision == 0:
		if err := a.admitNew(view, incoming.Ownership); err != nil {
			return nil, err
		}
	case !back:
		done, err := a.settle(view, held.Ownership, incoming.Ownership, settlement{
			same:    func() (bool, error) { return a.sameSecret(ctx, view, held, incoming) },
			succeed: func(heir secret.RegionName) (bool, error) { return meantFor(vault, held, heir), nil },
			keep:    func() error { return a.keepSecret(ctx, view, held, incoming) },
		})
		if done || err != nil {
			return nil, err
		}
	}
	e, err := a.newEdit(ctx, view, vault)
	if err != nil {
		return nil, err
	}
	key := a.shipment.Key
	// What is meant for this region follows from the vault as it is.
	e.txn.Require(record.VaultKey(vault.ID), vaultRevision)
	e.txn.Require(key, revision)
	e.txn.Require(record.TombstoneKey(key), graveRevision)
	if revision+graveRevision == 0 || another {
		if err := a.checkAnew(view, e.txn); err != nil {
			return nil, err
		}
	}
	if !meant {
		return e.txn, a.releaseSecret(view, e, held, incoming)
	}
	if graveRevision > 0 {
		e.txn.Delete(record.TombstoneKey(key))
	}
	return e.txn, a.putSecret(ctx, view, e, held, incoming)
}

// vaultOf finds the vault that the secret belongs to and checks that the source
// may send the secret.
func (a *arrival) vaultOf(view record.View, incoming *secret.Secret) (vault *secret.Vault, revision int64, err error) {
	if record.SecretKey(incoming.ID) != a.shipment.Key {
		return nil, 0, secret.Invalid("state", "is of the secret %s, not of %s", incoming.ID, a.shipment.Key)
	}
	if err := incoming.Validate(); err != nil {
		return nil, 0, err
	}
	switch incoming.State {
	case secret.Active, secret.PendingDeletion, secret.Deleted:
	default:
		return nil, 0, secret.Errorf(secret.CodeUnknownFormat, "the state %q is not known to this release", incoming.State).WithHint("upgrade this region")
	}
	if err := a.admit(incoming.Ownership, incoming.Account); err != nil {
		return nil, 0, err
	}
	vault, revision, err = record.Load(view, record.Vaults, record.VaultKey(incoming.ID.Vault()))
	if errors.Is(err, record.ErrNotFound) {
		return nil, 0, a.missingVault(view, incoming.ID.Vault())
	}
	if err != nil {
		return nil, 0, err
	}
	if vault.Account != incoming.Account {
		return nil, 0, secret.Invalid("state", "is of another account than its vault")
	}
	return vault, revision, a.mayHold(vault)
}

// missingVault says what a secret without its vault means: the vault comes later,
// or it was deleted, and nothing of it is wanted any more. If it comes back, a
// synchronisation brings all its secrets.
func (a *arrival) missingVault(view record.View, id secret.VaultID) error {
	_, buried, err := view.Get(record.TombstoneKey(record.VaultKey(id)))
	switch {
	case err != nil:
		return err
	case buried:
		return errMoot
	}
	return secret.Errorf(secret.CodeNotFound, "the vault %s is not here yet", id)
}

// heldSecret returns what this region has of a secret, or of its tombstone if it
// was released here.
func heldSecret(view record.View, id secret.ID) (held *secret.Secret, revision, graveRevision int64, err error) {
	held, revision, err = record.Load(view, record.Secrets, record.SecretKey(id))
	if err == nil || !errors.Is(err, record.ErrNotFound) {
		return held, revision, 0, err
	}
	grave, graveRevision, err := record.Load(view, record.Tombstones, record.TombstoneKey(record.SecretKey(id)))
	if errors.Is(err, record.ErrNotFound) {
		return nil, 0, 0, nil
	}
	if err != nil {
		return nil, 0, 0, err
	}
	return &secret.Secret{ID: id, State: secret.Deleted, Ownership: grave.Ownership, Detached: grave.Detached}, 0, graveRevision, nil
}

// sameSecret reports whether what is held has the content that was shipped.
func (a *arrival) sameSecret(ctx context.Context, view record.View, held, incoming *secret.Secret) (bool, error) {
	if held.Account == "" { // released here
		return true, nil
	}
	if !bytes.Equal(bareState(held), bareState(incoming)) {
		return false, nil
	}
	return a.sameText(ctx, view, held)
}

func (a *arrival) sameText(ctx context.Context, view record.View, held *secret.Secret) (bool, error) {
	for _, text := range []struct {
		field   keyring.Field
		sealed  secret.Sealed
		shipped secret.Plaintext
	}{{keyring.Description, held.Description, a.shipment.Description}, {keyring.Metadata, held.Metadata, a.shipment.Metadata}} {
		if len(text.sealed) == 0 {
			if text.shipped.Len() > 0 {
				return false, nil
			}
			continue
		}
		own, err := a.service.Keyring.Open(ctx, view, string(held.ID.Vault()), text.sealed, associatedData(held, "", text.field))
		if err != nil || !own.Equal(text.shipped) {
			return false, err
		}
	}
	return true, nil
}

// putSecret adds the writes of a state that is applied.
func (a *arrival) putSecret(ctx context.Context, view record.View, e *edit, held, incoming *secret.Secret) error {
	if err := a.putVersions(ctx, view, e, held, incoming); err != nil {
		return err
	}
	if err := a.moveName(ctx, view, e, held, incoming); err != nil {
		return err
	}
	state := incoming.Clone()
	if err := e.sealText(state, a.shipment.Description, a.shipment.Metadata.Reveal()); err != nil {
		return err
	}
	key := record.SecretKey(incoming.ID)
	e.txn.Put(key, record.Secrets.Encode(state))
	e.indexPurge(incoming)
	if incoming.State == secret.Deleted {
		e.txn.Delete(record.AccessKey(incoming.ID))
	}
	mutation, event := whatChanged(held, incoming)
	a.track(e.txn, key, mutation, &recordpb.Event{
		Type: event, Account: string(incoming.Account), Vault: string(e.vault.ID), Subject: string(incoming.ID), Name: incoming.Name,
	}, incoming.Ownership)
	return nil
}

// whatChanged names the difference between two states in the words of events.
func whatChanged(held, incoming *secret.Secret) (mutation, event string) {
	switch {
	case incoming.State == secret.Deleted:
		return mutationDelete, "purged"
	case held == nil || held.Account == "":
		return mutationCreate, "created"
	case incoming.State == secret.PendingDeletion && held.State == secret.Active:
		return mutationUpdate, "deletion_scheduled"
	case incoming.State == secret.Active && held.State == secret.PendingDeletion:
		return mutationUpdate, "restored"
	case incoming.LastNumber > held.LastNumber:
		return mutationUpdate, "version_added"
	}
	return mutationUpdate, "updated"
}

const (
	// stagedOps and stagedBytes bound what one transaction writes of versions, well
	// within a transaction's limits (128 operations, 1.5 MiB). What is more goes
	// ahead of it: nothing shows a version that the secret's record does not list.
	stagedOps   = 40
	stagedBytes = 512 << 10
)

// putVersions adds the versions that this region lacks and drops those that the
// state no longer has. The value of every version is checked against its digest,
// which its home made.
func (a *arrival) putVersions(ctx context.Context, view record.View, e *edit, held, incoming *secret.Secret) error {
	shipped := make(map[secret.VersionID]secret.Plaintext, len(a.shipment.Values))
	for _, v := range a.shipment.Values {
		shipped[v.ID] = v.Value
	}
	var writes []record.Write
	for i := range incoming.Versions {
		info := &incoming.Versions[i]
		key := record.VersionKey(incoming.ID, info.ID)
		there, err := a.hasVersion(view, held, info, key)
		if err != nil {
			return err
		}
		value, ok := shipped[info.ID]
		switch {
		case there:
			continue
		case !ok:
			a.receipt.Needs = append(a.receipt.Needs, info.ID)
			continue
		case !e.sealer.MAC("value", []byte(incoming.ID), value.Reveal()).Equal(info.MAC):
			return secret.Errorf(secret.CodeTampered, "version %s of %s does not have the digest that its home made", info.ID, incoming.ID)
		}
		sealed, err := e.seal(incoming, info.ID, keyring.Value, value)
		if err != nil {
			return err
		}
		writes = append(writes, record.Write{Key: key, Value: record.Versions.Encode(&secret.Version{
			Secret: incoming.ID, ID: info.ID, Value: sealed, MAC: info.MAC,
		})})
	}
	if len(a.receipt.Needs) > 0 {
		return errNeedsMore
	}
	rest, err := a.stage(ctx, e, writes)
	e.txn.Writes = append(e.txn.Writes, rest...)
	if held == nil || err != nil {
		return err
	}
	for i := range held.Versions {
		if id := held.Versions[i].ID; incoming.Version(id) == nil && len(e.txn.Writes) < 100 {
			e.txn.Delete(record.VersionKey(incoming.ID, id))
		}
	}
	return nil
}

// hasVersion reports whether this region has the value of a version already, from
// an earlier state or staged.
func (a *arrival) hasVersion(view record.View, held *secret.Secret, info *secret.VersionInfo, key record.Key) (bool, error) {
	if held != nil {
		if own := held.Version(info.ID); own != nil && !own.MAC.Equal(info.MAC) {
			return false, nil
		}
	}
	stored, ok, err := view.Get(key)
	if err != nil || !ok {
		return false, err
	}
	own, err := record.Versions.Decode(stored.Value)
	return err == nil && own.MAC.Equal(info.MAC), err
}

// staged is how many writes of versions one transaction takes.
func staged(writes []record.Write) (n int) {
	for size := 0; n < len(writes) && n < stagedOps && size <= stagedBytes; n++ {
		size += len(writes[n].Value)
	}
	return n
}

// stage commits writes of versions ahead of the state that lists them, and returns
// those that fit into its transaction.
func (a *arrival) stage(ctx context.Context, e *edit, writes []record.Write) ([]record.Write, error) {
	for {
		n := staged(writes)
		if n == len(writes) {
			return writes, nil
		}
		_, err := a.service.Store.Commit(ctx, record.Txn{
			Conditions: []record.Condition{e.txn.Conditions[0], e.sealer.Condition()}, // the fence; the key
			Writes:     writes[:n],
		})
		if err != nil {
			return nil, err
		}
		writes = writes[n:]
	}
}

// moveName keeps the index of names: a purged secret frees its name, a new one
// takes it.
func (a *arrival) moveName(ctx context.Context, view record.View, e *edit, held, incoming *secret.Secret) error {
	key := record.SecretNameKey(incoming.ID.Vault(), incoming.Name)
	stored, taken, err := view.Get(key)
	if err != nil {
		return err
	}
	holder := secret.ID("")
	if taken {
		id, err := record.DecodeReference(stored.Value)
		if err != nil {
			return err
		}
		holder = secret.ID(id)
	}
	switch {
	case incoming.State == secret.Deleted:
		if holder == incoming.ID {
			e.txn.Require(key, stored.Revision)
			e.txn.Delete(key)
		}
		return nil
	case holder == incoming.ID:
		return nil
	case taken:
		if err := a.freeName(ctx, view, e, holder, incoming); err != nil {
			return err
		}
	}
	e.txn.Require(key, stored.Revision)
	e.txn.Put(key, record.EncodeReference(string(incoming.ID)))
	return nil
}

// freeName has another secret give its name to the incoming one in the same
// transaction: a replica that its home has purged meanwhile, or a secret of this
// region if the target says that it may be overwritten.
func (a *arrival) freeName(ctx context.Context, view record.View, e *edit, holder secret.ID, incoming *secret.Secret) error {
	other, revision, err := record.Load(view, record.Secrets, record.SecretKey(holder))
	if err != nil {
		return err
	}
	if other.Ownership.Home == a.from.Region {
		return a.applyPredecessor(e, other, revision)
	}
	if other.Ownership.Home != a.service.Region || !a.mayOverwrite(e.vault, incoming) {
		return &secret.Error{
			Code: secret.CodeExists, Field: "name", Message: "the name " + incoming.Name + " is taken by the secret " + string(holder) + " of this region",
			Hint: "delete one of the two, or have the vault replicated with --force-overwrite " + string(a.service.Region),
		}
	}
	moved := other.Clone()
	moved.SetAside(secret.Mutation{By: a.caller.Principal.ID, At: a.now, Incarnation: secret.Incarnation(e.region.GetIncarnation())},
		ulid.MustNewDefault(a.now).String())
	key, name := record.SecretKey(holder), record.SecretNameKey(e.vault.ID, moved.Name)
	e.txn.Require(key, revision)
	e.txn.Put(key, record.Secrets.Encode(moved))
	e.txn.Require(name, 0)
	e.txn.Put(name, record.EncodeReference(string(holder)))
	a.track(e.txn, key, mutationUpdate, &recordpb.Event{
		Type: "deletion_scheduled", Account: string(moved.Account), Vault: string(e.vault.ID), Subject: string(moved.ID), Name: moved.Name,
	}, moved.Ownership)
	return nil
}

// mayOverwrite reports whether an arriving secret may take the place of one of this
// region's own, because its target here, or its vault's, says so.
func (a *arrival) mayOverwrite(vault *secret.Vault, incoming *secret.Secret) bool {
	target := secret.TargetIn(incoming.Targets, a.service.Region)
	if target == nil {
		target = secret.TargetIn(vault.Replication.Targets, a.service.Region)
	}
	return target != nil && target.ForceOverwrite
}

// applyPredecessor purges the replica that has the name, by the state that the
// source sent along; without one it asks for it.
func (a *arrival) applyPredecessor(e *edit, held *secret.Secret, revision int64) error {
	p := a.shipment.Predecessor
	if p == nil || p.Key != record.SecretKey(held.ID) {
		a.receipt.Holder = held.ID
		return errNeedsMore
	}
	state, err := record.Secrets.Decode(p.State)
	if err != nil {
		return err
	}
	if err := a.admit(state.Ownership, state.Account); err != nil {
		return err
	}
	if state.ID != held.ID || !secret.Yields(held.Ownership, state.Ownership, state.State) {
		return &secret.Error{Code: secret.CodeExists, Field: "name", Message: "the name is taken by the secret " + string(held.ID) + ", which is not purged"}
	}
	e.txn.Require(p.Key, revision)
	e.txn.Put(p.Key, record.Secrets.Encode(state))
	e.indexPurge(state)
	e.txn.Delete(record.AccessKey(held.ID))
	for i := range held.Versions {
		e.txn.Delete(record.VersionKey(held.ID, held.Versions[i].ID))
	}
	a.track(e.txn, p.Key, mutationDelete, &recordpb.Event{
		Type: "purged", Account: string(held.Account), Vault: string(e.vault.ID), Subject: string(held.ID), Name: held.Name,
	}, state.Ownership)
	return nil
}
