package region

import (
	"errors"
	"slices"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// hasTakenOver reports whether this region has taken over a peer that has not caught
// up since, and what that refuses if it is all that is missing.
func (p *Process) hasTakenOver(peer secret.RegionName) (taken bool, heldUp []string) {
	_ = p.synced(func(view record.View) error {
		takeover, _, err := record.Load(view, record.Takeovers, record.TakeoverKey(peer))
		taken, heldUp = err == nil, takeover.GetHeldUp()
		return err
	})
	return taken, heldUp
}

// untold implements ownership.Options: it reports whether a peer may lack a mutation that
// committed until then, and which records it refuses if these are all. One that it had
// refused before counts as refused until it has it.
func (p *Process) untold(peer secret.RegionName, until time.Time, refused []string) (missing bool, heldUp []string, err error) {
	early := func(at time.Time) bool { return !at.IsZero() && !at.After(until) }
	underWay, err := p.underWay(peer, early)
	if err != nil || underWay {
		return true, nil, err
	}
	if !early(p.outbound.Queue.Status(peer).Since) {
		return false, nil, nil
	}
	prefix := record.MessageKey(peer, "")
	err = p.synced(func(view record.View) error {
		heldUp = nil
		var inner error
		err := view.Scan(prefix, record.PrefixEnd(string(prefix)), func(stored record.Stored) bool {
			var m *recordpb.Message
			if m, inner = record.Messages.Decode(stored.Value); inner != nil {
				return false
			}
			if !early(record.FromNanos(m.GetSince())) {
				return true
			}
			if m.GetAttempts() == 0 && !slices.Contains(refused, m.GetRecord()) || len(heldUp) == service.MaxHeldUp {
				heldUp = nil
				return false
			}
			heldUp = append(heldUp, m.GetRecord())
			return true
		})
		return errors.Join(err, inner)
	})
	return true, heldUp, err
}

// underWay reports whether something that began early, beside messages, may have to be
// told to a peer: what is not cleared, and what is compared or synchronised as a whole.
func (p *Process) underWay(peer secret.RegionName, early func(time.Time) bool) (under bool, err error) {
	// What is cleared in between has a message by the time the queue is asked.
	if s := p.pipeline.Status(); s.Open > 0 && early(p.clock().Add(-s.OldestAge)) {
		return true, nil
	}
	if mark := p.outbound.Queue.Status(peer).Resynchronisation; mark != nil && early(record.FromNanos(mark.GetWantedAt())) {
		return true, nil
	}
	prefix := record.SynchronisationPrefix + string(peer) + "/"
	err = p.synced(func(view record.View) error {
		under = false
		var inner error
		err := view.Scan(record.Key(prefix), record.PrefixEnd(prefix), func(stored record.Stored) bool {
			var sync *recordpb.Synchronisation
			if sync, inner = record.Synchronisations.Decode(stored.Value); inner != nil {
				return false
			}
			under = early(record.FromNanos(sync.GetStartedAt()))
			return !under
		})
		return errors.Join(err, inner)
	})
	return under, err
}
