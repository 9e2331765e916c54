package service

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// request is what is asked for with a request token: by action and payload a
// repetition is told from another request.
type request struct {
	token   string
	action  authz.Action
	payload [][]byte
}

func payload(parts ...any) [][]byte {
	encoded := make([][]byte, len(parts))
	for i, part := range parts {
		encoded[i], _ = json.Marshal(part) // none has anything that cannot be encoded
	}
	return encoded
}

func (u *Update) request(metadata []byte) request {
	p := payload(u.ContentType, u.SetTags, u.RemoveTags, u.Rules, u.Retention, u.SetMetadata, u.Description != nil)
	if u.Description != nil {
		p = append(p, u.Description.Reveal())
	}
	return request{token: u.RequestToken, action: authz.UpdateSecret, payload: append(p, metadata)}
}

func (mv *StageMove) request() request {
	return request{token: mv.RequestToken, action: authz.MoveStage, payload: payload(mv.Stage, mv.To, mv.From)}
}

func (d *Deletion) request() request {
	if d.Immediate {
		return request{token: d.RequestToken, action: authz.PurgeSecret}
	}
	return request{token: d.RequestToken, action: authz.DeleteSecret, payload: payload(d.Window)}
}

func (r *Restoration) request() request {
	return request{token: r.RequestToken, action: authz.RestoreSecret}
}

func (r *SecretReplication) request() request {
	return request{token: r.RequestToken, action: authz.ReplicateSecret, payload: payload(r.Targets, r.Add, r.Remove)}
}

// once carries out a change of the secret and remembers its request token, unless
// the token says that it was carried out before. It returns the type of the event.
func (e *edit) once(sec *secret.Secret, r request, change func() (string, error)) (string, error) {
	if r.token == "" {
		return change()
	}
	parts := append([][]byte{[]byte(sec.ID), []byte(r.action)}, r.payload...)
	asked := secret.Request{Token: r.token, MAC: e.sealer.MAC("request", parts...)}
	repeated, err := sec.Repeats(asked)
	if err != nil {
		return "", err
	}
	if repeated {
		e.replayed, e.nothing = true, true
		return "", nil
	}
	event, err := change()
	if err == nil && !e.nothing {
		sec.Remember(asked)
	}
	return event, err
}

// purgeSecret purges a secret at once. Its name is free from then on and may be
// another secret's when the request is repeated, so that the token leads to what
// is left of the purged one.
func (s *Service) purgeSecret(ctx context.Context, d Deletion) (Outcome, error) {
	return s.mutate(ctx, authz.PurgeSecret, d.WaitCleared, func(c *call, view record.View) (*edit, error) {
		if err := firstError(d.checkPurge(), secret.CheckRequestToken("request_token", d.RequestToken)); err != nil {
			return nil, err
		}
		t, err := c.target(view, d.SecretRef)
		if err != nil {
			return nil, err
		}
		key := record.PurgeKey(t.vault.ID, d.RequestToken)
		indexed := int64(0)
		if d.RequestToken != "" {
			if indexed, err = t.purgedBy(view, key); err != nil {
				return nil, err
			}
		}
		return c.mutateTarget(ctx, view, t, d.SecretRef, d.Expected, func(c *call, e *edit, sec *secret.Secret) (string, error) {
			if sec.State == secret.Deleted && d.Secret != sec.Name && d.Secret != string(sec.ID) {
				return "", secret.TokenReused()
			}
			event, err := e.once(sec, d.request(), func() (string, error) {
				return "purged", e.purge(c.mutationIn(e.region), sec)
			})
			if err == nil && !e.nothing && d.RequestToken != "" {
				e.txn.Require(key, indexed)
				e.indexPurge(sec)
			}
			return event, err
		})
	})
}

func (d *Deletion) checkPurge() error {
	if d.Window != 0 {
		return secret.Invalid("recovery_window", "cannot be given with immediate")
	}
	return nil
}

// indexPurge has the tokens of a purged secret lead to it.
func (e *edit) indexPurge(sec *secret.Secret) {
	if sec.State != secret.Deleted {
		return
	}
	for _, r := range sec.Requests {
		e.txn.Put(record.PurgeKey(sec.ID.Vault(), r.Token), record.EncodeReference(string(sec.ID)))
	}
}

// purgedBy makes the secret that was purged with a token the target, if there is
// one, and returns the revision of the index entry that leads to it.
func (t *target) purgedBy(view record.View, key record.Key) (int64, error) {
	stored, ok, err := view.Get(key)
	if err != nil || !ok {
		return 0, err
	}
	id, err := record.DecodeReference(stored.Value)
	if err != nil {
		return 0, err
	}
	purged, revision, err := record.Load(view, record.Secrets, record.SecretKey(secret.ID(id)))
	if errors.Is(err, record.ErrNotFound) {
		return stored.Revision, nil
	}
	if err == nil && purged.State == secret.Deleted {
		t.secret, t.revision, t.id, t.name = purged, revision, purged.ID, purged.Name
	}
	return stored.Revision, err
}

// purgesKept is how long the token of an immediate deletion is remembered.
const purgesKept = 24 * time.Hour

// oldPurges returns the index entries of immediate deletions that can be
// forgotten, at most maxSwept. Every region forgets its own.
func oldPurges(view record.View, now time.Time) (old []record.Stored, err error) {
	err = view.Scan(record.PurgePrefix, record.PrefixEnd(record.PurgePrefix), func(stored record.Stored) bool {
		id, err := record.DecodeReference(stored.Value)
		if err != nil {
			return true // hosts report it on their own
		}
		purged, _, err := record.Load(view, record.Secrets, record.SecretKey(secret.ID(id)))
		if errors.Is(err, record.ErrNotFound) || err == nil && now.Sub(purged.UpdatedAt) > purgesKept {
			old = append(old, record.Stored{Key: stored.Key, Revision: stored.Revision})
		}
		return len(old) < maxSwept
	})
	return old, err
}

func (s *Service) forgetPurges(ctx context.Context, old []record.Stored) error {
	for len(old) > 0 {
		batch := old[:min(len(old), forgottenAtOnce)]
		old = old[len(batch):]
		if err := s.forget(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

// forgottenAtOnce keeps a transaction within its limit of 128 operations.
const forgottenAtOnce = 50

func (s *Service) forget(ctx context.Context, entries []record.Stored) error {
	txn, _, err := newTxn(s.Store.View(ctx))
	if err != nil {
		return err
	}
	for _, stored := range entries {
		txn.Require(stored.Key, stored.Revision)
		txn.Delete(stored.Key)
	}
	if _, err = s.Store.Commit(ctx, *txn); secret.HasCode(err, secret.CodeStale) {
		return nil // the next sweep looks again
	}
	return err
}
