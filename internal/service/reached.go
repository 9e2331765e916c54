package service

import (
	"errors"
	"fmt"
	"slices"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// satisfies reports whether a state that the view holds is at least as new as
// the token asks. s is nil if the view lacks the secret.
func satisfies(view record.View, token RevisionToken, s *secret.Secret) error {
	if token.Secret == "" {
		return nil
	}
	incarnation, err := incarnationOf(view)
	if err != nil {
		return err
	}
	if token.Incarnation != incarnation {
		if known, err := ofPeer(view, token.Incarnation); err != nil || known {
			return firstError(err, reached(view, token, s))
		}
		return secret.Errorf(secret.CodeUnknownIncarnation, "the revision token was given in another life of the region, before a restore, or by a region that is not known here").
			WithHint("read without the token, and decide whether the state that you find will do")
	}
	return reached(view, token, s)
}

// ofPeer reports whether an incarnation is the admitted one of another region, or one
// that was forgotten: its tokens are understood here, since orders are the same everywhere.
func ofPeer(view record.View, incarnation secret.Incarnation) (known bool, err error) {
	scanErr := view.Scan(record.PeerPrefix, record.PrefixEnd(record.PeerPrefix), func(stored record.Stored) bool {
		peer, decodeErr := record.Peers.Decode(stored.Value)
		err = decodeErr
		known = err == nil && (peer.GetIncarnation() == string(incarnation) || slices.Contains(peer.GetForgotten(), string(incarnation)))
		return err == nil && !known
	})
	return known, firstError(scanErr, err)
}

// reached reports whether the view has reached the order of the token.
func reached(view record.View, token RevisionToken, s *secret.Secret) error {
	if s != nil && s.ID == token.Secret {
		return contains(view, s.Ownership, token)
	}
	// What was asked for is gone, or is another secret: whether the token's secret
	// was here at all tells if this view is behind.
	named, _, err := record.Load(view, record.Secrets, record.SecretKey(token.Secret))
	switch {
	case errors.Is(err, record.ErrNotFound):
		return notReached()
	case err != nil:
		return err
	}
	if err := contains(view, named.Ownership, token); err != nil {
		return err
	}
	if s != nil {
		return secret.Invalid("revision_token", "is of another secret")
	}
	return nil
}

// contains reports whether a history that is held contains the state that a token
// names: it has come as far, and has not left it behind at a fork.
func contains(view record.View, held secret.Ownership, token RevisionToken) error {
	switch {
	case held.Contains(token.Order):
		return nil
	case held.Order.Compare(token.Order) < 0:
		return notReached()
	}
	return superseded(view, held, token)
}

func notReached() error {
	return secret.Errorf(secret.CodeNotReached, "this region has not reached the revision that the token names").
		WithHint("try again shortly, or ask the secret's home region")
}

// superseded says where a write is that is not in the history which won. Which
// conflict keeps it only the region knows that held it, and only while it is kept.
func superseded(view record.View, held secret.Ownership, token RevisionToken) error {
	heir, lost := held.Successor(token.Order.Epoch), held.HomeIn(token.Order.Epoch)
	err := secret.Errorf(secret.CodeSuperseded, "the write that the token names was acknowledged in %s, but had not reached %s when that took the secret over", lost, heir).
		WithHint(fmt.Sprintf("%s keeps what it held as a conflict once it is back: lifeboat conflict list there. Read without the token for the present value", lost))
	id, found := conflictOf(view, token)
	if found {
		err.Message += "; it is in conflict " + id
		err.Hint = "lifeboat conflict show " + id + ". Read without the token for the present value"
	}
	return err
}

// maxConflictsSearched bounds the search for the conflict of a token.
const maxConflictsSearched = 1000

// conflictOf finds the conflict that keeps what a token names: of that order, or of a
// later one of the same spell.
func conflictOf(view record.View, token RevisionToken) (id string, found bool) {
	key := record.SecretKey(token.Secret)
	if _, ok, err := view.Get(record.ConflictKey(conflictID(key, token.Order))); err == nil && ok {
		return conflictID(key, token.Order), true
	}
	searched := 0
	_ = scan(view, record.Conflicts, record.ConflictPrefix, func(c *recordpb.Conflict) bool {
		order := record.OrderFromProto(c.GetOrder())
		if c.GetRecord() == string(key) && order.Epoch == token.Order.Epoch && order.Compare(token.Order) >= 0 {
			id, found = c.GetId(), true
		}
		searched++
		return !found && searched < maxConflictsSearched
	})
	return id, found
}
