package queue

import (
	"time"
	"unique"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Status is the state of one target's queue.
type Status struct {
	// Depth counts all messages: those in flight, by this process, and those whose
	// last attempt failed are among them.
	Depth, InFlight, Failed int
	// Since is when the oldest mutation committed that the target lacks, zero if it
	// lacks none; Age is how long ago that was.
	Since time.Time
	Age   time.Duration
	// Paused is set while a pause lasts, PausedUntil, PausedBy and PauseReason with it.
	Paused                bool
	PausedUntil           time.Time
	PausedBy, PauseReason string
	// Unreachable counts the attempts in a row that did not reach the target, which
	// is left alone until NextTryAt.
	Unreachable int
	NextTryAt   time.Time
	// Throughput is how many messages this process delivered per second, over the
	// last minute.
	Throughput float64
	// Resynchronisation is the mark that the target must be compared; nil if it need
	// not. It must not be changed.
	Resynchronisation *recordpb.Resynchronisation
}

// Status returns the present state of a target's queue, as far as the local store
// has told of it.
func (q *Queue) Status(name secret.RegionName) Status {
	t := q.target(name)
	t.mu.Lock()
	defer t.mu.Unlock()
	now := q.Now()
	s := Status{
		Depth: len(t.since), InFlight: t.inFlight, Failed: t.failed, Unreachable: t.unreachable,
		Throughput: t.done.perSecond(now), Resynchronisation: t.resync,
	}
	if len(t.since) > 0 {
		s.Since = record.FromNanos(t.since[0].since)
		s.Age = max(0, now.Sub(s.Since))
	}
	if until, paused := t.paused(now); paused {
		s.Paused, s.PausedUntil, s.PausedBy, s.PauseReason = true, until, t.queue.GetPausedBy(), t.queue.GetPauseReason()
	}
	if now.Before(t.notBefore) {
		s.NextTryAt = t.notBefore
	}
	return s
}

// InFlight reports whether the message of a record is in flight in this process.
func (q *Queue) InFlight(name secret.RegionName, key record.Key) bool {
	t := q.target(name)
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.entries[unique.Make(key)]
	return e != nil && e.taken != 0
}

// rateWindow is how many seconds a rate is counted over.
const rateWindow = 60

// rate counts what happened in each of the last seconds.
type rate struct {
	counts [rateWindow]int
	// second is that of the last count, since 1970.
	second int64
}

// advance empties the seconds that have passed. A clock that goes back counts as
// standing still.
func (r *rate) advance(now time.Time) {
	second := max(now.Unix(), r.second)
	for n := min(second-r.second, rateWindow); n > 0; n-- {
		r.counts[(second-n+1)%rateWindow] = 0
	}
	r.second = second
}

func (r *rate) add(now time.Time, n int) {
	r.advance(now)
	r.counts[r.second%rateWindow] += n
}

func (r *rate) perSecond(now time.Time) float64 {
	r.advance(now)
	sum := 0
	for _, n := range r.counts {
		sum += n
	}
	return float64(sum) / rateWindow
}
