package service

import (
	"context"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// RotationRequest is what RotateSecret does.
type RotationRequest struct {
	SecretRef
	secret.RotationSettings
	WaitCleared bool
}

// RotateSecret sets how a secret is rotated, and begins a rotation, or tries the rotator
// out, if it says so. A secret without a value has nothing to try it out with. The caller decides which rotators there are. Errors: those of
// secret.Secret.ConfigureRotation.
func (s *Service) RotateSecret(ctx context.Context, r RotationRequest) (Outcome, error) {
	return s.mutateSecret(ctx, authz.RotateSecret, r.SecretRef, r.WaitCleared, nil, nil,
		func(c *call, e *edit, sec *secret.Secret) (string, error) {
			settings := r.RotationSettings
			current := sec.VersionAt(secret.Current)
			if current == nil {
				settings.Try = ""
			}
			changed, err := sec.ConfigureRotation(c.mutationIn(e.region), settings)
			if e.nothing = !changed; err != nil || e.nothing || settings.Try == "" {
				return "updated", err
			}
			return "updated", e.copyVersion(ctx, c, sec, *current, settings.Try)
		})
}

// copyVersion puts a version with the value of another one at PENDING, as part of a
// mutation that has been counted already.
func (e *edit) copyVersion(ctx context.Context, c *call, sec *secret.Secret, from secret.VersionInfo, to secret.VersionID) error {
	value, err := e.openVersion(ctx, sec, from.ID)
	if err != nil {
		return err
	}
	counted := sec.Ownership
	err = e.put(c, sec, secret.NewVersion{ID: to, Stages: []secret.Stage{secret.Pending}, Binary: from.Binary, Copy: true}, value)
	sec.Ownership, e.version = counted, nil
	return err
}

// CancelRotation turns the rotation of a secret off and gives up the one that is
// under way.
func (s *Service) CancelRotation(ctx context.Context, ref SecretRef, waitCleared bool) (Outcome, error) {
	return s.mutateSecret(ctx, authz.RotateSecret, ref, waitCleared, nil, nil,
		func(c *call, e *edit, sec *secret.Secret) (string, error) {
			err := sec.CancelRotation(c.mutationIn(e.region))
			dropVersions(e.txn, e.before, sec)
			return "updated", err
		})
}

const actionRotate authz.Action = "AdvanceRotation"

const rotationName = "rotation"

// BeginDueRotation begins the rotation of a secret that is due, with a version that
// is to be made.
func (s *Service) BeginDueRotation(ctx context.Context, id secret.ID, version secret.VersionID) error {
	return s.advanceRotation(ctx, id, func(sec *secret.Secret, m secret.Mutation) bool { return sec.BeginDueRotation(m, version) })
}

// FinishRotationStep notes what came of a step of a rotation; see
// secret.Secret.FinishRotationStep.
func (s *Service) FinishRotationStep(ctx context.Context, id secret.ID, version secret.VersionID, step secret.RotationStep, failure string, retryAt time.Time) error {
	return s.advanceRotation(ctx, id, func(sec *secret.Secret, m secret.Mutation) bool {
		return sec.FinishRotationStep(m, version, step, failure, retryAt)
	})
}

// advanceRotation carries out a change of a secret's rotation by the region itself.
func (s *Service) advanceRotation(ctx context.Context, id secret.ID, change func(*secret.Secret, secret.Mutation) bool) error {
	ctx, c, err := s.systemCall(ctx, actionRotate, rotationName)
	if err != nil {
		return c.end(err)
	}
	revision, err := s.commit(ctx, func(view record.View) (*record.Txn, error) {
		t, err := c.target(view, SecretRef{Secret: string(id)})
		if err != nil || t.secret == nil {
			return nil, err
		}
		c.about(t.resource())
		txn, region, err := newTxnAt(view, "secret", t.secret.Ownership)
		if err != nil {
			return nil, err
		}
		sec := t.secret.Clone()
		if !change(sec, c.mutationIn(region)) {
			return nil, nil
		}
		dropVersions(txn, t.secret, sec)
		e := &edit{vault: t.vault, region: region, txn: txn}
		e.finish(c, sec, t.revision, mutationUpdate, "updated")
		return txn, nil
	})
	c.entry.Committed = revision > 0
	return c.end(err)
}

// dropVersions deletes the values of versions that a secret has no more.
func dropVersions(txn *record.Txn, before, after *secret.Secret) {
	for i := range before.Versions {
		if id := before.Versions[i].ID; after.Version(id) == nil {
			txn.Delete(record.VersionKey(before.ID, id))
		}
	}
}
