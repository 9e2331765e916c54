package formatgate

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const (
	leaseName = "formats"
	// idleCheck bounds how late it is noticed that a failed attempt can be repeated.
	idleCheck = 2 * time.Second
)

// Run raises the formats that are written as soon as every registered process
// reads them, while this process owns the lease for it, until ctx ends.
func (g *Gate) Run(ctx context.Context) error {
	return g.Store.Hold(ctx, leaseName, func(ctx context.Context) error {
		for {
			g.mu.Lock()
			changed := g.changed
			g.mu.Unlock()
			if err := g.raise(ctx); err != nil && ctx.Err() == nil {
				g.Logger.Warn("the formats that are written cannot be raised yet", "error", err)
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-changed:
			case <-time.After(idleCheck):
			}
		}
	})
}

// raise raises what can be raised. It asks the store only if the local copy says
// that there is something.
func (g *Gate) raise(ctx context.Context) error {
	g.mu.Lock()
	due := g.due(g.state.Load(), g.members)
	g.mu.Unlock()
	if len(due) == 0 {
		return nil
	}
	state, members, revision, err := read(g.Store.View(ctx))
	if err != nil {
		return err
	}
	if due = g.due(state, members); len(due) == 0 {
		return nil
	}
	if state.Written == nil {
		state.Written = map[string]uint32{}
	}
	maps.Copy(state.Written, due)
	state.Release, state.RaisedAt = g.Release, g.Now().UnixNano()
	var txn record.Txn
	txn.Require(record.FormatsKey, revision)
	txn.Put(record.FormatsKey, record.Gates.Encode(state))
	if _, err := g.Store.Commit(ctx, txn); err != nil {
		return err
	}
	g.Logger.Warn("newer formats are written from now on: an older release cannot be started any more", "formats", due)
	return nil
}

// due returns the formats, by kind, that every member reads and that may not be
// written yet.
func (g *Gate) due(state *recordpb.Formats, members map[record.Key]Member) map[string]uint32 {
	if state.GetHeld() || len(members) == 0 {
		return nil
	}
	due := map[string]uint32{}
	for kind, newest := range g.Reads {
		for _, m := range members {
			newest = min(newest, m.Formats[kind])
		}
		if newest > written(state, kind) {
			due[kind] = newest
		}
	}
	return due
}

// Format is what is known of the formats of one kind of record.
type Format struct {
	Kind string
	// Written may be written and found, Newest is the highest that this process
	// reads.
	Written, Newest uint32
	// Blocks says for each process that reads less than Newest what it reads.
	Blocks []string
}

// Status is what an operator asks the gate.
type Status struct {
	Formats []Format
	Members []Member
	Held    bool
	// Release last raised a format, at RaisedAt; empty if none was raised.
	Release  string
	RaisedAt time.Time
}

// Open reports whether all that this process reads is written.
func (s Status) Open() bool {
	return !slices.ContainsFunc(s.Formats, func(f Format) bool { return f.Newest > f.Written })
}

// Status returns the present state as the local copy shows it.
func (g *Gate) Status() Status {
	g.mu.Lock()
	members := slices.SortedFunc(maps.Values(g.members), func(a, b Member) int {
		return cmp.Or(cmp.Compare(a.Role, b.Role), cmp.Compare(a.ID, b.ID))
	})
	g.mu.Unlock()
	state := g.state.Load()
	s := Status{Members: members, Held: state.GetHeld(), Release: state.GetRelease(), RaisedAt: record.FromNanos(state.GetRaisedAt())}
	for _, kind := range slices.Sorted(maps.Keys(g.Reads)) {
		f := Format{Kind: kind, Written: written(state, kind), Newest: g.Reads[kind]}
		for _, m := range members {
			if f.Newest > f.Written && m.Formats[kind] < f.Newest {
				f.Blocks = append(f.Blocks, fmt.Sprintf("%s %s reads %d", m.Role, m.ID, m.Formats[kind]))
			}
		}
		s.Formats = append(s.Formats, f)
	}
	return s
}

// Forget takes a control process that is gone for good out of the registered set.
// Errors: CodeNotFound if there is none of that ID.
func (g *Gate) Forget(ctx context.Context, id string) error {
	txn, ok, err := record.Removal(g.Store.View(ctx), record.ControlKey(id))
	if err != nil {
		return err
	}
	if !ok {
		return &secret.Error{Code: secret.CodeNotFound, Field: "host", Message: "there is no such registered process"}
	}
	_, err = g.Store.Commit(ctx, txn)
	return err
}
