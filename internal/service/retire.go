package service

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/keyring"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Retired says what became of the older generations of one data key.
type Retired struct {
	Scope       string
	Generations []uint32
	// NeededBy names what still needs them; empty if they were deleted.
	NeededBy []string
}

// RetireDataKeys deletes the generations of a data key before the active one, if
// nothing needs them: no sealed record, no registered host, no backup that may
// still be restored. If something does, it is secret.CodeKeyInUse, which names it.
// A zero ref means all of the region, of which those that are needed are listed.
func (s *Service) RetireDataKeys(ctx context.Context, ref KeyScope) (retired []Retired, err error) {
	c, err := s.begin(ctx, authz.RetireDataKeys, true)
	if err != nil {
		return nil, c.end(err)
	}
	var scopes []string
	_, err = s.read(ctx, func(view record.View) error {
		if err := c.authenticate(view); err != nil {
			return err
		}
		if err := c.authorize(view, c.regionResource()); err != nil {
			return err
		}
		scopes, err = c.scopesToRetire(view, ref)
		return err
	})
	c.entry.Resource.Name = ref.Vault + ref.Account
	if err == nil {
		retired, err = s.retireEach(ctx, scopes, ref != (KeyScope{}))
		c.entry.Committed = len(retired) > 0
	}
	return retired, c.end(err)
}

// scopesToRetire resolves what an operator names. Operators may know which
// accounts and vaults there are.
func (c *call) scopesToRetire(view record.View, ref KeyScope) (scopes []string, err error) {
	if ref != (KeyScope{}) {
		sc, err := c.scope(view, ref)
		return []string{sc.id}, err
	}
	err = scanAll(view, record.DataKeyRotations, record.DataKeyRotationPrefix, func(r *recordpb.DataKeyRotation) bool {
		if r.GetRetiredAt() == 0 {
			scopes = append(scopes, r.GetScope())
		}
		return true
	})
	return scopes, err
}

// retireEach retires what nothing needs. If one was named, that it is needed is an
// error.
func (s *Service) retireEach(ctx context.Context, scopes []string, named bool) (retired []Retired, err error) {
	for _, id := range scopes {
		one, err := s.retire(ctx, id)
		if err != nil {
			return retired, err
		}
		if len(one.NeededBy) > 0 && named {
			return retired, secret.Errorf(secret.CodeKeyInUse, "older data keys are still needed: %s", strings.Join(one.NeededBy, "; ")).
				WithHint("nothing was deleted; they are retired by themselves once nothing needs them")
		}
		retired = append(retired, one)
	}
	return retired, nil
}

// retire deletes the older generations of a scope unless something needs them.
func (s *Service) retire(ctx context.Context, id string) (Retired, error) {
	view := s.Unchecked(ctx)
	result := Retired{Scope: id}
	keys, err := dataKeysOf(view, id)
	if err != nil {
		return result, err
	}
	old := olderGenerations(keys)
	if len(old) == 0 {
		return result, nil
	}
	if result.NeededBy, err = s.needs(view, id, keys.Active); err != nil || len(result.NeededBy) > 0 {
		return result, err
	}
	if err := s.deleteGenerations(ctx, view, id, old); err != nil {
		return result, err
	}
	result.Generations = old
	s.Logger.Info("data keys retired", "scope", id, "generations", old)
	return result, nil
}

// olderGenerations are those that no longer seal; the digest key stays.
func olderGenerations(keys DataKeys) (old []uint32) {
	for _, k := range keys.Keys {
		if g := k.GetGeneration(); g != 0 && g < keys.Active {
			old = append(old, g)
		}
	}
	return old
}

// needs lists what needs generations older than the active one: cheap questions
// first, since the last one reads all that the scope has sealed.
func (s *Service) needs(view record.View, id string, active uint32) (needed []string, err error) {
	rotation, revision, err := record.Load(view, record.DataKeyRotations, record.DataKeyRotationKey(id))
	switch {
	case errors.Is(err, record.ErrNotFound), err == nil && rotation.GetGeneration() != active:
		return []string{"no rotation to the active generation is recorded"}, nil
	case err != nil:
		return nil, err
	case rotation.GetFinishedAt() == 0:
		return []string{"the rotation is under way"}, nil
	}
	for _, look := range []func() ([]string, error){
		func() ([]string, error) { return s.hostsNeed(revision), nil },
		func() ([]string, error) { return s.backupsNeed(view, rotation) },
		func() ([]string, error) { return conflictsNeed(view, id) },
	} {
		found, err := look()
		if err != nil {
			return nil, err
		}
		needed = append(needed, found...)
	}
	if len(needed) > 0 {
		return needed, nil
	}
	return s.recordsNeed(view, rotation, active)
}

// hostsNeed names the registered hosts that may still hold what older generations
// sealed. revision is that of the end of the rotation, after which nothing is.
func (s *Service) hostsNeed(revision int64) []string {
	if s.Hosts == nil {
		return []string{"this process does not know how far the hosts have come"}
	}
	behind, known := s.Hosts.Behind(revision)
	if !known {
		return []string{"this process does not know yet how far the hosts have come"}
	}
	needed := make([]string, len(behind))
	for i, host := range behind {
		needed[i] = "host " + host + " has not applied the rotation"
	}
	return needed
}

// backupsNeed names the backups that hold what older generations sealed and may
// still be restored.
func (s *Service) backupsNeed(view record.View, rotation *recordpb.DataKeyRotation) (needed []string, err error) {
	now := s.Now()
	err = scanAll(view, record.Backups, record.BackupPrefix, func(b *recordpb.Backup) bool {
		if until := s.keptUntil(b); b.GetCreatedAt() <= rotation.GetFinishedAt() && now.Before(until) {
			needed = append(needed, fmt.Sprintf("backup %s, kept until %s", b.GetId(), until.UTC().Format(time.RFC3339)))
		}
		return true
	})
	return needed, err
}

// keptUntil is until when a backup can be expected to be restored: what was
// configured when it was made, or what is now if that is longer.
func (s *Service) keptUntil(b *recordpb.Backup) time.Time {
	recorded, configured := record.FromNanos(b.GetKeepUntil()), record.FromNanos(b.GetCreatedAt()).Add(s.Keys.BackupsKeptFor)
	if configured.After(recorded) {
		return configured
	}
	return recorded
}

// conflictsNeed counts the conflicts of a vault's secrets: what they keep is not sealed
// again. Those of other records keep nothing that is sealed.
func conflictsNeed(view record.View, scope string) ([]string, error) {
	count, first := 0, ""
	err := scanAll(view, record.Conflicts, record.ConflictPrefix, func(c *recordpb.Conflict) bool {
		if keepsSealed(c, scope) {
			if count++; count == 1 {
				first = c.GetId()
			}
		}
		return true
	})
	if err != nil || count == 0 {
		return nil, err
	}
	return []string{fmt.Sprintf("%d conflicts, such as %s, which must be adopted or discarded first", count, first)}, nil
}

// recordsNeed counts what older generations still seal: a record that could not
// be opened when it was to be sealed again.
func (s *Service) recordsNeed(view record.View, rotation *recordpb.DataKeyRotation, active uint32) ([]string, error) {
	count, first := 0, record.Key("")
	for after := record.Key(""); ; {
		batch, err := page(view, prefixesOf(rotation), after)
		if err != nil {
			return nil, err
		}
		if len(batch) == 0 {
			break
		}
		after = batch[len(batch)-1].Key
		if strings.HasPrefix(string(after), record.CredentialOfPrefix) {
			if batch, err = credentialsNamed(view, batch); err != nil {
				return nil, err
			}
		}
		for _, stored := range batch {
			if !sealedBy(stored, active) {
				if count++; count == 1 {
					first = stored.Key
				}
			}
		}
	}
	if count == 0 {
		return nil, nil
	}
	return []string{fmt.Sprintf("%d records are sealed by older generations, such as %s", count, first)}, nil
}

// sealedBy reports whether all that a record seals is sealed by a generation.
func sealedBy(stored record.Stored, generation uint32) bool {
	sealed, err := sealedIn(stored)
	if err != nil {
		return false
	}
	for _, content := range sealed {
		if len(content) == 0 {
			continue
		}
		if g, err := keyring.Generation(content); err != nil || g != generation {
			return false
		}
	}
	return true
}

func sealedIn(stored record.Stored) ([]secret.Sealed, error) {
	switch {
	case stored.Key.HasPrefix(record.VersionPrefix):
		value, err := record.SealedValue(stored.Value)
		return []secret.Sealed{value}, err
	case stored.Key.HasPrefix(record.SecretPrefix):
		s, err := record.Secrets.Decode(stored.Value)
		if err != nil {
			return nil, err
		}
		return []secret.Sealed{s.Description, s.Metadata}, nil
	case stored.Key.HasPrefix(record.CredentialPrefix):
		c, err := record.Credentials.Decode(stored.Value)
		if err != nil {
			return nil, err
		}
		return []secret.Sealed{c.SealedKey}, nil
	}
	return nil, nil
}

// deleteGenerations deletes data keys, as long as the scope's active generation
// and its rotation are as they were.
func (s *Service) deleteGenerations(ctx context.Context, view record.View, id string, old []uint32) error {
	txn, _, err := newTxn(view)
	if err != nil {
		return err
	}
	key := record.DataKeyRotationKey(id)
	rotation, revision, err := record.Load(view, record.DataKeyRotations, key)
	if err != nil {
		return err
	}
	active, activeRevision, err := load(view, record.ActiveDataKeys, record.ActiveDataKeyKey(id), "", "active data key")
	if err != nil {
		return err
	}
	if rotation.GetFinishedAt() == 0 || rotation.GetGeneration() != active.GetGeneration() {
		return secret.Errorf(secret.CodeUnavailable, "another rotation began meanwhile").WithHint("try again")
	}
	txn.Require(key, revision)
	txn.Require(record.ActiveDataKeyKey(id), activeRevision)
	for _, g := range old {
		txn.Delete(record.DataKeyKey(id, g))
		txn.Delete(record.DataKeyUsageKey(id, g))
	}
	rotation.RetiredAt = s.Now().UnixNano()
	txn.Put(key, record.DataKeyRotations.Encode(rotation))
	_, err = s.Store.Commit(ctx, *txn)
	return err
}
