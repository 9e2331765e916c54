package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/lifeboat-secrets/lifeboat/internal/authn"
	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Source is the region that a shipment comes from, as its certificate and the
// admitted incarnation prove.
type Source struct {
	Region secret.RegionName
	// Survivor is set if the source does not send, but was asked for its replicas of
	// a region that this one takes over.
	Survivor bool
}

// Receipt says what became of a shipment.
type Receipt struct {
	// Held is the order of the record that this region has now; zero if it has none.
	Held secret.Order
	// Needs are the versions whose values must be sent before the state can be
	// applied.
	Needs []secret.VersionID
	// Holder is the replica that still has the secret's name: its state must be
	// sent along.
	Holder secret.ID
	// ReadAgain: the state was read so long ago that what is missing here may have
	// been deleted since. It must be read again and sent then.
	ReadAgain bool
	// Revision is that of the store at which the state was committed; 0 if it, or a
	// newer one, was here already.
	Revision int64
	// Err is nil if the state, or a newer one, is here. CodeStale: a newer one is.
	// CodeCorrupt: another content is here under the same order. CodeNotFound: what
	// the record belongs to is not here yet. CodeExists: the name is taken.
	// CodeDenied: the source may not write the record here. CodeUnknownFormat: this
	// release does not understand it. CodeDetached: this region has promoted its
	// replica, or has secrets of its own in the vault that it is to give up.
	Err error
}

const actionReceive authz.Action = "ReceiveReplica"

// Receive applies a shipment: the same store, pipeline, audit log and events as
// for a local mutation, one transaction for the whole state. It is idempotent,
// never replaces a state by an older one, and may be called concurrently also for
// the same record.
func (s *Service) Receive(ctx context.Context, from Source, p *Shipment) Receipt {
	ctx, c, err := s.systemCall(ctx, actionReceive, "region:"+string(from.Region))
	if err != nil {
		return Receipt{Err: c.end(err)}
	}
	a := &arrival{call: c, from: from, shipment: p}
	switch err := a.receive(ctx); {
	case errors.Is(err, errReadAgain):
		a.receipt.ReadAgain = true
	case err != nil:
		a.receipt.Err = err
	}
	c.entry.Committed = a.receipt.Revision > 0
	c.entry.Order = p.Order
	a.receipt.Err = c.end(a.receipt.Err)
	return a.receipt
}

// arrival is a shipment being received.
type arrival struct {
	*call
	from     Source
	shipment *Shipment
	receipt  Receipt
}

var (
	// errNeedsMore ends a plan that the receipt asks more for.
	errNeedsMore = errors.New("the source must send more")
	// errReadAgain ends a plan of a state that was read too long ago.
	errReadAgain = errors.New("the state was read too long ago")
	// errMoot ends a plan that has become needless.
	errMoot = errors.New("the vault is gone here")
)

func (a *arrival) receive(ctx context.Context) error {
	if err := a.check(); err != nil {
		return err
	}
	if a.shipment.Key.HasPrefix(record.VaultPrefix) {
		if err := a.releaseSecrets(ctx); err != nil {
			return err
		}
		if err := a.refuseToGiveUp(ctx); err != nil {
			return err
		}
	}
	err := a.commit(ctx, func(view record.View) (*record.Txn, error) {
		if err := a.refuseForgotten(view); err != nil {
			return nil, err
		}
		if a.shipment.Key.HasPrefix(record.SecretPrefix) {
			return a.planSecret(ctx, view)
		}
		return a.planIdentity(ctx, view)
	})
	switch {
	case errors.Is(err, errNeedsMore), errors.Is(err, errMoot):
		return nil
	case errors.Is(err, errPromoted):
		return a.notePromotion(ctx)
	case err == nil && a.shipment.Key.HasPrefix(record.VaultPrefix):
		committed := a.receipt.Revision
		err = a.releaseSecrets(ctx)
		if err == nil {
			err = a.releaseKeys(ctx)
		}
		if err == nil {
			err = a.releaseAccount(ctx)
		}
		a.receipt.Revision = committed
		return err
	}
	return err
}

// commit plans on the local copy. That may be behind the store: a refusal, or a finding
// that there is nothing to do, counts only if the store says it as well, since the
// source takes it as final.
func (a *arrival) commit(ctx context.Context, plan planner) error {
	var txn *record.Txn
	err := a.service.Local.View(func(view record.View) (err error) {
		txn, err = plan(view)
		return err
	})
	if errors.Is(err, errNeedsMore) || errors.Is(err, errReadAgain) {
		return err
	}
	if err != nil || txn == nil {
		return a.commitOnStore(ctx, plan)
	}
	return a.commitPlanned(ctx, txn, plan)
}

// commitOnStore plans on the store and commits.
func (a *arrival) commitOnStore(ctx context.Context, plan planner) error {
	txn, err := plan(a.service.Store.View(ctx))
	if err != nil || txn == nil {
		return err
	}
	return a.commitPlanned(ctx, txn, plan)
}

// commitPlanned commits, and plans again on the store what has changed meanwhile.
func (a *arrival) commitPlanned(ctx context.Context, txn *record.Txn, plan planner) (err error) {
	for attempt := 0; err == nil && txn != nil; attempt++ {
		if a.receipt.Revision, err = a.service.Store.Commit(ctx, *txn); !secret.HasCode(err, secret.CodeStale) {
			return err
		}
		if attempt == maxPlans {
			return secret.Wrap(secret.CodeUnavailable, err, "the record keeps changing")
		}
		if attempt > 0 {
			pause(ctx, attempt)
		}
		txn, err = plan(a.service.Store.View(ctx))
	}
	return err
}

// check refuses what this release does not understand, whole, and what the source
// should not have sent.
func (a *arrival) check() error {
	p := a.shipment
	key := p.Key
	if p.Buried {
		key = record.TombstoneKey(p.Key)
	}
	if err := record.Check(key, p.State); err != nil {
		return err
	}
	if p.Predecessor != nil && !p.Predecessor.Key.HasPrefix(record.SecretPrefix) {
		return secret.Invalid("predecessor", "is not a secret")
	}
	return nil
}

// admit reports whether the source may send a state of that ownership.
func (a *arrival) admit(o secret.Ownership, account secret.AccountID) error {
	if err := o.Check(); err != nil {
		return err
	}
	switch {
	case !o.MaySend(a.from.Region) && !a.from.Survivor:
		return secret.Errorf(secret.CodeDenied, "%s may not send a record whose home is %s", a.from.Region, o.Home)
	case account == secret.SystemAccount:
		return secret.Errorf(secret.CodeDenied, "the system account belongs to its region alone")
	}
	return nil
}

// admitIn refuses who may do what in an account from any region but the account's
// home and those that hold a vault of it: another one could let itself in. One that
// holds a vault may have taken over the record, and another one the account.
func (a *arrival) admitIn(view record.View, incoming identity) error {
	if a.shipment.Key.HasPrefix(record.AccountPrefix) || a.shipment.Key.HasPrefix(record.VaultPrefix) || a.from.Survivor {
		return nil
	}
	account, _, err := record.Load(view, record.Accounts, record.AccountKey(incoming.account))
	if errors.Is(err, record.ErrNotFound) {
		return nil // it must be there before the record is applied
	}
	if err != nil || account.Ownership.Home == incoming.ownership.Home {
		return err
	}
	held, err := accountHeldIn(view, account.ID, incoming.ownership.Home)
	if err == nil && !held {
		err = secret.Errorf(secret.CodeDenied, "the home of the account is %s, and %s holds no vault of it", account.Ownership.Home, incoming.ownership.Home)
	}
	return err
}

// planIdentity plans the arrival of anything but a secret.
func (a *arrival) planIdentity(ctx context.Context, view record.View) (*record.Txn, error) {
	p := a.shipment
	a.receipt = Receipt{}
	incoming, err := a.incoming()
	if err != nil {
		return nil, err
	}
	a.entry.Resource.Kind, a.entry.Resource.ID, a.entry.Resource.Account = "Record", string(p.Key), incoming.account
	if err := a.admit(incoming.ownership, incoming.account); err != nil {
		return nil, err
	}
	held, err := heldIdentity(view, p.Key)
	if err != nil {
		return nil, err
	}
	if held.revision+held.graveRevision == 0 {
		err = firstError(a.admitNew(view, incoming.ownership), a.admitIn(view, incoming))
	} else {
		var done bool
		done, err = a.settle(view, held.ownership, incoming.ownership, settlement{
			same:    func() (bool, error) { return a.sameIdentity(ctx, view, held) },
			admit:   func() error { return a.admitIn(view, incoming) },
			succeed: func(heir secret.RegionName) (bool, error) { return maySucceed(view, held, heir) },
			keep:    func() error { return a.keepIdentity(ctx, view, held, incoming) },
		})
		if done {
			return nil, err
		}
	}
	if err != nil {
		return nil, err
	}
	txn, _, err := newTxn(view)
	if err != nil {
		return nil, err
	}
	txn.Require(p.Key, held.revision)
	txn.Require(record.TombstoneKey(p.Key), held.graveRevision)
	if err := a.checkRead(view, txn, held); err != nil {
		return nil, err
	}
	if p.Buried || !a.meantForUs() {
		if p.Key.HasPrefix(record.VaultPrefix) {
			if err := a.refuseToGiveUp(ctx); err != nil { // a takeover may have come in between
				return nil, err
			}
		}
		return txn, a.buryIdentity(view, txn, held, incoming)
	}
	if held.graveRevision > 0 {
		txn.Delete(record.TombstoneKey(p.Key))
	}
	return txn, a.putIdentity(ctx, view, txn, held, incoming)
}

// incoming reads the shipped state.
func (a *arrival) incoming() (identity, error) {
	p := a.shipment
	if p.Buried {
		grave, err := record.Tombstones.Decode(p.State)
		if err != nil {
			return identity{}, err
		}
		if grave.Record != string(p.Key) {
			return identity{}, secret.Invalid("state", "is the tombstone of %s, not of %s", grave.Record, p.Key)
		}
		return identity{key: p.Key, account: grave.Account, ownership: grave.Ownership}, nil
	}
	i, err := identityOf(p.Key, p.State)
	if err == nil && i.key != p.Key {
		err = secret.Invalid("state", "is of the record %s, not of %s", i.key, p.Key)
	}
	return i, err
}

// meantForUs reports whether a vault's record names this region as a holder; other
// records are sent only where they belong.
func (a *arrival) meantForUs() bool {
	if !a.shipment.Key.HasPrefix(record.VaultPrefix) {
		return true
	}
	v, err := record.Vaults.Decode(a.shipment.State)
	return err == nil && v.HeldBy(a.service.Region)
}

// mayHold refuses a vault whose allowed regions do not have this one, whatever its
// targets say.
func (a *arrival) mayHold(v *secret.Vault) error {
	allowed := v.Replication.AllowedRegions
	if len(allowed) == 0 || v.Ownership.Home == a.service.Region || slices.Contains(allowed, a.service.Region) {
		return nil
	}
	return secret.Errorf(secret.CodeDenied, "the vault may not be held in %s", a.service.Region)
}

// heldRecord is what this region has of a record or of its tombstone.
type heldRecord struct {
	identity
	stored                  record.Stored
	revision, graveRevision int64
}

func heldIdentity(view record.View, key record.Key) (held heldRecord, err error) {
	stored, ok, err := view.Get(key)
	if err != nil {
		return held, err
	}
	if ok {
		held.stored, held.revision = stored, stored.Revision
		if held.identity, err = identityOf(key, stored.Value); err != nil {
			return held, err
		}
	}
	grave, revision, err := record.Load(view, record.Tombstones, record.TombstoneKey(key))
	if errors.Is(err, record.ErrNotFound) {
		return held, nil
	}
	if err != nil {
		return held, err
	}
	held.graveRevision = revision
	if !ok {
		held.identity = identity{key: key, account: grave.Account, ownership: grave.Ownership}
	}
	return held, nil
}

// sameIdentity reports whether what is held is what was shipped.
func (a *arrival) sameIdentity(ctx context.Context, view record.View, held heldRecord) (bool, error) {
	p := a.shipment
	if held.revision == 0 {
		return p.Buried || !a.meantForUs(), nil
	}
	if p.Buried {
		return false, nil
	}
	if !p.Key.HasPrefix(record.CredentialPrefix) {
		return bytes.Equal(held.stored.Value, p.State), nil
	}
	c, err := record.Credentials.Decode(held.stored.Value)
	if err != nil {
		return false, err
	}
	if len(c.SealedKey) > 0 {
		key, err := a.service.Keyring.Open(ctx, view, string(c.Account), c.SealedKey, accessKeyData(c.Account, c.ID))
		if err != nil || !key.Equal(p.AccessKey) {
			return false, err
		}
	}
	c.SealedKey = nil
	return bytes.Equal(record.Credentials.Encode(c), p.State), nil
}

// putIdentity adds the writes of a state that is applied.
func (a *arrival) putIdentity(ctx context.Context, view record.View, txn *record.Txn, held heldRecord, incoming identity) error {
	p := a.shipment
	if incoming.needs != "" {
		needed, ok, err := view.Get(incoming.needs)
		if err != nil {
			return err
		}
		if !ok {
			return secret.Errorf(secret.CodeNotFound, "the record %s, which this one belongs to, is not here yet", incoming.needs)
		}
		txn.Require(needed.Key, needed.Revision)
		if held.revision == 0 && p.Key.HasPrefix(record.VaultPrefix) {
			keepAccount(txn, needed)
		}
	}
	master, before, err := a.masterKeys(held)
	if err != nil {
		return err
	}
	if err := a.takeName(view, txn, incoming); err != nil {
		return err
	}
	if incoming.scope != "" {
		if err := a.addReplicaKeys(ctx, view, txn, incoming.scope, master, before); err != nil {
			return err
		}
	}
	state := p.State
	if p.Key.HasPrefix(record.CredentialPrefix) {
		sealed, err := a.sealCredential(ctx, view, txn)
		if err != nil {
			return err
		}
		state = sealed
	}
	txn.Put(p.Key, state)
	if err := a.retarget(txn, held); err != nil {
		return err
	}
	if incoming.listed != "" {
		txn.Put(incoming.listed, record.EncodeReference(incoming.refersTo))
	}
	mutation := mutationUpdate
	if held.revision == 0 {
		mutation = mutationCreate
	}
	a.track(txn, p.Key, mutation, a.event(incoming, "replicated"), incoming.ownership)
	return nil
}

// takeName adds the index entry of a name that nobody else may have.
func (a *arrival) takeName(view record.View, txn *record.Txn, incoming identity) error {
	if incoming.name == "" {
		return nil
	}
	stored, ok, err := view.Get(incoming.name)
	if err != nil {
		return err
	}
	if ok {
		if holder, err := record.DecodeReference(stored.Value); err != nil {
			return err
		} else if holder != incoming.refersTo {
			return &secret.Error{Code: secret.CodeExists, Field: "name", Message: fmt.Sprintf("%s is taken by %s in this region", incoming.name, holder)}
		}
	}
	txn.Require(incoming.name, stored.Revision)
	txn.Put(incoming.name, record.EncodeReference(incoming.refersTo))
	return nil
}

// masterKeys returns the names of the master keys by which this region wraps the
// data keys of a vault from now on, and did before; of anything else both are empty.
// It refuses a vault that may not be held here.
func (a *arrival) masterKeys(held heldRecord) (now, before string, err error) {
	if !a.shipment.Key.HasPrefix(record.VaultPrefix) {
		return "", "", nil
	}
	v, err := record.Vaults.Decode(a.shipment.State)
	if err == nil {
		err = a.mayHold(v)
	}
	if err != nil || held.revision == 0 {
		return a.service.masterKeyOf(v), "", err
	}
	old, err := record.Vaults.Decode(held.stored.Value)
	return a.service.masterKeyOf(v), a.service.masterKeyOf(old), err
}

// addReplicaKeys gives the record's scope data keys of this region, with the
// digest key of its home. If it has them it sees to it that the right master key
// wraps them.
func (a *arrival) addReplicaKeys(ctx context.Context, view record.View, txn *record.Txn, scope, master, before string) error {
	active, ok, err := view.Get(record.ActiveDataKeyKey(scope))
	switch {
	case err != nil:
		return err
	case ok && master != before:
		return a.service.rewrapUnder(ctx, view, txn, scope, master)
	case ok:
		txn.Require(active.Key, active.Revision) // a release may be about to delete them
		return nil
	}
	region, err := RegionRecord(view)
	if err != nil {
		return err
	}
	if err := a.service.Keyring.Check(ctx, region); err != nil {
		return err
	}
	// The keyring wipes what it is given, and the plan may be made again.
	keys, err := a.service.Keyring.NewReplicaScope(ctx, master, scope, secret.NewPlaintext(bytes.Clone(a.shipment.MACKey.Reveal())), a.now)
	if err != nil {
		return namingKey(err)
	}
	keys.AddTo(txn)
	return nil
}

func (a *arrival) sealCredential(ctx context.Context, view record.View, txn *record.Txn) ([]byte, error) {
	c, err := record.Credentials.Decode(a.shipment.State)
	if err != nil {
		return nil, err
	}
	if a.shipment.AccessKey.Len() > 0 {
		sealer, err := a.service.Keyring.Sealer(ctx, view, string(c.Account))
		if err != nil {
			return nil, err
		}
		txn.Conditions = append(txn.Conditions, sealer.Condition())
		if c.SealedKey, err = sealer.Seal(a.shipment.AccessKey, accessKeyData(c.Account, c.ID)); err != nil {
			return nil, err
		}
	}
	return record.Credentials.Encode(c), nil
}

// buryIdentity adds the writes of a deletion, or of a release.
func (a *arrival) buryIdentity(view record.View, txn *record.Txn, held heldRecord, incoming identity) error {
	p := a.shipment
	a.bury(txn, p.Key, incoming.account, incoming.ownership, nil)
	a.track(txn, p.Key, mutationDelete, a.event(incoming, "replica_removed"), incoming.ownership)
	if held.revision == 0 {
		return nil
	}
	txn.Delete(p.Key)
	if held.name != "" {
		txn.Delete(held.name)
	}
	if held.listed != "" {
		txn.Delete(held.listed)
	}
	if held.scope != "" && !p.Key.HasPrefix(record.VaultPrefix) { // those of a vault go last
		if err := removeKeys(view, txn, held.scope); err != nil {
			return err
		}
	}
	if !p.Key.HasPrefix(record.PrincipalPrefix) {
		return nil
	}
	principal, err := record.Principals.Decode(held.stored.Value)
	if err != nil {
		return err
	}
	ids, err := credentialsOf(view, principal)
	for _, id := range ids {
		txn.Delete(record.CredentialKey(id))
		txn.Delete(record.CredentialOfKey(principal.Account, principal.ID, id))
	}
	return errors.Join(err, removeBindings(view, txn, principal))
}

func (a *arrival) event(i identity, kind string) *recordpb.Event {
	return &recordpb.Event{Type: kind, Account: string(i.account), Subject: i.refersTo, Name: string(a.shipment.Key)}
}

// systemCall is a call by the region itself, which needs no policy.
func (s *Service) systemCall(ctx context.Context, action authz.Action, name string) (context.Context, *call, error) {
	ctx = WithRequest(ctx, &Request{ID: name})
	c, err := s.begin(ctx, action, true)
	if err != nil {
		return ctx, c, err
	}
	c.caller = authn.Caller{Account: secret.SystemAccount, Principal: &secret.Principal{
		ID: secret.PrincipalID(name), Name: name, Account: secret.SystemAccount, Kind: secret.Operator,
	}}
	c.entry.Principal, c.entry.PrincipalName, c.entry.Account = c.caller.Principal.ID, name, secret.SystemAccount
	return ctx, c, nil
}
