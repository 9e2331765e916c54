package formatgate

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Store is what the gate needs of the shard.
type Store interface {
	View(ctx context.Context) record.View
	Commit(ctx context.Context, txn record.Txn) (revision int64, err error)
	// Hold runs run while this process owns the named lease, and again whenever
	// it regains it, until ctx ends.
	Hold(ctx context.Context, name string, run func(context.Context) error) error
}

// Options of a Gate. Store and Release are required.
type Options struct {
	Store  Store
	Logger *slog.Logger
	Now    func() time.Time
	// Process and Release are of this process.
	Process, Release string
	// Reads are the highest formats that this process reads; default
	// record.Formats().
	Reads map[string]uint32
}

// Gate is one process's picture of the gate. It is evaluated from the local copy
// of the shard: feed it with Changed, and with Load whenever that copy was
// compared with the whole store. Safe for concurrent use.
type Gate struct {
	Options
	// state is the gate record as last seen; never nil.
	state atomic.Pointer[recordpb.Formats]

	mu      sync.Mutex
	members map[record.Key]Member
	// changed is closed and replaced when there is something new to evaluate.
	changed chan struct{}
}

// Member is a registered process and what it reads.
type Member struct {
	ID      string
	Role    string // host or control
	Release string
	Formats map[string]uint32
}

// New returns a Gate that knows nothing yet: only formats of the first release
// are written.
func New(o Options) *Gate {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Reads == nil {
		o.Reads = record.Formats()
	}
	g := &Gate{Options: o, members: map[record.Key]Member{}, changed: make(chan struct{})}
	g.state.Store(&recordpb.Formats{})
	return g
}

// Writes returns the highest format of a kind of record that may be written. It
// takes no lock and may lag behind the store, but never ahead of it.
func (g *Gate) Writes(kind string) uint32 { return written(g.state.Load(), kind) }

func written(state *recordpb.Formats, kind string) uint32 {
	return max(state.GetWritten()[kind], record.Baseline(kind))
}

// Admit refuses an encoded gate record that names a format which reads does not
// reach: CodeUnknownFormat, with what was written by whom.
func Admit(value []byte, reads map[string]uint32, release string) error {
	state, err := record.Gates.Decode(value)
	if err == nil {
		err = record.Gates.Check(value)
	}
	if err != nil {
		return secret.Wrap(secret.CodeOf(err), err, "the record of the formats that the store holds")
	}
	for kind, format := range state.GetWritten() {
		if format > reads[kind] {
			return secret.Errorf(secret.CodeUnknownFormat,
				"the store holds %s records of format %d since release %s raised it on %s; this release, %s, reads up to %d",
				kind, format, state.GetRelease(), record.FromNanos(state.GetRaisedAt()).UTC().Format(time.RFC3339), release, reads[kind]).
				WithHint("start a release that reads it; going back is possible only with a backup from before (docs/runbooks/upgrade.md)")
		}
	}
	return nil
}

// Admit is the function Admit for this process.
func (g *Gate) Admit(value []byte) error { return Admit(value, g.Reads, g.Release) }

// Changed takes note of what the local copy applied.
func (g *Gate) Changed(changes []record.Change) {
	g.mu.Lock()
	defer g.mu.Unlock()
	touched := false
	for _, c := range changes {
		touched = g.note(c) || touched
	}
	if touched {
		close(g.changed)
		g.changed = make(chan struct{})
	}
}

// Load replaces what is known by what the view holds.
func (g *Gate) Load(view record.View) error {
	state, members, _, err := read(view)
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.state.Store(state)
	g.members = members
	close(g.changed)
	g.changed = make(chan struct{})
	return nil
}

// note reports whether the change concerns the gate; mu is held.
func (g *Gate) note(c record.Change) bool {
	if c.Key == record.FormatsKey {
		if c.Deleted {
			g.state.Store(&recordpb.Formats{})
		} else if state, err := record.Gates.Decode(c.Value); err == nil {
			g.state.Store(state)
		}
		return true
	}
	if !c.Key.HasPrefix(record.HostPrefix) && !c.Key.HasPrefix(record.ControlPrefix) {
		return false
	}
	if c.Deleted {
		delete(g.members, c.Key)
		return true
	}
	member, err := memberOf(c.Stored)
	if err != nil {
		g.Logger.Error("the record of a process cannot be decoded", "record", c.Key, "error", err)
		return false
	}
	g.members[c.Key] = member
	return true
}

func memberOf(s record.Stored) (Member, error) {
	if s.Key.HasPrefix(record.ControlPrefix) {
		control, err := record.Controls.Decode(s.Value)
		return Member{ID: control.GetId(), Role: "control", Release: control.GetRelease(), Formats: control.GetFormats()}, err
	}
	host, err := record.Hosts.Decode(s.Value)
	return Member{ID: host.GetId(), Role: "host", Release: host.GetRelease(), Formats: host.GetFormats()}, err
}

// read returns the gate record, its revision, and the registered processes.
func read(view record.View) (state *recordpb.Formats, members map[record.Key]Member, revision int64, err error) {
	state, revision, err = load(view)
	if err != nil {
		return nil, nil, 0, err
	}
	members = map[record.Key]Member{}
	for _, prefix := range []string{record.HostPrefix, record.ControlPrefix} {
		var failed error
		err := view.Scan(record.Key(prefix), record.PrefixEnd(prefix), func(s record.Stored) bool {
			members[s.Key], failed = memberOf(s)
			return failed == nil
		})
		if err := errors.Join(err, failed); err != nil {
			return nil, nil, 0, err
		}
	}
	return state, members, revision, nil
}

// load returns the gate record; an empty one, and revision 0, if there is none.
func load(view record.View) (*recordpb.Formats, int64, error) {
	state, revision, err := record.Load(view, record.Gates, record.FormatsKey)
	if errors.Is(err, record.ErrNotFound) {
		return &recordpb.Formats{}, 0, nil
	}
	return state, revision, err
}

// Check refuses a transaction that writes a record in a format for which the gate
// is not open: CodeInternal, because whoever made the record had to ask Writes. It
// asks the store only where what this process knows does not suffice.
func (g *Gate) Check(ctx context.Context, txn record.Txn) error {
	var fresh *recordpb.Formats
	for _, w := range txn.Writes {
		if len(w.Value) == 0 || uint32(w.Value[0]) <= g.Writes(w.Key.Kind()) {
			continue
		}
		if fresh == nil {
			var err error
			if fresh, _, err = load(g.Store.View(ctx)); err != nil {
				return err
			}
		}
		if kind := w.Key.Kind(); uint32(w.Value[0]) > written(fresh, kind) {
			return secret.Errorf(secret.CodeInternal, "a %s record of format %d was to be written, but not every process reads more than %d",
				kind, w.Value[0], written(fresh, kind))
		}
	}
	return nil
}

// Enlist adds to a transaction that registers a process, or changes what it
// reads, that the gate be evaluated anew. Errors: CodeUnknownFormat for a process
// that does not read what the shard may hold.
func Enlist(view record.View, txn *record.Txn, reads map[string]uint32, release string) error {
	state, revision, err := load(view)
	if err != nil {
		return err
	}
	value := record.Gates.Encode(state)
	if err := Admit(value, reads, release); err != nil {
		return err
	}
	txn.Require(record.FormatsKey, revision)
	txn.Put(record.FormatsKey, value)
	return nil
}

// Announce makes known what this process reads, if it is a control process that
// is not registered as a host, and else takes back that it was one. It returns
// when that is stored, or ctx ends.
func (g *Gate) Announce(ctx context.Context, control bool) error {
	for {
		err := g.announce(ctx, control)
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		if secret.HasCode(err, secret.CodeUnknownFormat) {
			return err
		}
		g.Logger.Debug("what this process reads cannot be stored yet", "error", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (g *Gate) announce(ctx context.Context, control bool) error {
	view, key := g.Store.View(ctx), record.ControlKey(g.Process)
	old, revision, err := record.Load(view, record.Controls, key)
	if errors.Is(err, record.ErrNotFound) {
		old, err = nil, nil
	}
	if err != nil || old == nil && !control {
		return err
	}
	var txn record.Txn
	txn.Require(key, revision)
	if !control {
		txn.Delete(key)
		_, err = g.Store.Commit(ctx, txn)
		return err
	}
	if old.GetRelease() == g.Release && maps.Equal(old.GetFormats(), g.Reads) {
		return nil
	}
	mine := &recordpb.Control{Id: g.Process, RegisteredAt: g.Now().UnixNano(), Release: g.Release, Formats: g.Reads}
	if old != nil {
		mine.RegisteredAt = old.GetRegisteredAt()
	}
	if err := Enlist(view, &txn, g.Reads, g.Release); err != nil {
		return err
	}
	txn.Put(key, record.Controls.Encode(mine))
	_, err = g.Store.Commit(ctx, txn)
	return err
}

// Hold keeps the gate closed, or lets it open again. Formats that are written
// already stay so.
func (g *Gate) Hold(ctx context.Context, held bool) error {
	for range 10 {
		state, revision, err := load(g.Store.View(ctx))
		if err != nil {
			return err
		}
		before := record.Gates.Encode(state)
		state.Held = held
		value := record.Gates.Encode(state)
		if bytes.Equal(before, value) && revision > 0 {
			return nil
		}
		var txn record.Txn
		txn.Require(record.FormatsKey, revision)
		txn.Put(record.FormatsKey, value)
		if _, err = g.Store.Commit(ctx, txn); !secret.HasCode(err, secret.CodeStale) {
			return err
		}
	}
	return secret.Errorf(secret.CodeUnavailable, "the record of the formats keeps changing").WithHint("try again")
}
