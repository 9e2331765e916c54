package service

import (
	"context"
	"errors"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// What is done to keys because time makes it due is audited like a request, by a
// principal of the system account.
const keysName = "lifeboat-keys"

// dueEvery is how often is looked for rotations that are due.
const dueEvery = 30 * time.Second

// mostStarted bounds the rotations that one turn starts because they are due.
const mostStarted = 100

// MaintainDataKeys does once what is to be done for data keys: it carries on
// rotations, starts those that are due and retires generations that nothing needs
// any more. One control process does it at a time, though more would do no harm.
// What is left after an error comes with the next call. soon says that hosts
// still have to apply what was done, upon which there will be more to do.
func (s *Service) MaintainDataKeys(ctx context.Context) (soon bool, err error) {
	errs := []error{s.startDueRotations(ctx), s.forgetBackups(ctx)}
	open, done, err := s.rotations()
	errs = append(errs, err)
	for _, scope := range open {
		err := s.reseal(ctx, scope)
		errs, soon = append(errs, err), soon || err == nil
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
	}
	for _, scope := range done {
		waits, err := s.retireIfUnused(ctx, scope)
		errs, soon = append(errs, err), soon || waits
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
	}
	return soon, errors.Join(errs...)
}

// rotations lists, by the local store, those under way and those whose older
// generations are not retired.
func (s *Service) rotations() (open, done []string, err error) {
	err = s.Local.View(func(view record.View) error {
		return scan(view, record.DataKeyRotations, record.DataKeyRotationPrefix, func(r *recordpb.DataKeyRotation) bool {
			switch {
			case r.GetFinishedAt() == 0:
				open = append(open, r.GetScope())
			case r.GetRetiredAt() == 0:
				done = append(done, r.GetScope())
			}
			return true
		})
	})
	return open, done, err
}

// startDueRotations starts the rotation of data keys whose active generation is
// too old or has sealed too often.
func (s *Service) startDueRotations(ctx context.Context) error {
	due, err := s.dueRotations(s.Now())
	if err != nil {
		return err
	}
	var errs []error
	for _, ref := range due {
		errs = append(errs, s.startRotation(ctx, ref))
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return errors.Join(errs...)
}

func (s *Service) dueRotations(now time.Time) (due []KeyScope, err error) {
	if s.Keys.RotateDataKeysEvery == 0 && s.Keys.RotateDataKeysAfter == 0 || now.Sub(s.dueAt) < dueEvery && !now.Before(s.dueAt) {
		return nil, nil
	}
	defer func() {
		if err == nil && len(due) < mostStarted {
			s.dueAt = now
		}
	}()
	err = s.Local.View(func(view record.View) error {
		return scan(view, record.ActiveDataKeys, record.ActiveDataKeyPrefix, func(active *recordpb.ActiveDataKey) bool {
			if s.rotationDue(view, active, now) {
				due = append(due, keyScopeOf(view, active.GetScope()))
			}
			return len(due) < mostStarted
		})
	})
	return due, err
}

func (s *Service) rotationDue(view record.View, active *recordpb.ActiveDataKey, now time.Time) bool {
	id, generation := active.GetScope(), active.GetGeneration()
	if last, _, err := record.Load(view, record.DataKeyRotations, record.DataKeyRotationKey(id)); err == nil && last.GetFinishedAt() == 0 {
		return false
	}
	if every := s.Keys.RotateDataKeysEvery; every > 0 {
		key, _, err := record.Load(view, record.DataKeys, record.DataKeyKey(id, generation))
		if err == nil && now.Sub(record.FromNanos(key.GetCreatedAt())) >= every {
			return true
		}
	}
	if after := s.Keys.RotateDataKeysAfter; after > 0 {
		used, _, err := record.Load(view, record.DataKeyUsages, record.DataKeyUsageKey(id, generation))
		return err == nil && used.GetSeals() >= after
	}
	return false
}

// keyScopeOf says whether an ID is that of a vault or of an account.
func keyScopeOf(view record.View, id string) KeyScope {
	if _, ok, err := view.Get(record.VaultKey(secret.VaultID(id))); err == nil && ok {
		return KeyScope{Vault: id}
	}
	return KeyScope{Account: id}
}

// startRotation starts a rotation that is due.
func (s *Service) startRotation(ctx context.Context, ref KeyScope) error {
	ctx, c, err := s.systemCall(ctx, authz.RotateDataKey, keysName)
	if err != nil {
		return c.end(err)
	}
	revision, err := s.commit(ctx, func(view record.View) (*record.Txn, error) {
		sc, err := c.scope(view, ref)
		if err != nil {
			return nil, err
		}
		c.about(sc.resource)
		if sc.vault != nil && sc.vault.State != secret.Active {
			return nil, nil
		}
		_, txn, err := c.beginRotation(ctx, view, sc)
		return txn, err
	})
	c.entry.Committed = revision > 0
	return c.end(err)
}

// retireIfUnused retires the older generations of a scope, in silence while
// something needs them. waits says that hosts do.
func (s *Service) retireIfUnused(ctx context.Context, id string) (waits bool, err error) {
	var needed []string
	err = s.Local.View(func(view record.View) (err error) { // without asking the store in vain
		rotation, revision, err := record.Load(view, record.DataKeyRotations, record.DataKeyRotationKey(id))
		if err != nil {
			return err
		}
		needed = s.hostsNeed(revision)
		waits = len(needed) > 0
		backups, err := s.backupsNeed(view, rotation)
		needed = append(needed, backups...)
		if rotation.GetFailed() > 0 {
			needed = append(needed, "records cannot be opened")
		}
		return err
	})
	if err != nil || len(needed) > 0 {
		return waits, err
	}
	ctx, c, err := s.systemCall(ctx, authz.RetireDataKeys, keysName)
	if err != nil {
		return false, c.end(err)
	}
	c.entry.Resource.Kind, c.entry.Resource.ID = "data-key", id
	retired, err := s.retire(ctx, id)
	c.entry.Committed = len(retired.Generations) > 0
	if err == nil && len(retired.NeededBy) > 0 {
		err = secret.Errorf(secret.CodeKeyInUse, "data keys of %s are still needed: %v", id, retired.NeededBy)
	}
	return false, c.end(err)
}

// CountSeals adds what this process sealed since it counted last to the counts
// that all processes share, which tell when a generation has sealed enough. Call
// it now and then in each process that seals: what a process that is killed did
// not add is lost, which the distance of RotateDataKeysAfter to keyring.MaxSeals
// makes up for.
func (s *Service) CountSeals(ctx context.Context) error {
	if s.Keys.RotateDataKeysAfter == 0 {
		return nil
	}
	step := max(1, s.Keys.RotateDataKeysAfter/1024)
	var errs []error
	for _, u := range s.Keyring.Usages() {
		key := record.DataKeyUsageKey(u.Scope, u.Generation)
		counted, _ := s.counted.Load(key)
		before, _ := counted.(uint64)
		if u.Seals-before < step {
			continue
		}
		if err := s.addSeals(ctx, key, &recordpb.DataKeyUsage{Scope: u.Scope, Generation: u.Generation, Seals: u.Seals - before}); err != nil {
			errs = append(errs, err)
			continue
		}
		s.counted.Store(key, u.Seals)
	}
	return errors.Join(errs...)
}

func (s *Service) addSeals(ctx context.Context, key record.Key, add *recordpb.DataKeyUsage) error {
	_, err := s.commit(ctx, func(view record.View) (*record.Txn, error) {
		if _, ok, err := view.Get(record.DataKeyKey(add.GetScope(), add.GetGeneration())); err != nil || !ok {
			return nil, err // retired, or deleted with its vault
		}
		txn, _, err := newTxn(view)
		if err != nil {
			return nil, err
		}
		used, revision, err := record.Load(view, record.DataKeyUsages, key)
		if err != nil && !errors.Is(err, record.ErrNotFound) {
			return nil, err
		}
		txn.Require(key, revision)
		txn.Put(key, record.DataKeyUsages.Encode(&recordpb.DataKeyUsage{
			Scope: add.GetScope(), Generation: add.GetGeneration(), Seals: used.GetSeals() + add.GetSeals(),
		}))
		return txn, nil
	})
	return err
}
