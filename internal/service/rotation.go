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

// RotateSecret sets how a secret is rotated, and begins a rotation if it says so.
// The caller decides which rotators there are. Errors: those of
// secret.Secret.ConfigureRotation.
func (s *Service) RotateSecret(ctx context.Context, r RotationRequest) (Outcome, error) {
	return s.mutateSecret(ctx, authz.RotateSecret, r.SecretRef, r.WaitCleared, nil, nil,
		func(c *call, e *edit, sec *secret.Secret) (string, error) {
			changed, err := sec.ConfigureRotation(c.mutationIn(e.region), r.RotationSettings)
			e.nothing = !changed
			return "updated", err
		})
}

// CancelRotation turns the rotation of a secret off and gives up the one that is
// under way.
func (s *Service) CancelRotation(ctx context.Context, ref SecretRef, waitCleared bool) (Outcome, error) {
	return s.mutateSecret(ctx, authz.RotateSecret, ref, waitCleared, nil, nil,
		func(c *call, e *edit, sec *secret.Secret) (string, error) {
			return "updated", sec.CancelRotation(c.mutationIn(e.region))
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
		e := &edit{vault: t.vault, region: region, txn: txn}
		e.finish(c, sec, t.revision, mutationUpdate, "updated")
		return txn, nil
	})
	c.entry.Committed = revision > 0
	return c.end(err)
}
