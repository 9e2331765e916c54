package service

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// The sweep acts as a principal of the system account and is audited like one.
const sweepName = "lifeboat-sweep"

const (
	actionSweepSecret     authz.Action = "SweepSecret"
	actionSweepCredential authz.Action = "SweepCredential"
	// deadCredentialFor is how long a revoked or expired credential stays listed.
	deadCredentialFor = 24 * time.Hour
)

// Swept counts what one sweep did.
type Swept struct {
	Purged, Pruned, Credentials int
}

// Sweep does what time makes due: it purges secrets whose deletion window is
// over, prunes versions by age, and removes credentials that stopped working a
// day ago. Each is an ordinary ordered mutation, so that two sweeps at once, or
// one that is killed, do no harm. One control process runs it at a time.
func (s *Service) Sweep(ctx context.Context) (Swept, error) {
	if s.unanswered() { // whether this region is still the home of anything
		return Swept{}, nil
	}
	at, err := s.soundTime(ctx)
	if err != nil {
		return Swept{}, err
	}
	due, err := s.due(at)
	if err != nil {
		return Swept{}, err
	}
	var swept Swept
	errs := []error{s.forgetPurges(ctx, due.purges)}
	for _, id := range due.secrets {
		purged, pruned, err := s.sweepSecret(ctx, id, at)
		errs = append(errs, err)
		if purged {
			swept.Purged++
		}
		swept.Pruned += pruned
		if ctx.Err() != nil {
			return swept, ctx.Err()
		}
	}
	for _, id := range due.credentials {
		if err := s.sweepCredential(ctx, id, at); err != nil {
			errs = append(errs, err)
			continue
		}
		swept.Credentials++
	}
	return swept, errors.Join(errs...)
}

// maxSwept bounds the work of one sweep; the next one goes on.
const maxSwept = 10_000

// dueWork is what a sweep has to do.
type dueWork struct {
	secrets     []secret.ID
	credentials []secret.CredentialID
	// purges are index entries of immediate deletions.
	purges []record.Stored
}

// due scans the local store for what a sweep has to do.
func (s *Service) due(at time.Time) (due dueWork, err error) {
	err = s.Local.View(func(view record.View) error {
		held, err := purgeHeld(view, at)
		if err != nil {
			return err
		}
		if !held {
			err = scan(view, record.Secrets, record.SecretPrefix, func(sec *secret.Secret) bool {
				if sec.Ownership.Home == s.Region && isDue(sec, at) {
					due.secrets = append(due.secrets, sec.ID)
				}
				return len(due.secrets) < maxSwept
			})
			if err == nil {
				due.purges, err = oldPurges(view, at)
			}
		}
		if err != nil {
			return err
		}
		return scan(view, record.Credentials, record.CredentialPrefix, func(c *secret.Credential) bool {
			if c.Ownership.Home == s.Region && isDead(c, at) {
				due.credentials = append(due.credentials, c.ID)
			}
			return len(due.credentials) < maxSwept
		})
	})
	return due, err
}

func isDead(c *secret.Credential, now time.Time) bool {
	revoked := !c.RevokedAt.IsZero() && now.Sub(c.RevokedAt) > deadCredentialFor
	expired := !c.ExpiresAt.IsZero() && now.Sub(c.ExpiresAt) > deadCredentialFor
	return revoked || expired
}

func isDue(sec *secret.Secret, now time.Time) bool {
	if sec.State == secret.PendingDeletion {
		return !now.Before(sec.DeleteAt)
	}
	if sec.State != secret.Active || sec.Retention.MaxAge == 0 || len(sec.Versions) < 2 {
		return false
	}
	named := make(map[secret.VersionID]bool, len(sec.Stages))
	for _, id := range sec.Stages {
		named[id] = true
	}
	return slices.ContainsFunc(sec.Versions[:len(sec.Versions)-1], func(v secret.VersionInfo) bool {
		return !named[v.ID] && now.Sub(v.CreatedAt) > sec.Retention.MaxAge
	})
}

// scan decodes the records with a key prefix until visit returns false. A record
// that cannot be decoded is skipped: hosts report it on their own.
func scan[T any](view record.View, kind record.Kind[T], prefix string, visit func(*T) bool) error {
	return view.Scan(record.Key(prefix), record.PrefixEnd(prefix), func(stored record.Stored) bool {
		t, err := kind.Decode(stored.Value)
		return err != nil || visit(t)
	})
}

func (s *Service) sweepSecret(ctx context.Context, id secret.ID, at time.Time) (purged bool, pruned int, err error) {
	ctx, c, err := s.systemCall(ctx, actionSweepSecret, sweepName)
	if err != nil {
		return false, 0, c.end(err)
	}
	revision, err := s.commit(ctx, func(view record.View) (*record.Txn, error) {
		t, err := c.target(view, SecretRef{Secret: string(id)})
		if err != nil || t.secret == nil || t.secret.Ownership.Home != s.Region || !isDue(t.secret, at) {
			return nil, err
		}
		c.entry.Resource.Kind, c.entry.Resource.ID, c.entry.Resource.Account = string(authz.SecretResource), string(id), t.secret.Account
		if held, err := purgeHeld(view, at); held || err != nil {
			return nil, err
		}
		txn, region, err := newTxn(view)
		if err != nil {
			return nil, err
		}
		e := &edit{vault: t.vault, region: region, txn: txn}
		sec := t.secret.Clone()
		m := c.mutationIn(region)
		if sec.State == secret.PendingDeletion {
			purged = true
			if err := e.purge(m, sec); err != nil {
				return nil, err
			}
			e.finish(c, sec, t.revision, mutationDelete, "purged")
			return txn, nil
		}
		versions := sec.PruneExpired(m, at)
		pruned = len(versions)
		for _, version := range versions {
			txn.Delete(record.VersionKey(id, version))
		}
		e.finish(c, sec, t.revision, mutationUpdate, "pruned")
		return txn, nil
	})
	c.entry.Committed = revision > 0
	if err != nil || revision == 0 {
		return false, 0, c.end(err)
	}
	return purged, pruned, c.end(nil)
}

func (s *Service) sweepCredential(ctx context.Context, id secret.CredentialID, at time.Time) error {
	ctx, c, err := s.systemCall(ctx, actionSweepCredential, sweepName)
	if err != nil {
		return c.end(err)
	}
	revision, err := s.commit(ctx, func(view record.View) (*record.Txn, error) {
		key := record.CredentialKey(id)
		cred, revision, err := record.Load(view, record.Credentials, key)
		if errors.Is(err, record.ErrNotFound) {
			return nil, nil
		}
		if err != nil || cred.Ownership.Home != s.Region || !isDead(cred, at) {
			return nil, err
		}
		c.entry.Resource.Kind, c.entry.Resource.ID, c.entry.Resource.Account = string(authz.CredentialResource), string(id), cred.Account
		txn, region, err := newTxn(view)
		if err != nil {
			return nil, err
		}
		txn.Require(key, revision)
		txn.Delete(key)
		txn.Delete(record.CredentialOfKey(cred.Account, cred.Principal, id))
		cred.Ownership.Advance(c.mutationIn(region).Incarnation)
		c.bury(txn, key, cred.Account, cred.Ownership, nil)
		c.track(txn, key, mutationDelete, &recordpb.Event{
			Type: "credential_removed", Account: string(cred.Account), Subject: string(id), Name: string(cred.Principal),
		}, cred.Ownership)
		return txn, nil
	})
	c.entry.Committed = revision > 0
	return c.end(err)
}
