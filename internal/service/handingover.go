package service

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const (
	// movePage is how many records move in a wave, after which its arrival is waited
	// for: so many are on their way at most when the new home is lost. handedAtOnce is
	// how many of them side by side: a record can be mutated again when its own message
	// has arrived, so that more at once would make each wait longer.
	movePage     = 64
	handedAtOnce = 8
)

// Handovers are the arrivals of records at other regions that become their home.
type Handovers interface {
	// Ready returns why records should not be handed over to a region now: each would
	// be mutable nowhere until it has arrived.
	Ready(to secret.RegionName) error
	// Await waits until a region has received the states by which records were handed
	// over to it, or has refused them, which it answers; or ctx ends, with an error.
	Await(ctx context.Context, to secret.RegionName, keys []record.Key) (refused []record.Key, err error)
}

// States of a move.
const (
	MoveDone      = "DONE"
	MoveAborted   = "ABORTED"
	MovePreempted = "PRE_EMPTED"
)

// handingOver is a planned move that goes on.
type handingOver struct {
	service *Service
	// of is the key of the vault, or that of the region's record.
	of record.Key
	to secret.RegionName
	// unit is set while what is handed over belongs together: the move is not aborted
	// in the middle of it.
	unit bool
}

// errMoveEnds ends a move that is not to go on.
var errMoveEnds = errors.New("the move ends here")

// ContinueMove hands over what is left of a vault that moves, or of the whole region,
// from the bookmark on, and ends the move when all is done. It may be called again and
// again. A move ends early if it was aborted, or pre-empted: this region was taken
// over, or has taken over the one that it moves to. Errors: those of the stores;
// CodeUnavailable while the new home does not receive.
func (s *Service) ContinueMove(ctx context.Context, of record.Key) error {
	move, _, err := record.Load(s.Store.View(ctx), record.Moves, record.MoveKey(of))
	if errors.Is(err, record.ErrNotFound) || err == nil && move.GetEndedAt() != 0 {
		return nil
	}
	if err != nil {
		return err
	}
	h := &handingOver{service: s, of: of, to: secret.RegionName(move.GetTo())}
	if of == record.RegionKey {
		err = h.everything(ctx, move.GetBookmark())
	} else {
		err = h.vault(ctx, move.GetBookmark())
	}
	if errors.Is(err, errMoveEnds) {
		return nil
	}
	if err != nil {
		return err
	}
	return h.end(ctx, MoveDone)
}

// vault hands over a vault, then its secrets.
func (h *handingOver) vault(ctx context.Context, bookmark string) error {
	if bookmark == "" {
		if err := h.wave(ctx, []record.Key{h.of}, ""); err != nil {
			return err
		}
	}
	prefix := record.SecretPrefix + string(h.of[len(record.VaultPrefix):]) + "/"
	return fromBookmark([]string{prefix}, bookmark, func(start, end record.Key) error { return h.handOverRange(ctx, start, end) })
}

// handOverRange hands over the records of a range whose home is here and that the new
// home is meant to hold.
func (h *handingOver) handOverRange(ctx context.Context, start, end record.Key) error {
	for {
		keys, next, err := h.page(h.service.Store.View(ctx), start, end)
		if err != nil {
			return err
		}
		for wave := range slices.Chunk(keys, movePage) {
			if err := h.wave(ctx, wave, wave[len(wave)-1]+"\x00"); err != nil {
				return err
			}
		}
		if next == "" {
			return nil
		}
		start = next
	}
}

// page returns the keys of records that move, out of the next ones of a range, and
// where to go on; empty if there are no more.
func (h *handingOver) page(view record.View, start, end record.Key) (keys []record.Key, next record.Key, err error) {
	var inner error
	looked := 0
	err = view.Scan(start, end, func(stored record.Stored) bool {
		if looked++; looked > 16*movePage || len(keys) == 8*movePage {
			next = stored.Key
			return false
		}
		var moves bool
		if moves, _, inner = h.moves(view, stored); moves {
			keys = append(keys, stored.Key)
		}
		return inner == nil
	})
	return keys, next, errors.Join(err, inner)
}

// wave hands over some records and waits until they have arrived. bookmark, if it is
// not empty, is where the move goes on after them.
func (h *handingOver) wave(ctx context.Context, keys []record.Key, bookmark record.Key) error {
	if err := h.goesOn(ctx); err != nil {
		return err
	}
	moved, left, err := h.handOver(ctx, keys)
	if err != nil {
		return err
	}
	var refused []record.Key
	if h.service.Handovers != nil {
		waiting, cancel := context.WithTimeout(ctx, h.service.WaitReceived)
		defer cancel()
		if refused, err = h.service.Handovers.Await(waiting, h.to, left); err != nil {
			return err
		}
	}
	if len(refused) > 0 {
		h.service.Logger.Warn("the new home refuses records that were handed over; they are sent again and again", "to", h.to, "records", len(refused), "first", refused[0])
	}
	return h.note(ctx, bookmark, moved, len(refused))
}

// handOver hands over records. left are those whose home is not here any more, moved
// counts those of them that this call moved.
func (h *handingOver) handOver(ctx context.Context, keys []record.Key) (moved int, left []record.Key, err error) {
	var mu sync.Mutex
	err = sideBySide(keys, handedAtOnce, func(key record.Key) error {
		did, err := h.service.handOver(ctx, key, h.to)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case secret.HasCode(err, secret.CodeInvalid): // it was taken off the targets meanwhile
			h.service.Logger.Warn("a record stays where it is", "record", key, "to", h.to, "error", err)
			return nil
		case did:
			moved++
		}
		left = append(left, key)
		return err
	})
	return moved, left, err
}

// goesOn returns why a move does not go on: errMoveEnds if it does not for good.
func (h *handingOver) goesOn(ctx context.Context) error {
	view := h.service.Store.View(ctx)
	move, _, err := record.Load(view, record.Moves, record.MoveKey(h.of))
	if errors.Is(err, record.ErrNotFound) {
		return errMoveEnds
	}
	if err != nil {
		return err
	}
	preempted, err := preemptedBy(view, h.to, move.GetStartedAt())
	switch {
	case err != nil:
		return err
	case preempted != "":
		h.service.Logger.Warn("a planned move ends", "record", h.of, "to", h.to, "because", preempted)
		return errors.Join(h.end(ctx, MovePreempted), errMoveEnds)
	case move.GetAbort() && !h.unit:
		return errors.Join(h.end(ctx, MoveAborted), errMoveEnds)
	case h.service.Handovers != nil:
		return h.service.Handovers.Ready(h.to)
	}
	return nil
}

// preemptedBy returns which takeover is in the way of a move to a region that was
// started at a time, empty if none is: one that was there before is not, once all has
// moved here, because what the region has refused keeps it from ending.
func preemptedBy(view record.View, to secret.RegionName, started int64) (string, error) {
	heirs, err := HeldUp(view)
	if err != nil {
		return "", err
	}
	for heir, heldUp := range heirs {
		if len(heldUp) == 0 { // all of it, not some records alone
			return "this region was taken over by " + string(heir), nil
		}
	}
	takeover, _, err := record.Load(view, record.Takeovers, record.TakeoverKey(to))
	switch {
	case errors.Is(err, record.ErrNotFound):
		return "", nil
	case err == nil && (takeover.GetMovedAt() == 0 || takeover.GetAt() >= started):
		return "this region has taken " + string(to) + " over", nil
	}
	return "", err
}

// note stores how far a move came.
func (h *handingOver) note(ctx context.Context, bookmark record.Key, moved, refused int) error {
	return h.change(ctx, func(txn *record.Txn, move *recordpb.Move) {
		if bookmark != "" {
			move.Bookmark = string(bookmark)
		}
		move.Moved += uint64(moved)     //nolint:gosec // a count
		move.Refused += uint64(refused) //nolint:gosec // a count
		txn.Put(record.MoveKey(h.of), record.Moves.Encode(move))
	})
}

// end ends a move. That of a region is remembered until the next one begins.
func (h *handingOver) end(ctx context.Context, how string) error {
	return h.change(ctx, func(txn *record.Txn, move *recordpb.Move) {
		h.service.Logger.Info("a move has ended", "record", h.of, "to", move.GetTo(), "end", how, "records", move.GetMoved(), "since", record.FromNanos(move.GetStartedAt()))
		if h.of != record.RegionKey {
			txn.Delete(record.MoveKey(h.of))
			return
		}
		move.End, move.EndedAt, move.Bookmark = how, h.service.Now().UnixNano(), ""
		txn.Put(record.MoveKey(h.of), record.Moves.Encode(move))
	})
}

func (h *handingOver) change(ctx context.Context, change func(*record.Txn, *recordpb.Move)) error {
	key := record.MoveKey(h.of)
	_, err := h.service.commit(ctx, func(view record.View) (*record.Txn, error) {
		move, revision, err := record.Load(view, record.Moves, key)
		if errors.Is(err, record.ErrNotFound) {
			return nil, errMoveEnds
		}
		if err != nil {
			return nil, err
		}
		txn, _, err := newTxn(view)
		if err != nil {
			return nil, err
		}
		txn.Require(key, revision)
		change(txn, move)
		return txn, nil
	})
	return err
}

// sideBySide calls do for each key, at most so many at once, and returns their errors.
func sideBySide(keys []record.Key, atOnce int, do func(record.Key) error) error {
	var mu sync.Mutex
	var errs []error
	var running sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for _, key := range keys {
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			if err := do(key); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

// Moves returns the moves that are under way, and the last one of the whole region.
// Errors: those of the view and of decoding.
func Moves(view record.View) (all []*recordpb.Move, err error) {
	err = scanAll(view, record.Moves, record.MovePrefix, func(m *recordpb.Move) bool {
		all = append(all, m)
		return true
	})
	return all, err
}
