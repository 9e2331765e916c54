package service

import (
	"context"
	"errors"
	"slices"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// MaxHeldUp bounds the records that a region which was taken over may refuse and yet be
// a home again of all others.
const MaxHeldUp = 64

// HoldUp notes which records a region that was taken over and is back refuses, all
// others having arrived. It does nothing if the takeover is over.
func (s *Service) HoldUp(ctx context.Context, lost secret.RegionName, records []string) error {
	key := record.TakeoverKey(lost)
	_, err := s.commit(ctx, func(view record.View) (*record.Txn, error) {
		takeover, revision, err := record.Load(view, record.Takeovers, key)
		if errors.Is(err, record.ErrNotFound) || err == nil && (takeover.GetMovedAt() == 0 || slices.Equal(takeover.GetHeldUp(), records)) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		txn, _, err := newTxn(view)
		if err != nil {
			return nil, err
		}
		takeover.HeldUp = records
		txn.Require(key, revision)
		txn.Put(key, record.Takeovers.Encode(takeover))
		s.Logger.Warn("a region that is back refuses records that were taken over; see: lifeboat replication failed", "region", lost, "records", records)
		return txn, nil
	})
	return err
}

// HeldUpBy returns the records that this region has refused of one that has taken it
// over, if it has received all others.
func HeldUpBy(fence *recordpb.Fence, heir secret.RegionName) []string {
	at := slices.IndexFunc(fence.GetHeldUp(), func(h *recordpb.HeldUp) bool { return h.GetBy() == string(heir) })
	if at < 0 {
		return nil
	}
	return fence.GetHeldUp()[at].GetRecords()
}

// HeldUp returns the regions that have taken this one over, as it has learnt, with the
// records that are HeldUpBy each.
func HeldUp(view record.View) (map[secret.RegionName][]string, error) {
	all := map[secret.RegionName][]string{}
	fence, _, err := record.LoadShared(view, record.Fences, record.FenceKey)
	if errors.Is(err, record.ErrNotFound) {
		return all, nil
	}
	for _, r := range fence.GetSupersededBy() {
		all[secret.RegionName(r)] = HeldUpBy(fence, secret.RegionName(r))
	}
	return all, err
}

// supersede has a fence say which records a region has taken over; none means all.
func supersede(fence *recordpb.Fence, by secret.RegionName, superseded bool, heldUp []string) (changed bool) {
	was := slices.Contains(fence.GetSupersededBy(), string(by))
	if was == superseded && slices.Equal(HeldUpBy(fence, by), heldUp) {
		return false
	}
	fence.SupersededBy = slices.DeleteFunc(fence.GetSupersededBy(), func(r string) bool { return r == string(by) })
	fence.HeldUp = slices.DeleteFunc(fence.GetHeldUp(), func(h *recordpb.HeldUp) bool { return h.GetBy() == string(by) })
	if superseded {
		fence.SupersededBy = append(fence.GetSupersededBy(), string(by))
	}
	if superseded && len(heldUp) > 0 {
		fence.HeldUp = append(fence.GetHeldUp(), &recordpb.HeldUp{By: string(by), Records: heldUp})
	}
	return true
}
