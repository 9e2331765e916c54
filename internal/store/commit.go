package store

import (
	"context"
	"errors"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// MaxOps bounds the conditions and, apart from them, the writes of one
// transaction: etcd's default for --max-txn-ops.
const MaxOps = 128

// Commit does all writes of txn in one atomic step if all its conditions hold,
// and returns the revision it committed at (without writes: the current one).
// Transactions of other callers may have the same revision. When it returns, a
// majority of the store's members have it on disk.
//
// Errors: CodeStale if a condition does not hold, so that nothing was written;
// CodeLimit for more than MaxOps operations or 1.5 MiB; CodeStoreFull;
// CodeUnavailable if it certainly did not commit; CodeOutcomeUnknown if it may
// have, now or within the next seconds. The transaction is sent at most once. The
// values must not be changed afterwards.
func (s *Shard) Commit(ctx context.Context, txn record.Txn) (int64, error) {
	if err := s.check(txn); err != nil {
		return 0, err
	}
	if err := ended(ctx); err != nil {
		return 0, err
	}
	if w := s.group.join(txn); w != nil {
		return s.await(ctx, w)
	}
	defer s.land()
	return s.commit(ctx, txn)
}

// commit is Commit of a transaction by itself.
func (s *Shard) commit(ctx context.Context, txn record.Txn) (int64, error) {
	resp, err := s.send(ctx, s.request(txn.Conditions, txn.Writes))
	if secret.HasCode(err, secret.CodeStoreFull) {
		return s.settleFull(ctx, txn, err)
	}
	if err != nil {
		return 0, err
	}
	if !resp.Succeeded {
		return 0, stale()
	}
	return resp.Header.Revision, nil
}

func stale() error { return secret.Errorf(secret.CodeStale, "the record changed meanwhile") }

// check refuses what etcd would refuse less clearly.
func (s *Shard) check(txn record.Txn) error {
	if n := max(len(txn.Conditions), len(txn.Writes)); n > MaxOps {
		return secret.Errorf(secret.CodeLimit, "a transaction may have %d conditions and %d writes, not %d", MaxOps, MaxOps, n)
	}
	written := make(map[record.Key]bool, len(txn.Writes))
	for _, w := range txn.Writes {
		if w.Key < firstRecord || written[w.Key] {
			return secret.Errorf(secret.CodeInternal, "key %q is reserved or written twice in one transaction", w.Key)
		}
		written[w.Key] = true
	}
	return nil
}

// ended returns an error if the request that ctx is of has ended.
func ended(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return secret.Wrap(secret.CodeUnavailable, err, "the request ended before its transaction was sent")
	}
	return nil
}

// settleFull finds out what became of a transaction that the store answered
// with "no space": a member that passes its quota while it applies a
// transaction answers so although the transaction has committed.
func (s *Shard) settleFull(ctx context.Context, txn record.Txn, full error) (int64, error) {
	now, err := s.read(ctx, txn)
	if err != nil {
		return 0, secret.Wrap(secret.CodeOutcomeUnknown, errors.Join(full, err), "the store is full; the transaction may have committed")
	}
	if revision, done := committedAt(txn, now); done {
		return revision, nil
	}
	if provablyAbsent(txn, now) {
		return 0, full
	}
	return 0, secret.Wrap(secret.CodeOutcomeUnknown, full, "the store is full; the transaction may have committed and been overwritten")
}

// read returns the records of all keys that txn names, at one revision.
func (s *Shard) read(ctx context.Context, txn record.Txn) (map[record.Key]record.Stored, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	keys := make(map[record.Key]bool)
	for _, c := range txn.Conditions {
		keys[c.Key] = true
	}
	for _, w := range txn.Writes {
		keys[w.Key] = true
	}
	now := make(map[record.Key]record.Stored, len(keys))
	ops := make([]clientv3.Op, 0, min(len(keys), MaxOps))
	flush := func() error {
		resp, err := s.client.Txn(ctx).Then(ops...).Commit()
		if err != nil {
			return readError(ctx, err)
		}
		for _, r := range resp.Responses {
			for _, kv := range r.GetResponseRange().GetKvs() {
				now[record.Key(kv.Key[len(s.prefix):])] = s.stored(kv)
			}
		}
		ops = ops[:0]
		return nil
	}
	for key := range keys {
		if ops = append(ops, clientv3.OpGet(s.key(key))); len(ops) == MaxOps {
			if err := flush(); err != nil {
				return nil, err
			}
		}
	}
	if len(ops) == 0 {
		return now, nil
	}
	return now, flush()
}

// committedAt reports whether now shows that txn committed, and at which revision:
// what it puts on its conditions is there, at one revision that is later than all
// of those, and everything else it writes is of that revision or was written or
// deleted later, as a work item is that is done. Without such conditions all that
// it puts must be there.
func committedAt(txn record.Txn, now map[record.Key]record.Stored) (int64, bool) {
	at, proof := putAt(txn, now)
	if !proof {
		return 0, false
	}
	for _, w := range txn.Writes {
		r, exists := now[w.Key]
		same := w.Value != nil && string(r.Value) == string(w.Value) && r.Revision == at
		if exists && !same && r.Revision <= at {
			return 0, false
		}
	}
	for _, c := range txn.Conditions {
		if at <= c.Revision {
			return 0, false
		}
	}
	return at, true
}

// putAt returns the revision of what txn puts on its conditions, or of all it puts
// if it has none there. proof is false if any of it, or all, is not as txn puts it.
func putAt(txn record.Txn, now map[record.Key]record.Stored) (at int64, proof bool) {
	conditional := make(map[record.Key]bool, len(txn.Conditions))
	for _, c := range txn.Conditions {
		conditional[c.Key] = true
	}
	proofs := slices.DeleteFunc(slices.Clone(txn.Writes), func(w record.Write) bool { return w.Value == nil })
	if slices.ContainsFunc(proofs, func(w record.Write) bool { return conditional[w.Key] }) {
		proofs = slices.DeleteFunc(proofs, func(w record.Write) bool { return !conditional[w.Key] })
	}
	for _, w := range proofs {
		r, exists := now[w.Key]
		if !exists || string(r.Value) != string(w.Value) || at != 0 && r.Revision != at {
			return 0, false
		}
		at = r.Revision
	}
	return at, at > 0
}

// provablyAbsent reports whether now shows that txn did not commit: a condition
// on a key that it puts still holds, although the put would have broken it; or,
// if it has no such condition, nothing of what it puts is there.
func provablyAbsent(txn record.Txn, now map[record.Key]record.Stored) bool {
	puts := make(map[record.Key]bool, len(txn.Writes))
	none := true
	for _, w := range txn.Writes {
		if w.Value != nil {
			puts[w.Key] = true
			none = none && string(now[w.Key].Value) != string(w.Value)
		}
	}
	conditional := false
	for _, c := range txn.Conditions {
		if puts[c.Key] && now[c.Key].Revision == c.Revision {
			return true
		}
		conditional = conditional || puts[c.Key]
	}
	return none && !conditional
}
