package service

import (
	"cmp"
	"context"
	"errors"
	"time"

	"golang.org/x/time/rate"

	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/faultpoint"
	"github.com/lifeboat-secrets/lifeboat/internal/keyring"
	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func (o KeyOptions) rewrapRate() *rate.Limiter {
	perSecond := cmp.Or(o.DataKeysPerSecond, 50)
	return rate.NewLimiter(rate.Limit(perSecond), perSecond)
}

// masterKeyOf returns the name of the master key of a vault, or of an account if
// it is nil. A vault's name means a key of its home region; elsewhere the target
// says which key wraps, or the region's own does.
func (s *Service) masterKeyOf(vault *secret.Vault) string {
	switch {
	case vault == nil:
		return ""
	case vault.Ownership.Home == s.Region:
		return vault.Key
	}
	if t := secret.TargetIn(vault.Replication.Targets, s.Region); t != nil {
		return t.Key
	}
	return ""
}

// RotateMasterKey begins to have all data keys of the region, and the check in its
// record, wrapped by the active master keys; MaintainMasterKeys goes on with that.
// First it has the key service make a new master key of a name, empty for the
// region's own, unless rewrapOnly is set or the key service cannot: then the key
// that is configured now is taken. While a rotation is under way it changes nothing
// and answers that one, with running set.
func (s *Service) RotateMasterKey(ctx context.Context, name string, rewrapOnly bool) (rotation *recordpb.MasterKeyRotation, running bool, err error) {
	c, err := s.begin(ctx, authz.RotateMasterKey, true)
	if err != nil {
		return nil, false, c.end(err)
	}
	_, err = s.read(ctx, func(view record.View) error {
		if err := c.authenticate(view); err != nil {
			return err
		}
		return c.authorize(view, c.regionResource())
	})
	if err == nil {
		rotation, running, err = c.beginMasterRotation(ctx, name, rewrapOnly)
	}
	return rotation, running, c.end(err)
}

func (c *call) beginMasterRotation(ctx context.Context, name string, rewrapOnly bool) (rotation *recordpb.MasterKeyRotation, running bool, err error) {
	s := c.service
	if err := secret.CheckText("key", name, secret.MaxKeyNameBytes); err != nil {
		return nil, false, err
	}
	last, _, err := record.Load(s.Store.View(ctx), record.MasterRotations, record.MasterKeyRotationKey)
	switch {
	case err == nil && last.GetFinishedAt() == 0:
		return last, true, nil
	case err != nil && !errors.Is(err, record.ErrNotFound):
		return nil, false, err
	}
	if !rewrapOnly {
		made, err := s.Keyring.RotateMasterKey(ctx, name)
		if err != nil {
			return nil, false, namingKey(err)
		}
		c.entry.Committed = made
	}
	master, err := s.Keyring.MasterKey(ctx, "")
	if err != nil {
		return nil, false, err
	}
	revision, err := s.commit(ctx, func(view record.View) (*record.Txn, error) {
		last, at, err := record.Load(view, record.MasterRotations, record.MasterKeyRotationKey)
		if err != nil && !errors.Is(err, record.ErrNotFound) {
			return nil, err
		}
		if err == nil && last.GetFinishedAt() == 0 {
			rotation, running = last, true
			return nil, nil
		}
		txn, _, err := newTxn(view)
		if err != nil {
			return nil, err
		}
		rotation, running = &recordpb.MasterKeyRotation{
			MasterKey: master.ID, StartedAt: c.now.UnixNano(), StartedBy: string(c.caller.Principal.ID),
		}, false
		txn.Require(record.MasterKeyRotationKey, at)
		txn.Put(record.MasterKeyRotationKey, record.MasterRotations.Encode(rotation))
		return txn, nil
	})
	c.entry.Committed = c.entry.Committed || revision > 0
	return rotation, running, err
}

// namingKey makes an error of the key service name the field of the request.
func namingKey(err error) error {
	if e, ok := errors.AsType[*secret.Error](err); ok && e.Field == "" {
		named := *e
		named.Field = "key"
		return &named
	}
	return err
}

// MaintainMasterKeys carries on the rotation of master keys that is under way, and
// starts one that is due. One control process does it at a time, though more would
// do no harm. What is left after an error comes with the next call.
func (s *Service) MaintainMasterKeys(ctx context.Context) (soon bool, err error) {
	var open bool
	var due time.Time
	err = s.Local.View(func(view record.View) (err error) {
		open, due, err = s.masterRotationIn(view)
		return err
	})
	if err != nil {
		return false, err
	}
	if every := s.Keys.RotateMasterKeyEvery; !open && every > 0 && s.Now().Sub(due) >= every {
		ctx, c, err := s.systemCall(ctx, authz.RotateMasterKey, keysName)
		if err != nil {
			return false, c.end(err)
		}
		c.about(c.regionResource())
		_, _, err = c.beginMasterRotation(ctx, "", false)
		return err == nil, c.end(err)
	}
	if !open {
		return false, nil
	}
	return false, s.rewrapAll(ctx)
}

// masterRotationIn says whether a rotation is under way, and since when the master
// key is active: since the last rotation, or else since this life of the region
// began.
func (s *Service) masterRotationIn(view record.View) (open bool, since time.Time, err error) {
	rotation, _, err := record.Load(view, record.MasterRotations, record.MasterKeyRotationKey)
	if err == nil {
		return rotation.GetFinishedAt() == 0, record.FromNanos(rotation.GetStartedAt()), nil
	}
	if !errors.Is(err, record.ErrNotFound) {
		return false, since, err
	}
	region, err := RegionRecord(view)
	if err != nil {
		return false, since, err
	}
	return false, record.FromNanos(max(region.GetInitializedAt(), region.GetRestoredAt())), nil
}

// rewrapping is a rotation of master keys being carried on, as resealing is one of
// a data key.
type rewrapping struct {
	service  *Service
	rotation *recordpb.MasterKeyRotation
	revision int64
	// masters are the active master keys by name, as the key service said first.
	masters map[string]keyring.MasterKey
}

func (s *Service) rewrapAll(ctx context.Context) error {
	r := &rewrapping{service: s, masters: map[string]keyring.MasterKey{}}
	for {
		if err := kmsCancelled(ctx); err != nil {
			return err
		}
		view := s.Unchecked(ctx)
		var err error
		r.rotation, r.revision, err = record.Load(view, record.MasterRotations, record.MasterKeyRotationKey)
		if errors.Is(err, record.ErrNotFound) || err == nil && r.rotation.GetFinishedAt() != 0 {
			return nil
		}
		if err != nil {
			return err
		}
		if r.rotation.GetTotal() == 0 {
			r.rotation.Total = s.dataKeyCount()
		}
		done, err := r.step(ctx, view)
		if err != nil || done {
			return err
		}
	}
}

// step wraps the data keys of one page again and moves the bookmark. After the
// last page it wraps the region's check.
func (r *rewrapping) step(ctx context.Context, view record.View) (done bool, err error) {
	batch, err := page(view, []string{record.DataKeyPrefix}, record.Key(r.rotation.GetBookmark()))
	if err != nil {
		return false, err
	}
	if len(batch) == 0 {
		if err := r.rewrapCheck(ctx, view); err != nil {
			return false, err
		}
		return true, r.move(ctx, func(next *recordpb.MasterKeyRotation) { next.FinishedAt = r.service.Now().UnixNano() })
	}
	if _, err := r.master(ctx, ""); err != nil {
		return false, err
	}
	var rewrapped uint64
	var failures []record.Key
	for _, stored := range batch {
		did, err := r.one(ctx, view, stored)
		switch {
		case err != nil && (cannotBeOpened(err) || errors.Is(err, kms.ErrWrongKey)):
			r.service.Logger.Error("a data key cannot be unwrapped and so not be wrapped again", "record", stored.Key, "error", err)
			failures = append(failures, stored.Key)
		case err != nil:
			return false, err
		case did:
			rewrapped++
		}
		faultpoint.Hit("keys.rewrap", string(stored.Key))
	}
	return false, r.move(ctx, func(next *recordpb.MasterKeyRotation) {
		next.Bookmark, next.LookedAt = string(batch[len(batch)-1].Key), next.GetLookedAt()+uint64(len(batch))
		next.Total = max(next.GetTotal(), next.GetLookedAt())
		next.Rewrapped += rewrapped
		next.Failed += uint64(len(failures))
		for _, key := range failures {
			if len(next.Failures) < mostFailures {
				next.Failures = append(next.Failures, string(key))
			}
		}
	})
}

// move writes the rotation's record as change makes it.
func (r *rewrapping) move(ctx context.Context, change func(*recordpb.MasterKeyRotation)) error {
	txn, _, err := newTxn(r.service.Store.View(ctx))
	if err != nil {
		return err
	}
	change(r.rotation)
	txn.Require(record.MasterKeyRotationKey, r.revision)
	txn.Put(record.MasterKeyRotationKey, record.MasterRotations.Encode(r.rotation))
	_, err = r.service.Store.Commit(ctx, *txn)
	if secret.HasCode(err, secret.CodeStale) {
		return nil // another process is at it: read where it is
	}
	if err == nil && r.rotation.GetFinishedAt() != 0 {
		r.service.masterRotated.Add(1)
		r.service.Logger.Info("master key rotated", "master_key", r.rotation.GetMasterKey(), "data_keys", r.rotation.GetRewrapped(),
			"failed", r.rotation.GetFailed())
	}
	return err
}

// one wraps one data key again, unless it is wrapped as it should be. If its record
// was changed or deleted meanwhile there is nothing to do: what is wrapped now is
// wrapped by the active master key, and another change of the vault's key does it
// itself.
func (r *rewrapping) one(ctx context.Context, view record.View, stored record.Stored) (did bool, err error) {
	key, err := record.DataKeys.Decode(stored.Value)
	if err != nil {
		return false, err
	}
	vault, vaultRevision, err := record.Load(view, record.Vaults, record.VaultKey(secret.VaultID(key.GetScope())))
	if errors.Is(err, record.ErrNotFound) {
		vault, err = nil, nil // of an account
	}
	if err != nil {
		return false, err
	}
	master, err := r.master(ctx, r.service.masterKeyOf(vault))
	if err != nil {
		return false, err
	}
	if key.GetMasterKey() == master.ID {
		return false, nil
	}
	if err := r.service.rewrapRate.Wait(ctx); err != nil {
		return false, kmsCancelled(ctx)
	}
	value, err := r.service.Keyring.RewrapRecord(ctx, master, stored)
	if err != nil || value == nil {
		return false, err
	}
	txn, _, err := newTxn(view)
	if err != nil {
		return false, err
	}
	if vault != nil {
		txn.Require(record.VaultKey(vault.ID), vaultRevision)
	}
	txn.Require(stored.Key, stored.Revision)
	txn.Put(stored.Key, value)
	_, err = r.service.Store.Commit(ctx, *txn)
	if secret.HasCode(err, secret.CodeStale) {
		return r.again(ctx, stored.Key)
	}
	if err == nil {
		r.service.rewrapped.Add(1)
	}
	return err == nil, err
}

// again looks at a data key that somebody changed while it was wrapped again.
func (r *rewrapping) again(ctx context.Context, key record.Key) (did bool, err error) {
	pause(ctx, 0)
	view := r.service.Unchecked(ctx)
	stored, ok, err := view.Get(key)
	if err != nil || !ok {
		return false, err
	}
	return r.one(ctx, view, stored)
}

func (r *rewrapping) master(ctx context.Context, name string) (keyring.MasterKey, error) {
	if m, ok := r.masters[name]; ok {
		return m, nil
	}
	m, err := r.service.Keyring.MasterKey(ctx, name)
	if err == nil {
		r.masters[name] = m
	}
	return m, err
}

// rewrapCheck wraps the known text in the region's record again.
func (r *rewrapping) rewrapCheck(ctx context.Context, view record.View) error {
	master, err := r.master(ctx, "")
	if err != nil {
		return err
	}
	for range maxPlans {
		region, revision, err := record.Load(view, record.Regions, record.RegionKey)
		if err != nil || region.GetMasterKey() == master.ID {
			return err
		}
		if err := r.service.Keyring.Check(ctx, region); err != nil {
			return err
		}
		check, err := r.service.Keyring.NewCheck(ctx, secret.RegionName(region.GetName()), secret.Incarnation(region.GetIncarnation()))
		if err != nil {
			return err
		}
		txn, _, err := newTxn(view)
		if err != nil {
			return err
		}
		region.KeyCheck, region.MasterKey = check.Bytes, check.MasterKey
		txn.Require(record.RegionKey, revision)
		txn.Put(record.RegionKey, record.Regions.Encode(region))
		if _, err := r.service.Store.Commit(ctx, *txn); !secret.HasCode(err, secret.CodeStale) {
			return err
		}
		view = r.service.Unchecked(ctx)
	}
	return secret.Errorf(secret.CodeUnavailable, "the region's record keeps changing")
}

// dataKeyCount counts the data keys, about.
func (s *Service) dataKeyCount() (n uint64) {
	_ = s.Local.View(func(view record.View) error {
		return view.Scan(record.DataKeyPrefix, record.PrefixEnd(record.DataKeyPrefix), func(record.Stored) bool { n++; return true })
	})
	return n
}
