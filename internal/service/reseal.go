package service

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/lifeboat-secrets/lifeboat/internal/faultpoint"
	"github.com/lifeboat-secrets/lifeboat/internal/keyring"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const (
	// resealRecords and resealBytes bound what one transaction seals again, so
	// that it stays short and within the store's limits.
	resealRecords = 100
	resealBytes   = 512 << 10
	// resealTries bounds how often a record that keeps changing is tried in turn.
	resealTries = 100
	// mostFailures bounds the records that a rotation names.
	mostFailures = 20
)

// resealing is one rotation being carried on. What is sealed again keeps its
// order and its MAC: it is not a mutation. Each record is replaced only if it is
// still as it was read, and each step also requires the bookmark as it was, so
// that of two processes that both believe to be at it only one goes on.
type resealing struct {
	service  *Service
	rotation *recordpb.DataKeyRotation
	revision int64 // of the rotation's record
	// page are records that were read ahead, from after the key at.
	page []record.Stored
	at   record.Key
}

// reseal carries the rotation of a scope on until it is done, ctx ends or
// something is in the way; then it can be called again.
func (s *Service) reseal(ctx context.Context, scope string) error {
	r := &resealing{service: s}
	for {
		if err := kmsCancelled(ctx); err != nil {
			return err
		}
		var err error
		r.rotation, r.revision, err = record.Load(s.Store.View(ctx), record.DataKeyRotations, record.DataKeyRotationKey(scope))
		if errors.Is(err, record.ErrNotFound) || err == nil && r.rotation.GetFinishedAt() != 0 {
			return nil
		}
		if err != nil {
			return err
		}
		if r.rotation.GetTotal() == 0 && r.rotation.GetBookmark() == "" {
			r.rotation.Total = s.sealedRecords(r.rotation)
		}
		if err := r.step(ctx); err != nil {
			return err
		}
	}
}

func kmsCancelled(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return secret.Wrap(secret.CodeUnavailable, err, "interrupted")
	}
	return nil
}

// step seals one batch of records again and moves the bookmark.
func (r *resealing) step(ctx context.Context) error {
	view := r.service.Unchecked(ctx)
	batch, bookmark, err := r.next(view)
	if err != nil {
		return err
	}
	if bookmark == "" {
		return r.finish(ctx)
	}
	sealed, err := r.seal(ctx, view, batch)
	if err != nil {
		return err
	}
	if n := len(sealed.records); n > 0 {
		if err := r.service.resealRate.WaitN(ctx, n); err != nil {
			return kmsCancelled(ctx)
		}
	}
	rotation := r.after(batch, sealed, bookmark)
	err = r.commit(ctx, sealed.txn, rotation)
	if secret.HasCode(err, secret.CodeStale) {
		err = r.oneByOne(ctx, batch, rotation)
	}
	faultpoint.Hit("keys.reseal", string(bookmark))
	return err
}

// after is the rotation's record once a batch is done.
func (r *resealing) after(batch []record.Stored, sealed sealedBatch, bookmark record.Key) *recordpb.DataKeyRotation {
	n := r.rotation
	next := &recordpb.DataKeyRotation{
		Scope: n.GetScope(), Account: n.GetAccount(), Generation: n.GetGeneration(), StartedAt: n.GetStartedAt(), StartedBy: n.GetStartedBy(),
		Bookmark: string(bookmark), LookedAt: n.GetLookedAt() + uint64(len(batch)), Total: n.GetTotal(),
		Resealed: n.GetResealed() + uint64(len(sealed.records)), Failed: n.GetFailed() + uint64(len(sealed.failures)), Failures: n.GetFailures(),
	}
	for _, key := range sealed.failures {
		if len(next.Failures) < mostFailures {
			next.Failures = append(next.Failures, string(key))
		}
	}
	next.Total = max(next.Total, next.LookedAt)
	return next
}

// commit does the writes together with the bookmark, as long as the rotation's
// record is as it was read.
func (r *resealing) commit(ctx context.Context, txn record.Txn, rotation *recordpb.DataKeyRotation) error {
	key := record.DataKeyRotationKey(rotation.GetScope())
	txn.Require(key, r.revision)
	txn.Put(key, record.DataKeyRotations.Encode(rotation))
	_, err := r.service.Store.Commit(ctx, txn)
	if err == nil {
		r.service.resealed.Add(rotation.GetResealed() - r.rotation.GetResealed())
	}
	return err
}

// oneByOne seals records again each in a transaction of its own, reading it anew
// when somebody else was faster, and then moves the bookmark.
func (r *resealing) oneByOne(ctx context.Context, batch []record.Stored, rotation *recordpb.DataKeyRotation) error {
	for _, stored := range batch {
		if err := r.one(ctx, stored.Key); err != nil {
			return err
		}
	}
	txn, _, err := newTxn(r.service.Store.View(ctx))
	if err != nil {
		return err
	}
	err = r.commit(ctx, *txn, rotation)
	if secret.HasCode(err, secret.CodeStale) {
		return nil // another process is at it: read where it is
	}
	return err
}

func (r *resealing) one(ctx context.Context, key record.Key) error {
	for attempt := range resealTries {
		view := r.service.Unchecked(ctx)
		stored, ok, err := view.Get(key)
		if err != nil || !ok {
			return err
		}
		sealed, err := r.seal(ctx, view, []record.Stored{stored})
		if err != nil || len(sealed.records) == 0 {
			return err
		}
		if _, err = r.service.Store.Commit(ctx, sealed.txn); !secret.HasCode(err, secret.CodeStale) {
			return err
		}
		pause(ctx, attempt)
	}
	return secret.Errorf(secret.CodeUnavailable, "record %s keeps changing while it is sealed again", key)
}

func (r *resealing) finish(ctx context.Context) error {
	txn, _, err := newTxn(r.service.Store.View(ctx))
	if err != nil {
		return err
	}
	done := r.after(nil, sealedBatch{}, record.Key(r.rotation.GetBookmark()))
	done.FinishedAt = r.service.Now().UnixNano()
	err = r.commit(ctx, *txn, done)
	if secret.HasCode(err, secret.CodeStale) {
		return nil
	}
	if err == nil {
		r.service.rotated.Add(1)
		r.service.Logger.Info("data key rotated", "scope", done.GetScope(), "generation", done.GetGeneration(),
			"records", done.GetResealed(), "failed", done.GetFailed())
	}
	return err
}

// sealedBatch is what sealing a batch again came to.
type sealedBatch struct {
	txn      record.Txn
	records  []record.Key
	failures []record.Key
}

// seal makes the transaction that replaces what older generations sealed. What
// cannot be opened is named and left as it is. An error of the key service is one
// of the whole.
func (r *resealing) seal(ctx context.Context, view record.View, batch []record.Stored) (b sealedBatch, err error) {
	txn, _, err := newTxn(view)
	if err != nil {
		return b, err
	}
	b.txn = *txn
	sealer, err := r.service.Keyring.Sealer(ctx, view, r.rotation.GetScope())
	if err != nil {
		return b, err
	}
	b.txn.Conditions = append(b.txn.Conditions, sealer.Condition())
	for _, stored := range batch {
		o := &reopener{sealer: sealer, account: secret.AccountID(r.rotation.GetAccount())}
		o.open = func(sealed secret.Sealed, ad keyring.AssociatedData) (secret.Plaintext, error) {
			return r.service.Keyring.Open(ctx, view, r.rotation.GetScope(), sealed, ad)
		}
		value, err := o.reseal(stored)
		switch {
		case err != nil && cannotBeOpened(err):
			r.service.Logger.Error("a record cannot be opened and so not be sealed again", "record", stored.Key, "error", err)
			b.failures = append(b.failures, stored.Key)
		case err != nil:
			return b, err
		case value != nil:
			b.txn.Require(stored.Key, stored.Revision)
			b.txn.Put(stored.Key, value)
			b.records = append(b.records, stored.Key)
		}
	}
	return b, nil
}

// cannotBeOpened says that asking again does not help: the record is at fault, or
// its data key is gone.
func cannotBeOpened(err error) bool {
	switch secret.CodeOf(err) {
	case secret.CodeTampered, secret.CodeCorrupt, secret.CodeUnknownFormat:
		return true
	}
	return errors.Is(err, record.ErrNotFound)
}

// reopener opens what a record has sealed and seals it under the active
// generation.
type reopener struct {
	open    func(secret.Sealed, keyring.AssociatedData) (secret.Plaintext, error)
	account secret.AccountID
	sealer  *keyring.Sealer
	changed bool
}

// reseal returns the record with its content sealed by the active generation, nil
// if it is already or has none.
func (o *reopener) reseal(stored record.Stored) (value []byte, err error) {
	if err := record.Check(stored.Key, stored.Value); err != nil {
		return nil, err // it may have a field that encoding it again would drop
	}
	switch {
	case stored.Key.HasPrefix(record.VersionPrefix):
		value, err = o.version(stored.Value)
	case stored.Key.HasPrefix(record.SecretPrefix):
		value, err = o.secret(stored.Value)
	case stored.Key.HasPrefix(record.CredentialPrefix):
		value, err = o.credential(stored.Value)
	}
	if err != nil || !o.changed {
		return nil, err
	}
	return value, nil
}

func (o *reopener) version(encoded []byte) ([]byte, error) {
	v, err := record.Versions.Decode(encoded)
	if err != nil {
		return nil, err
	}
	v.Value, err = o.content(v.Value, keyring.AssociatedData{
		Account: o.account, Vault: v.Secret.Vault(), Secret: v.Secret, Version: v.ID, Field: keyring.Value,
	})
	return record.Versions.Encode(v), err
}

func (o *reopener) secret(encoded []byte) ([]byte, error) {
	s, err := record.Secrets.Decode(encoded)
	if err != nil {
		return nil, err
	}
	if s.Description, err = o.content(s.Description, associatedData(s, "", keyring.Description)); err != nil {
		return nil, err
	}
	s.Metadata, err = o.content(s.Metadata, associatedData(s, "", keyring.Metadata))
	return record.Secrets.Encode(s), err
}

func (o *reopener) credential(encoded []byte) ([]byte, error) {
	c, err := record.Credentials.Decode(encoded)
	if err != nil {
		return nil, err
	}
	c.SealedKey, err = o.content(c.SealedKey, accessKeyData(c.Account, c.ID))
	return record.Credentials.Encode(c), err
}

func (o *reopener) content(sealed secret.Sealed, ad keyring.AssociatedData) (secret.Sealed, error) {
	if len(sealed) == 0 {
		return sealed, nil
	}
	generation, err := keyring.Generation(sealed)
	if err != nil || generation == o.sealer.Generation() {
		return sealed, err
	}
	plaintext, err := o.open(sealed, ad)
	if err != nil {
		return nil, err
	}
	defer clear(plaintext.Reveal())
	o.changed = true
	return o.sealer.Seal(plaintext, ad)
}

// next returns the records to look at after the bookmark, at most a batch, and
// the bookmark once they are done; it is empty at the end.
func (r *resealing) next(view record.View) (batch []record.Stored, bookmark record.Key, err error) {
	if after := record.Key(r.rotation.GetBookmark()); len(r.page) == 0 || r.at != after {
		if r.page, err = page(view, prefixesOf(r.rotation), after); err != nil || len(r.page) == 0 {
			return nil, "", err
		}
	}
	size, n := 0, 0
	for ; n < len(r.page) && n < resealRecords && (n == 0 || size < resealBytes); n++ {
		size += len(r.page[n].Value)
	}
	batch, r.page = r.page[:n], r.page[n:]
	r.at = batch[n-1].Key
	bookmark = r.at
	if strings.HasPrefix(string(bookmark), record.CredentialOfPrefix) {
		batch, err = credentialsNamed(view, batch)
	}
	return batch, bookmark, err
}

// pageRecords is what a view of the store reads at once.
const pageRecords = 256

// page returns the next records after a key, of the first prefix that has any.
func page(view record.View, prefixes []string, after record.Key) (found []record.Stored, err error) {
	for _, prefix := range prefixes {
		start, end := record.Key(prefix), record.PrefixEnd(prefix)
		if after >= end {
			continue
		}
		if after >= start {
			start = after + "\x00"
		}
		err = view.Scan(start, end, func(stored record.Stored) bool {
			found = append(found, stored)
			return len(found) < pageRecords
		})
		if err != nil || len(found) > 0 {
			break
		}
	}
	return found, err
}

// prefixesOf are those of the keys of what a scope's data key seals, in the order
// of the keys. Credentials are found by the index of their account.
func prefixesOf(rotation *recordpb.DataKeyRotation) []string {
	scope := rotation.GetScope()
	if scope == rotation.GetAccount() {
		return []string{record.CredentialOfPrefix + scope + "/"}
	}
	return []string{record.SecretPrefix + scope + "/", record.VersionPrefix + scope + "/"}
}

func credentialsNamed(view record.View, index []record.Stored) (found []record.Stored, err error) {
	for _, entry := range index {
		id, err := record.DecodeReference(entry.Value)
		if err != nil {
			return nil, fmt.Errorf("record %s: %w", entry.Key, err)
		}
		stored, ok, err := view.Get(record.CredentialKey(secret.CredentialID(id)))
		if err != nil {
			return nil, err
		}
		if ok {
			found = append(found, stored)
		}
	}
	return found, nil
}

// sealedRecords counts about how many records a rotation looks at.
func (s *Service) sealedRecords(rotation *recordpb.DataKeyRotation) (n uint64) {
	_ = s.Local.View(func(view record.View) error {
		for _, prefix := range prefixesOf(rotation) {
			if err := view.Scan(record.Key(prefix), record.PrefixEnd(prefix), func(record.Stored) bool { n++; return true }); err != nil {
				return err
			}
		}
		return nil
	})
	return n
}
