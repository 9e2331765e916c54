package simulation

import (
	"errors"
	"fmt"
	"slices"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// policyName is that of the only policy that is put and deleted.
const policyName = "forked"

// head is an acknowledged mutation of the policy that no other one has followed in its
// region.
type head struct {
	secret.Ownership
	deleted bool
}

func (w *takeovers) policyKey() record.Key {
	return record.PolicyKey(w.account(), policyName)
}

func (w *takeovers) account() secret.AccountID {
	v, _, err := record.Load(w.regions[0].shard.snapshot(), record.Vaults, record.VaultKey(w.vault))
	must(w.t, err)
	return v.Account
}

// policyIn is what a region has of the policy, or what is left of it; a zero ownership
// means nothing.
func (w *takeovers) policyIn(r *region) (o secret.Ownership, deleted bool) {
	view := r.shard.snapshot()
	p, _, err := record.Load(view, record.Policies, w.policyKey())
	if err == nil {
		return p.Ownership, false
	}
	grave, _, err := record.Load(view, record.Tombstones, record.TombstoneKey(w.policyKey()))
	if errors.Is(err, record.ErrNotFound) {
		return o, true
	}
	must(w.t, err)
	return grave.Ownership, true
}

// mutatePolicy puts the policy, or deletes it.
func (w *takeovers) mutatePolicy(r *region, n int, deletes bool) {
	if deletes {
		if err := r.service.DeletePolicy(r.as(w.token), "", policyName); err == nil {
			o, _ := w.policyIn(r)
			w.follow(o, true)
		}
		return
	}
	p, err := r.service.PutPolicy(r.as(w.token), service.NewPolicy{Name: policyName, Text: fmt.Sprintf("permit (principal, action, resource) when { 1 == %d };", n+2)})
	if err == nil {
		w.follow(p.Ownership, false)
	}
}

// follow takes note of an acknowledged mutation of the policy, and of what it follows.
func (w *takeovers) follow(o secret.Ownership, deleted bool) {
	w.heads = slices.DeleteFunc(w.heads, func(h head) bool { return o.Contains(h.Order) })
	w.heads = append(w.heads, head{o, deleted})
	if deleted {
		w.deletions = append(w.deletions, o.Order)
	}
}

// settledPolicy is settled for the policy.
func (w *takeovers) settledPolicy() error {
	first, gone := w.policyIn(w.regions[0])
	for _, r := range w.regions {
		if o, deleted := w.policyIn(r); deleted != gone || !deleted && o.Order != first.Order {
			return fmt.Errorf("%s has the policy at %s (deleted: %t), %s at %s (deleted: %t)", r.name, o.Order, deleted, w.regions[0].name, first.Order, gone)
		}
	}
	for _, h := range w.heads {
		if !w.keepsPolicy(h, gone) {
			return fmt.Errorf("G7: what was done to the policy at %s (deleted: %t) was acknowledged, and is in no history and no conflict", h.Order, h.deleted)
		}
	}
	return nil
}

// keepsPolicy reports whether a mutation is in a history that a region has, or in a
// conflict.
func (w *takeovers) keepsPolicy(h head, gone bool) bool {
	if h.deleted && gone {
		return true // nothing differs
	}
	for _, r := range w.regions {
		o, _ := w.policyIn(r)
		if o.Contains(h.Order) {
			return true
		}
		// Nothing differed when it met a history that had deleted the policy too.
		if h.deleted && slices.ContainsFunc(w.deletions, func(d secret.Order) bool { return o.Contains(d) && !h.Contains(d) }) {
			return true
		}
		for key, stored := range r.shard.snapshot().records {
			if !key.HasPrefix(record.ConflictPrefix) {
				continue
			}
			c, err := record.Conflicts.Decode(stored.Value)
			must(w.t, err)
			if c.GetRecord() != string(w.policyKey()) {
				continue
			}
			if h.deleted && record.OrderFromProto(c.GetOrder()) == h.Order && len(c.GetState()) == 0 {
				return true
			}
			owner, err := record.OwnerOf(w.policyKey(), c.GetState())
			if err == nil && owner.Ownership.Contains(h.Order) {
				return true
			}
		}
	}
	return false
}
