package replica

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Position says where a local store stands.
type Position struct {
	// Applied is the revision up to which every change of the present life of
	// the store has been applied.
	Applied int64
	// Incarnation and RestoreEpoch are of the life of the store that is being
	// followed; empty until the region record has been seen.
	Incarnation  secret.Incarnation
	RestoreEpoch uint64
	// Synced says that the copy is complete: a record that is not here did not
	// exist at Applied, unless it is quarantined or damaged.
	Synced bool
	// Resyncing is set while the copy is compared with the whole store.
	Resyncing bool
	// Connected says that the feed is being followed.
	Connected bool
	// LastContact is when the source was last heard of, by the time of day.
	LastContact time.Time
	// Age is how old the data may be; see Local.Age.
	Age time.Duration
	// Records is the number of records in the file.
	Records int64
	// Quarantined is the number of records that could not be applied.
	Quarantined int64

	// Counters since Open.
	Resyncs           uint64 // complete comparisons with the store begun
	Rebuilds          uint64 // damaged files moved aside
	CorruptionsFound  uint64 // records that failed their checksum, each time one did
	CorruptionsMended uint64 // records replaced from the store because of that
	Scrubs            uint64 // complete background checks of the file

	// Err is why the source is not being followed, if it is not; nil at first.
	Err error
}

// status is the position and those who wait for it to move.
type status struct {
	mu      sync.Mutex
	pos     Position
	waiters map[*waiter]struct{}
	closed  bool

	// synced and connected are those of pos, for readers that must not wait, and
	// heard is that of Local, in ns.
	synced, connected atomic.Bool
	heard             atomic.Int64
}

type waiter struct {
	revision int64
	done     chan struct{}
}

func (s *status) get() Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pos
}

// publish copies what readers need without the lock, which is held.
func (s *status) publish() {
	s.synced.Store(s.pos.Synced)
	s.connected.Store(s.pos.Connected)
}

// update changes the position and wakes those whose revision it has reached.
func (s *status) update(fn func(*Position)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn(&s.pos)
	s.publish()
	for w := range s.waiters {
		if s.pos.Applied >= w.revision {
			close(w.done)
			delete(s.waiters, w)
		}
	}
}

func (s *status) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.pos.Connected = false
	s.publish()
	for w := range s.waiters {
		close(w.done)
	}
	clear(s.waiters)
}

// wait returns when the revision has been applied.
func (s *status) wait(ctx context.Context, revision int64) error {
	s.mu.Lock()
	if s.pos.Applied >= revision {
		s.mu.Unlock()
		return nil
	}
	if s.closed {
		s.mu.Unlock()
		return errClosed
	}
	w := &waiter{revision: revision, done: make(chan struct{})}
	if s.waiters == nil {
		s.waiters = map[*waiter]struct{}{}
	}
	s.waiters[w] = struct{}{}
	s.mu.Unlock()

	select {
	case <-w.done:
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiters, w)
	select {
	case <-w.done:
		if s.closed {
			return errClosed
		}
		return nil
	default:
		return secret.Wrap(secret.CodeNotReached, ctx.Err(), "the local store has not reached the revision")
	}
}

var errClosed = secret.Errorf(secret.CodeUnavailable, "the local store is closed")

// Synced is that of Position. Unlike Position it takes no lock, so that every
// read can ask.
func (l *Local) Synced() bool { return l.status.synced.Load() }

// WaitApplied returns when every change up to and including the revision has
// been applied, or CodeNotReached when ctx is done. The revision must be of the
// life of the store that Position names.
func (l *Local) WaitApplied(ctx context.Context, revision int64) error {
	return l.status.wait(ctx, revision)
}

// publish makes the state known after a commit.
func (l *Local) publish() {
	m := l.meta
	l.status.heard.Store(int64(l.heard))
	l.status.update(func(p *Position) {
		p.Applied, p.Synced, p.Records = m.Applied, m.Synced, m.Records
		p.Incarnation, p.RestoreEpoch = m.Identity.Incarnation, m.Identity.RestoreEpoch
		p.Resyncing = m.Resync
		p.LastContact = record.FromNanos(m.Contact)
	})
}
