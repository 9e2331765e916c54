package service

import (
	"context"
	"errors"

	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const (
	actionSupersede   authz.Action = "Supersede"
	actionEndTakeover authz.Action = "EndTakeover"
)

// Takeovers returns the regions that this one has taken over and that have not caught
// up since, sorted. Errors: those of the view and of decoding.
func Takeovers(view record.View) (all []*recordpb.Takeover, err error) {
	err = scanAll(view, record.Takeovers, record.TakeoverPrefix, func(t *recordpb.Takeover) bool {
		all = append(all, t)
		return true
	})
	return all, err
}

// SupersededBy returns the regions that have taken this one over, as it has learnt.
func SupersededBy(view record.View) ([]secret.RegionName, error) {
	fence, _, err := record.LoadShared(view, record.Fences, record.FenceKey)
	if errors.Is(err, record.ErrNotFound) {
		return nil, nil
	}
	var by []secret.RegionName
	for _, r := range fence.GetSupersededBy() {
		by = append(by, secret.RegionName(r))
	}
	return by, err
}

// Supersede notes on the fence whether a peer has taken this region over: as long as
// it has, and its states are not all here, mutations of what it holds are refused
// here; of heldUp alone if that is all that is missing. It does nothing if that is noted
// already.
func (s *Service) Supersede(ctx context.Context, by secret.RegionName, superseded bool, heldUp []string) error {
	ctx, c, err := s.systemCall(ctx, actionSupersede, takeoverName)
	if err != nil {
		return c.end(err)
	}
	c.about(authz.Resource{Kind: authz.RegionResource, ID: string(by), Name: string(by)})
	revision, err := s.commit(ctx, func(view record.View) (*record.Txn, error) {
		txn, fence, err := s.changeFence(view)
		if err != nil || !supersede(fence, by, superseded, heldUp) {
			return nil, err
		}
		txn.Put(record.FenceKey, record.Fences.Encode(fence))
		return txn, nil
	})
	if revision == 0 && err == nil {
		return nil // nothing happened that is worth a line
	}
	c.entry.Committed = revision > 0
	return c.end(err)
}

// EndTakeover forgets that a region was taken over: it has caught up, and may be a
// home again. Errors: CodeWrongState while its records have not all moved.
func (s *Service) EndTakeover(ctx context.Context, lost secret.RegionName) error {
	return s.endTakeover(ctx, lost, "")
}

func (s *Service) endTakeover(ctx context.Context, lost secret.RegionName, drill secret.VaultID) error {
	ctx, c, err := s.systemCall(ctx, actionEndTakeover, takeoverName)
	if err != nil {
		return c.end(err)
	}
	c.about(authz.Resource{Kind: authz.RegionResource, ID: string(lost), Name: string(lost)})
	key := (&inheritance{lost: lost, drill: drill}).key()
	revision, err := s.commit(ctx, func(view record.View) (*record.Txn, error) {
		takeover, revision, err := record.Load(view, record.Takeovers, key)
		if errors.Is(err, record.ErrNotFound) {
			return nil, nil
		}
		if err == nil && takeover.GetMovedAt() == 0 {
			err = secret.Errorf(secret.CodeWrongState, "the records of region %s have not all moved", lost)
		}
		if err != nil {
			return nil, err
		}
		txn, _, err := newTxn(view)
		if err != nil {
			return nil, err
		}
		txn.Require(key, revision)
		txn.Delete(key)
		return txn, nil
	})
	c.entry.Committed = revision > 0
	return c.end(err)
}
