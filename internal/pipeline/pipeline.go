package pipeline

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Store is what the pipeline needs of the shard.
type Store interface {
	View(ctx context.Context) record.View
	Commit(ctx context.Context, txn record.Txn) (revision int64, err error)
	// CommitEach commits those of the transactions whose conditions hold, in few
	// round trips, and says which.
	CommitEach(ctx context.Context, txns []record.Txn) (committed []bool, err error)
	// DeleteRange deletes the records with start <= key < end.
	DeleteRange(ctx context.Context, start, end record.Key) (deleted int64, err error)
	// Hold runs run while this process owns the named lease, and again whenever
	// it regains it, until ctx ends.
	Hold(ctx context.Context, name string, run func(context.Context) error) error
}

// LocalStore is this process's copy of the shard.
type LocalStore interface {
	View(fn func(record.View) error) error
	// Synced reports whether the copy is complete.
	Synced() bool
}

// Options of a Pipeline. Store and Local are required.
type Options struct {
	Store  Store
	Local  LocalStore
	Logger *slog.Logger
	Now    func() time.Time
	// LiveFor is how long after its last report a host counts as live; default
	// 3 s. A host that loses its stream stops counting after that. A registered
	// host that could not report yet counts for as long.
	LiveFor time.Duration
	// OutboxFor is how long events stay in the outbox at least; default 1 h.
	OutboxFor time.Duration
	// PeerAges, if set, returns for each other region how many seconds ago this one was
	// last known to have all that the other's hosts had: hosts are told.
	PeerAges func() map[string]float64
	// Cleared, if set, is told of each mutation that this process clears; it must
	// not block.
	Cleared func(Cleared)
	// Deliver, if set, is offered the mutations that are cleared and may bring them to
	// other regions at once. It answers which it brings; for each of these it calls
	// Delivered soon, whatever came of it. Until then their work items stay. It must not
	// wait for anything.
	Deliver func(mutations []Mutation) (brings []bool)
	// Enqueue, if set, adds to the transaction that finishes a mutation what tells
	// other regions of it, but those that have received it, given what the local store
	// holds. It must not wait for anything. An error keeps the mutation from being
	// finished; if a condition that it adds does not hold, the mutation is finished a
	// second later, or by another.
	Enqueue func(view record.View, txn *record.Txn, m Mutation, received []secret.RegionName) error
}

// Pipeline is one control process's part in clearing mutations. Safe for
// concurrent use.
type Pipeline struct {
	Options
	streams streams

	mu sync.Mutex
	// loaded is set once all that the local store holds is known.
	loaded bool
	// registered are the hosts of the durable set, noted is since when this
	// process knows of each.
	registered map[string]*recordpb.Host
	noted      map[string]time.Time
	// reports are the last ones of connected or recently connected hosts.
	reports map[string]Report
	// listening is since when hosts can have reported to this process, looked when
	// it last looked whether they do.
	listening, looked time.Time
	// items are the open work items by record, queue the same by revision; an
	// entry of queue that items no longer names is skipped. held are those that
	// left queue because a host cannot apply them, or because the transaction that
	// finishes them did not commit.
	items map[record.Key]item
	queue []item
	held  map[record.Key]item
	// delivering left queue because they are brought to other regions, delivered came
	// back from there.
	delivering map[record.Key]delivery
	delivered  []delivery
	// failed are the records in quarantine, by the revision of their entry.
	failed map[record.Key]int64
	// events counts those in the outbox.
	events int
	// owning is set while this process holds the pipeline's lease.
	owning bool
	// cleared is a revision of this life of the store.
	cleared int64
	life    life
	// changed is closed and replaced whenever cleared rises or there is new work.
	changed chan struct{}
}

// Mutation is the last one of a record, whose work item is open.
type Mutation struct {
	Record record.Key
	// Revision is that of the work item.
	Revision int64
	// Committed is when it was planned.
	Committed time.Time
}

type item struct {
	Mutation
	// traceparent is of the request, if it is traced.
	traceparent string
}

// Cleared tells of a mutation that was cleared.
type Cleared struct {
	// Committed is when it was planned, At when it was cleared.
	Committed, At time.Time
	// Traceparent is that of the request, empty if it is not traced.
	Traceparent string
}

// Report is the present state of a host.
type Report struct {
	Host    string
	Cell    string
	Address string
	Release string
	Formats map[string]uint32
	Applied int64
	// Incarnation and RestoreEpoch are of the life of the store that Applied counts.
	Incarnation  secret.Incarnation
	RestoreEpoch uint64
	Quarantined  []Quarantined
	// At is when it arrived.
	At time.Time

	// failing are the records of Quarantined.
	failing map[record.Key]struct{}
}

// Quarantined is a mutation that a host could not apply.
type Quarantined struct {
	Record   record.Key
	Revision int64
	Reason   string
}

// New returns a Pipeline. Feed it with Changed, have it Load what the local store
// holds, and Run it.
func New(o Options) *Pipeline {
	o.LiveFor = cmp.Or(o.LiveFor, 3*time.Second)
	o.OutboxFor = cmp.Or(o.OutboxFor, time.Hour)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Pipeline{
		Options:    o,
		registered: make(map[string]*recordpb.Host),
		noted:      make(map[string]time.Time),
		listening:  o.Now(),
		looked:     o.Now(),
		held:       make(map[record.Key]item),
		delivering: make(map[record.Key]delivery),
		reports:    make(map[string]Report),
		items:      make(map[record.Key]item),
		failed:     make(map[record.Key]int64),
		changed:    make(chan struct{}),
	}
}

// Changed takes note of what the local store applied: work items, registered
// hosts and quarantine entries.
func (p *Pipeline) Changed(changes []record.Change) {
	p.mu.Lock()
	defer p.mu.Unlock()
	touched := false
	for _, c := range changes {
		touched = p.note(c) || touched
	}
	if touched {
		p.advance()
		p.wake()
	}
}

func (p *Pipeline) note(c record.Change) bool {
	switch {
	case c.Key.HasPrefix(record.WorkPrefix):
		key := c.Key[len(record.WorkPrefix):]
		if c.Deleted {
			delete(p.items, key)
			return false
		}
		work, err := record.WorkItems.Decode(c.Value)
		if err != nil {
			p.Logger.Error("work item cannot be decoded", "record", key, "error", err)
			return false
		}
		it := item{Mutation{key, c.Revision, record.FromNanos(work.GetCommittedAt())}, work.GetTraceparent()}
		if p.items[key].Revision == c.Revision {
			return false
		}
		p.enqueue(it)
	case c.Key.HasPrefix(record.OutboxPrefix):
		p.count(c)
		return false
	case c.Key.HasPrefix(record.HostPrefix):
		id := string(c.Key[len(record.HostPrefix):])
		if c.Deleted {
			delete(p.registered, id)
			delete(p.noted, id)
			delete(p.reports, id) // if it comes back it may have an older copy
			break
		}
		host, err := record.Hosts.Decode(c.Value)
		if err != nil {
			p.Logger.Error("host record cannot be decoded", "host", id, "error", err)
			return false
		}
		p.enlist(id, host)
	case c.Key.HasPrefix(record.QuarantinePrefix):
		key := c.Key[len(record.QuarantinePrefix):]
		if c.Deleted {
			delete(p.failed, key)
			p.requeue()
		} else {
			p.failed[key] = c.Revision
		}
	case c.Key == record.RegionKey && !c.Deleted:
		p.begin(c)
	default:
		return false
	}
	return true
}

// wake tells everyone who waits that the state changed; mu is held.
func (p *Pipeline) wake() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// Load replaces what is known by what the local store holds. Call it when the
// local store has been opened and whenever it has resynchronised: of what was
// deleted before that Changed does not tell. Until it has succeeded once nothing
// is cleared. After an error, which is that of the local store, nothing has
// changed.
func (p *Pipeline) Load() error {
	p.mu.Lock() // also while reading, so that Changed tells only of what comes later
	defer p.mu.Unlock()
	var changes []record.Change
	events := 0
	err := p.Local.View(func(view record.View) error {
		for _, prefix := range []string{string(record.RegionKey), record.HostPrefix, record.QuarantinePrefix, record.WorkPrefix} {
			err := view.Scan(record.Key(prefix), record.PrefixEnd(prefix), func(s record.Stored) bool {
				changes = append(changes, record.Change{Stored: record.Stored{Key: s.Key, Value: slices.Clone(s.Value), Revision: s.Revision}})
				return true
			})
			if err != nil {
				return err
			}
		}
		return view.Scan(record.OutboxPrefix, record.PrefixEnd(record.OutboxPrefix), func(record.Stored) bool {
			events++
			return true
		})
	})
	if err != nil {
		return err
	}
	p.events = events
	slices.SortStableFunc(changes, func(a, b record.Change) int { return cmp.Compare(a.Revision, b.Revision) })
	clear(p.registered)
	clear(p.items)
	clear(p.failed)
	p.queue = nil
	for _, c := range changes {
		p.note(c)
	}
	p.restart()
	maps.DeleteFunc(p.noted, func(id string, _ time.Time) bool { return p.registered[id] == nil })
	p.loaded = true
	p.advance()
	p.wake()
	return nil
}

// WaitCleared waits until every live host, and a majority of the registered
// ones, has applied the mutation of a record that committed at revision. Errors:
// the context's; CodeUnavailable if a live host could not apply the record.
func (p *Pipeline) WaitCleared(ctx context.Context, key record.Key, revision int64) error {
	for {
		p.mu.Lock()
		cleared, changed := p.cleared, p.changed
		live, _ := p.liveHosts()
		failed := quarantined(live, key)
		p.mu.Unlock()
		switch {
		case cleared < revision:
		case failed:
			return secret.Errorf(secret.CodeUnavailable, "a host could not apply the record")
		default:
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// Host is a registered host as the operator sees it.
type Host struct {
	Record *recordpb.Host
	Live   bool
	// Report is the last one; zero if this process had none.
	Report Report
}

// Status is what an operator asks the pipeline.
type Status struct {
	Hosts     []Host
	Open      int
	OldestAge time.Duration
	Failed    int
	Cleared   int64
	// Held is how many of the open work items wait because a host cannot apply
	// their record.
	Held int
	// Events is how many are in the outbox.
	Events int
	// Owner says that this process clears mutations at present.
	Owner bool
}

// Status returns the present state.
func (p *Pipeline) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.Now()
	s := Status{
		Open: len(p.items), Failed: len(p.failed), Cleared: p.cleared, Held: len(p.held), Events: max(0, p.events), Owner: p.owning,
	}
	for _, it := range p.items {
		s.OldestAge = max(s.OldestAge, now.Sub(it.Committed))
	}
	for id, host := range p.registered {
		r := p.reports[id]
		s.Hosts = append(s.Hosts, Host{Record: host, Report: r, Live: p.heard(r, now)})
	}
	slices.SortFunc(s.Hosts, func(a, b Host) int { return cmp.Compare(a.Record.GetId(), b.Record.GetId()) })
	return s
}

// Registered returns whether a host is in the durable set.
func (p *Pipeline) Registered(id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.registered[id]
	return ok
}

// Forget takes a host that is gone for good out of the durable set.
func (p *Pipeline) Forget(ctx context.Context, id string) error {
	key := record.HostKey(id)
	_, revision, err := record.Load(p.Store.View(ctx), record.Hosts, key)
	if err != nil {
		if errors.Is(err, record.ErrNotFound) {
			return &secret.Error{Code: secret.CodeNotFound, Field: "host", Message: "there is no such registered host"}
		}
		return err
	}
	var txn record.Txn
	txn.Require(key, revision)
	txn.Delete(key)
	_, err = p.Store.Commit(ctx, txn)
	return err
}
