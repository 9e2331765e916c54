package service

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const (
	// maxPlans bounds how often a mutation is planned before its caller is told
	// that others keep changing the record. The first plan is on the local copy.
	maxPlans = 40
	// firstPause bounds the random pause before another plan, which lets one of many
	// writers of a record through; it grows with the attempts, so that the slower the
	// store is the more of them get through.
	firstPause = 10 * time.Millisecond
)

// planner makes the transaction of a mutation from what a view holds. It returns a
// nil transaction if there is nothing to do. It may be called several times.
type planner func(view record.View) (*record.Txn, error)

// commit plans on the local copy and commits. A refusal that a newer state might
// lift, or a finding that there is nothing to do, counts only if the store
// itself confirms it. It returns revision 0 if there was nothing to do.
func (s *Service) commit(ctx context.Context, plan planner) (int64, error) {
	runtime.Gosched() // first a commit that is under way, for which others wait
	plan = s.refusedUnanswered(plan)
	txn, err := s.planLocally(ctx, plan)
	switch secret.CodeOf(err) {
	case secret.CodeInvalid, secret.CodeUnauthenticated, secret.CodeDenied:
		return 0, err
	}
	for attempt := range maxPlans {
		if attempt > 1 {
			pause(ctx, attempt)
		}
		if err != nil || txn == nil {
			txn, err = s.planOnStore(ctx, plan)
			if inherited, failed := s.inherit(ctx, err); failed != nil || inherited {
				err = failed
				if err == nil {
					txn = nil
					continue
				}
			}
			if err != nil || txn == nil {
				return 0, err
			}
		}
		step, end := s.step(ctx, "commit")
		var revision int64
		revision, err = s.Store.Commit(step, *txn)
		end(err)
		if err == nil {
			return revision, nil
		}
		if !secret.HasCode(err, secret.CodeStale) {
			return 0, err
		}
	}
	return 0, secret.Errorf(secret.CodeUnavailable, "the record keeps changing; %d attempts failed", maxPlans).
		WithHint("try again; with expected_order if others write to it as well")
}

func (s *Service) planLocally(ctx context.Context, plan planner) (txn *record.Txn, err error) {
	_, end := s.step(ctx, "plan")
	err = s.Local.View(func(view record.View) error {
		var err error
		txn, err = plan(view)
		return err
	})
	end(err)
	return txn, err
}

func (s *Service) planOnStore(ctx context.Context, plan planner) (*record.Txn, error) {
	ctx, end := s.step(ctx, "plan on store")
	txn, err := plan(s.Store.View(ctx))
	end(err)
	return txn, err
}

func pause(ctx context.Context, attempt int) {
	select {
	case <-ctx.Done():
	case <-time.After(rand.N(firstPause * time.Duration(1+attempt/4))): //nolint:gosec // need not be hard to guess
	}
}

// mutationIn returns what the record's rules need to know of this call.
func (c *call) mutationIn(region *recordpb.Region) secret.Mutation {
	return secret.Mutation{By: c.caller.Principal.ID, At: c.now, Incarnation: secret.Incarnation(region.GetIncarnation())}
}

// newTxn starts the transaction of any mutation: it holds only if this life of
// the region may still acknowledge mutations in this shard.
func newTxn(view record.View) (*record.Txn, *recordpb.Region, error) {
	region, err := RegionRecord(view)
	if err != nil {
		return nil, nil, err
	}
	fence, revision, err := record.LoadShared(view, record.Fences, record.FenceKey)
	if errors.Is(err, record.ErrNotFound) {
		return nil, nil, notInitialized()
	}
	if err != nil {
		return nil, nil, err
	}
	if fence.GetRole() != FenceServing || fence.GetIncarnation() != region.GetIncarnation() {
		return nil, nil, secret.Errorf(secret.CodeUnavailable, "the region is fenced and accepts no mutations")
	}
	txn := &record.Txn{}
	txn.Require(record.FenceKey, revision)
	return txn, region, nil
}

// newTxnAt is newTxn for a mutation of a record, or of what belongs to it: only
// the record's home region may do it. What is made in an account is so only as long
// as its home has not moved.
func newTxnAt(view record.View, key record.Key, o secret.Ownership) (*record.Txn, *recordpb.Region, error) {
	txn, region, err := newTxn(view)
	if err == nil {
		err = refuseReplica(view, key, o, secret.RegionName(region.GetName()))
	}
	if err != nil || !key.HasPrefix(record.AccountPrefix) {
		return txn, region, err
	}
	stored, _, err := view.Get(key)
	txn.Require(key, stored.Revision)
	return txn, region, err
}

// bury adds what is left of a deleted record: its order, so that no older state
// of it can come back from another region.
func (c *call) bury(txn *record.Txn, key record.Key, account secret.AccountID, o secret.Ownership, holders []secret.RegionName) {
	c.buryAs(txn, &secret.Tombstone{Record: string(key), Account: account, Ownership: o, Holders: holders})
}

func (c *call) buryAs(txn *record.Txn, t *secret.Tombstone) {
	t.DeletedAt = c.now
	txn.Put(record.TombstoneKey(record.Key(t.Record)), record.Tombstones.Encode(t))
}

// Roles of a fence record.
const (
	FenceServing = "SERVING"
	FenceFenced  = "FENCED"
)

// The kinds of mutation that a work item names.
const (
	mutationCreate = "CREATE"
	mutationUpdate = "UPDATE"
	mutationDelete = "DELETE"
)

// track adds the work item of a mutated record and its event to the transaction.
func (c *call) track(txn *record.Txn, key record.Key, mutation string, event *recordpb.Event, ownership secret.Ownership) {
	order := record.OrderToProto(ownership.Order)
	txn.Put(record.WorkKey(key), record.WorkItems.Encode(&recordpb.WorkItem{
		Record: string(key), Order: order, CommittedAt: c.now.UnixNano(), Mutation: mutation, Traceparent: c.traceparent,
	}))
	id := ulid.MustNewDefault(c.now).String()
	event.Id, event.Order, event.At = id, order, c.now.UnixNano()
	event.Principal = string(c.caller.Principal.ID)
	txn.Put(record.OutboxKey(id), record.Events.Encode(event))
}

// cleared waits, within bounds, until every live host has applied the mutation of
// a record that committed at revision.
func (s *Service) cleared(ctx context.Context, key record.Key, revision int64) bool {
	if s.Clearing == nil {
		return false
	}
	ctx, end := s.step(ctx, "wait cleared")
	ctx, cancel := context.WithTimeout(ctx, s.WaitCleared)
	defer cancel()
	err := s.Clearing.WaitCleared(ctx, key, revision)
	end(err)
	return err == nil
}
