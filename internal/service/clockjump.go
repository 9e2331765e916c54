package service

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
)

const (
	// jumpAllowed is how much further the time of day may advance between two sweeps
	// than the time that passed: clocks are set right by less.
	jumpAllowed = time.Hour
	// clockEvery is how often the record of the clock is written at least.
	clockEvery = time.Hour
	// gapAllowed is how far the time of day may be ahead of that record where nobody
	// measured what passed since: another process took the sweep over.
	gapAllowed = clockEvery + jumpAllowed
	// maxJumps bounds the jumps that are waited for one by one.
	maxJumps = 100
)

// clockWatch notices that the time of day jumped ahead, which would make everything
// due at once. What a process does not see itself, because it or its machine was
// off, it judges by the record that the sweep left: if nothing tells how much of
// the difference really passed, all of it counts as a jump.
type clockWatch struct {
	held atomic.Int64 // what the last sweep did not count
	mu   sync.Mutex
	last moment
	// revision is that of the record when the last sweep of this process ended.
	revision int64
}

// moment is what the clocks of a process showed.
type moment struct {
	wall   time.Time
	passed time.Duration // since any moment in the life of the process; none before its first sweep
	boot   string        // ID of the boot of the machine; empty if unknown
	up     time.Duration // since then
}

// soundTime is the time of day without the jumps ahead that this region has not run
// with for a day: what time makes due is due by this. It is at most Now; it writes
// the record of the clock if need be.
func (s *Service) soundTime(ctx context.Context) (time.Time, error) {
	w := &s.clock
	w.mu.Lock()
	defer w.mu.Unlock()
	now := moment{wall: s.Now().Round(0), passed: s.Passed()} // without what Go knows of the time that passed
	if s.Boot != nil {
		now.boot, now.up = s.Boot()
	}
	view := s.Store.View(ctx)
	before, revision, err := record.Load(view, record.Clocks, record.ClockKey)
	if err != nil && !errors.Is(err, record.ErrNotFound) {
		return time.Time{}, err
	}
	after, ahead := w.judge(now, before, revision)
	if ahead > 0 {
		s.Logger.Error("the time of day jumped ahead, or nothing tells that it did not; what it makes due waits for a day", "by", ahead)
	}
	if before == nil || len(before.GetJumps())+len(after.GetJumps()) > 0 || apart(before.GetWall(), after.GetWall()) >= clockEvery {
		var txn record.Txn
		txn.Require(record.ClockKey, revision)
		txn.Put(record.ClockKey, record.Clocks.Encode(after))
		if revision, err = s.Store.Commit(ctx, txn); err != nil {
			return time.Time{}, err // the next sweep judges again
		}
	}
	w.last, w.revision = now, revision
	held := int64(0)
	for _, j := range after.GetJumps() {
		held += j.GetBy()
	}
	w.held.Store(held)
	return now.wall.Add(-time.Duration(held)), nil
}

// TimeHeld is how much of the time of day the last sweep of this process did not
// count, because it may have come by a jump of the clock.
func (s *Service) TimeHeld() time.Duration { return time.Duration(s.clock.held.Load()) }

func apart(a, b int64) time.Duration { return time.Duration(max(a, b) - min(a, b)) }

// judge returns the record as it is to be now, and by how much the time of day has
// jumped ahead since the last sweep.
func (w *clockWatch) judge(now moment, before *recordpb.Clock, revision int64) (after *recordpb.Clock, ahead time.Duration) {
	after = &recordpb.Clock{Wall: now.wall.UnixNano(), Boot: now.boot, Up: int64(now.up)}
	ran := time.Duration(0)
	if !w.last.wall.IsZero() && w.revision == revision { // nobody else counted it
		ran = now.passed - w.last.passed
	}
	for _, j := range before.GetJumps() {
		if left := time.Duration(j.GetLeft()) - ran; left > 0 {
			after.Jumps = append(after.Jumps, &recordpb.ClockJump{By: j.GetBy(), Left: int64(left)})
		}
	}
	switch ahead = w.ahead(now, before); {
	case ahead > jumpAllowed:
		after.Jumps = append(after.Jumps, &recordpb.ClockJump{By: int64(ahead), Left: int64(purgeHeldFor)})
	case ahead < -jumpAllowed:
		after.Jumps = takeBack(after.Jumps, -ahead)
	}
	for len(after.Jumps) > maxJumps {
		first, second := after.Jumps[0], after.Jumps[1]
		second.By, second.Left = first.By+second.By, max(first.Left, second.Left)
		after.Jumps = after.Jumps[1:]
	}
	if ahead <= jumpAllowed {
		ahead = 0
	}
	return after, ahead
}

// ahead is how much further the time of day has advanced than the time that passed.
func (w *clockWatch) ahead(now moment, before *recordpb.Clock) time.Duration {
	last := w.last
	if last.wall.IsZero() && before != nil {
		last = moment{wall: record.FromNanos(before.GetWall()), boot: before.GetBoot(), up: time.Duration(before.GetUp())}
	}
	if last.wall.IsZero() {
		return 0
	}
	difference := now.wall.Sub(last.wall)
	switch {
	case now.boot != "" && now.boot == last.boot && now.up >= last.up: // also while the machine was suspended
		return difference - (now.up - last.up)
	case !w.last.wall.IsZero():
		return difference - (now.passed - last.passed)
	}
	if difference >= 0 && difference <= gapAllowed {
		return 0
	}
	return difference
}

// takeBack undoes jumps, the newest first, of a clock that was set back.
func takeBack(jumps []*recordpb.ClockJump, by time.Duration) []*recordpb.ClockJump {
	for by > 0 && len(jumps) > 0 {
		newest := jumps[len(jumps)-1]
		if undone := min(by, time.Duration(newest.By)); undone < time.Duration(newest.By) {
			newest.By -= int64(undone)
			break
		}
		by -= time.Duration(newest.By)
		jumps = jumps[:len(jumps)-1]
	}
	return jumps
}
