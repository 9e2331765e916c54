package queue

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// DefaultCap is how many messages a target may have unless Options say otherwise.
const DefaultCap = 100_000

// Store is what the queue needs of the shard.
type Store interface {
	View(ctx context.Context) record.View
	Commit(ctx context.Context, txn record.Txn) (revision int64, err error)
	// CommitEach commits those of the transactions whose conditions hold, in few
	// round trips, and says which.
	CommitEach(ctx context.Context, txns []record.Txn) (committed []bool, err error)
	// DeleteRange deletes the records with start <= key < end.
	DeleteRange(ctx context.Context, start, end record.Key) (deleted int64, err error)
}

// LocalStore is this process's copy of the shard.
type LocalStore interface {
	View(fn func(record.View) error) error
}

// Options of a Queue. Store and Local are required.
type Options struct {
	Store  Store
	Local  LocalStore
	Logger *slog.Logger
	Now    func() time.Time
	// Cap bounds the messages of a target; default DefaultCap.
	Cap int
}

// Queue is one process's view of the queues of a shard. Safe for concurrent use;
// what it does for one target never waits for another.
type Queue struct {
	Options

	// feeding is held while the index takes up changes, so that they are taken up
	// in the order of their commits.
	feeding sync.Mutex

	mu      sync.RWMutex
	targets map[secret.RegionName]*target
	loaded  bool
}

// Message says that a target lacks a mutation of a record.
type Message struct {
	Record record.Key
	// Revision is that of the message in the store when it was taken.
	Revision int64
	// CommittedAt is when the newest mutation that it stands for committed, Since
	// when the oldest did.
	CommittedAt, Since time.Time
	// Attempts is how many failed.
	Attempts int
}

// New returns a Queue. Feed it with Changed and have it Load what the local store
// holds.
func New(o Options) *Queue {
	o.Cap = cmp.Or(o.Cap, DefaultCap)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Queue{Options: o, targets: make(map[secret.RegionName]*target)}
}

// Targets returns the regions that have or had messages, or for which something is
// set, sorted.
func (q *Queue) Targets() []secret.RegionName {
	q.mu.RLock()
	defer q.mu.RUnlock()
	return slices.Sorted(maps.Keys(q.targets))
}

// target returns the part of one target.
func (q *Queue) target(name secret.RegionName) *target {
	q.mu.RLock()
	t := q.targets[name]
	q.mu.RUnlock()
	if t != nil {
		return t
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if t = q.targets[name]; t == nil {
		t = newTarget(name, q.loaded)
		q.targets[name] = t
	}
	return t
}

// Changed takes note of what the local store applied: messages and what is set
// for queues. Call it before the pipeline's, which enqueues what it hears of.
func (q *Queue) Changed(changes []record.Change) {
	q.feeding.Lock()
	defer q.feeding.Unlock()
	for _, c := range changes {
		if err := q.note(c); err != nil {
			q.Logger.Error("a record of the queue cannot be decoded", "record", c.Key, "error", err)
		}
	}
}

func (q *Queue) note(c record.Change) error {
	if name, key, ok := record.MessageOf(c.Key); ok {
		return q.noteMessage(q.target(name), key, c)
	}
	switch {
	case c.Key.HasPrefix(record.QueuePrefix):
		state, err := decoded(record.Queues, c)
		if err == nil {
			q.target(secret.RegionName(c.Key[len(record.QueuePrefix):])).set(state, q.Now())
		}
		return err
	case c.Key.HasPrefix(record.ResynchronisationPrefix):
		mark, err := decoded(record.Resynchronisations, c)
		if err == nil {
			q.target(secret.RegionName(c.Key[len(record.ResynchronisationPrefix):])).mark(mark, c.Revision)
		}
		return err
	}
	return nil
}

// decoded returns nil for a deleted record.
func decoded[T any](kind record.Kind[T], c record.Change) (*T, error) {
	if c.Deleted {
		return nil, nil //nolint:nilnil // a record that is not there
	}
	return kind.Decode(c.Value)
}

func (q *Queue) noteMessage(t *target, key record.Key, c record.Change) error {
	if c.Deleted {
		t.removed(key)
		return nil
	}
	m, err := record.Messages.Decode(c.Value)
	if err == nil {
		t.put(key, m, c.Revision, q.Now())
	}
	return err
}

// Load replaces what is known by what the local store holds. Call it when the
// local store has been opened and whenever it has resynchronised, before the
// pipeline's. Until it has succeeded once no message is handed out. What is in
// flight stays so. After an error, which is that of the local store, nothing has
// changed.
func (q *Queue) Load() error {
	q.feeding.Lock() // also while reading, so that Changed tells only of what comes later
	defer q.feeding.Unlock()
	held := map[secret.RegionName]*holding{}
	err := q.Local.View(func(view record.View) error {
		for _, prefix := range []string{record.MessagePrefix, record.QueuePrefix, record.ResynchronisationPrefix} {
			err := view.Scan(record.Key(prefix), record.PrefixEnd(prefix), func(s record.Stored) bool {
				if err := q.collect(held, s); err != nil {
					q.Logger.Error("a record of the queue cannot be decoded", "record", s.Key, "error", err)
				}
				return true
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for name := range held {
		if q.targets[name] == nil {
			q.targets[name] = newTarget(name, false)
		}
	}
	for name, t := range q.targets {
		t.load(held[name])
	}
	q.loaded = true
	return nil
}

// holding is what a store holds for one target.
type holding struct {
	entries  map[id]*entry
	queue    *recordpb.Queue
	mark     *recordpb.Resynchronisation
	markedAt int64
}

func (q *Queue) collect(held map[secret.RegionName]*holding, s record.Stored) (err error) {
	of := func(name secret.RegionName) *holding {
		h := held[name]
		if h == nil {
			h = &holding{entries: make(map[id]*entry)}
			held[name] = h
		}
		return h
	}
	name, key, ok := record.MessageOf(s.Key)
	switch {
	case ok:
		m, err := record.Messages.Decode(s.Value)
		if err != nil {
			return err
		}
		e := newEntry(key)
		e.set(m, s.Revision, q.Now())
		of(name).entries[e.record] = e
	case s.Key.HasPrefix(record.QueuePrefix):
		state, err := record.Queues.Decode(s.Value)
		if err != nil {
			return err
		}
		of(secret.RegionName(s.Key[len(record.QueuePrefix):])).queue = state
	case s.Key.HasPrefix(record.ResynchronisationPrefix):
		mark, err := record.Resynchronisations.Decode(s.Value)
		if err != nil {
			return err
		}
		h := of(secret.RegionName(s.Key[len(record.ResynchronisationPrefix):]))
		h.mark, h.markedAt = mark, s.Revision
	}
	return nil
}
