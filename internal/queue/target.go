package queue

import (
	"container/heap"
	"sync"
	"time"
	"unique"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// target is the index of one target's queue.
type target struct {
	name secret.RegionName

	mu     sync.Mutex
	loaded bool
	// entries are all messages, due those that are not in flight, since those that
	// the store holds for certain.
	entries map[id]*entry
	due     byDue
	since   bySince
	// inFlight and failed count entries.
	inFlight, failed int
	// queue and resync are what is set for the target; nil if nothing is. resyncAt
	// is the revision of resync.
	queue    *recordpb.Queue
	resync   *recordpb.Resynchronisation
	resyncAt int64
	// unreachable counts the attempts in a row that did not reach the target, which
	// is left alone until notBefore.
	unreachable int
	notBefore   time.Time
	done        rate
	// changed is closed and replaced whenever there may be more to do.
	changed chan struct{}
}

func newTarget(name secret.RegionName, loaded bool) *target {
	return &target{name: name, loaded: loaded, entries: make(map[id]*entry), changed: make(chan struct{})}
}

// wake tells everyone who waits that the state changed; mu is held.
func (t *target) wake() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// put takes note of a message in the store.
func (t *target) put(key record.Key, m *recordpb.Message, revision int64, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.entries[unique.Make(key)]
	if e == nil {
		e = newEntry(key)
		t.entries[e.record] = e
	}
	if e.revision == revision {
		return
	}
	t.count(e, -1)
	e.set(m, revision, now)
	t.count(e, 1)
	if e.attempts > 0 && m.GetNextTryAt() == 0 {
		t.reachable() // an operator wants it tried now
	}
	t.place(e)
	t.wake()
}

// count keeps the number of failed messages.
func (t *target) count(e *entry, by int) {
	if e.attempts > 0 {
		t.failed += by
	}
}

// place puts an entry where its times belong; mu is held.
func (t *target) place(e *entry) {
	if e.revision != 0 {
		if e.bySince < 0 {
			heap.Push(&t.since, e)
		} else {
			heap.Fix(&t.since, int(e.bySince))
		}
	}
	switch {
	case e.taken != 0:
	case e.byDue < 0:
		heap.Push(&t.due, e)
	default:
		heap.Fix(&t.due, int(e.byDue))
	}
}

// removed takes note that a message is no longer in the store.
func (t *target) removed(key record.Key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.entries[unique.Make(key)]; e != nil {
		t.remove(e)
	}
}

func (t *target) remove(e *entry) {
	delete(t.entries, e.record)
	t.count(e, -1)
	if e.taken != 0 {
		t.inFlight--
	}
	if e.byDue >= 0 {
		heap.Remove(&t.due, int(e.byDue))
	}
	if e.bySince >= 0 {
		heap.Remove(&t.since, int(e.bySince))
	}
}

// returned ends the flight of a message and returns its entry, not placed yet; nil
// if it is not in flight any more. mu is held.
func (t *target) returned(m Message) *entry {
	e := t.entries[unique.Make(m.Record)]
	if e == nil || e.taken != m.Revision {
		return nil
	}
	e.taken = 0
	t.inFlight--
	return e
}

// reachable has the target tried at once again; mu is held.
func (t *target) reachable() { t.unreachable, t.notBefore = 0, time.Time{} }

// set takes note of what an operator has set; nil for nothing.
func (t *target) set(state *recordpb.Queue, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	retried := t.loaded && state.GetRetriedAt() > t.queue.GetRetriedAt()
	if t.queue.GetPaused() && !state.GetPaused() || retried {
		t.reachable()
	}
	t.queue = state
	if retried {
		for _, e := range t.entries {
			if e.attempts > 0 {
				e.due = min(e.due, now.UnixNano())
			}
		}
		heap.Init(&t.due)
	}
	t.wake()
}

// mark takes note that the target must be compared; nil if it need not.
func (t *target) mark(resync *recordpb.Resynchronisation, revision int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.resync, t.resyncAt = resync, revision
	t.wake()
}

// load replaces what is known by what a store holds; nil for nothing.
func (t *target) load(h *holding) {
	if h == nil {
		h = &holding{entries: make(map[id]*entry)}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.entries
	t.entries, t.queue, t.resync, t.resyncAt = h.entries, h.queue, h.mark, h.markedAt
	t.due, t.since, t.inFlight, t.failed = nil, nil, 0, 0
	for key, e := range t.entries {
		if was := old[key]; was != nil && was.taken != 0 {
			e.taken = was.taken
			t.inFlight++
		}
		t.count(e, 1)
		t.place(e)
	}
	t.loaded = true
	t.wake()
}

// paused reports whether an operator has paused the queue, and until when; the
// zero time means until resumed. mu is held.
func (t *target) paused(now time.Time) (until time.Time, paused bool) {
	until = record.FromNanos(t.queue.GetPausedUntil())
	return until, t.queue.GetPaused() && (until.IsZero() || now.Before(until))
}
