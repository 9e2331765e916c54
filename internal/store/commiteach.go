package store

import (
	"context"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// maxBatchBytes bounds the keys and values sent together by CommitEach, well
// under etcd's limit of 1.5 MiB for a request.
const maxBatchBytes = 1 << 20

// TxnResult is what became of one transaction of CommitEach.
type TxnResult struct {
	// Revision is that of the store when the transaction committed; 0 if it did not.
	Revision int64
	// Err is nil if it committed, else one of the errors of Commit.
	Err error
}

// CommitEach commits independent transactions together, which costs the store
// little more than one. Each takes effect as if by Commit, in the order given;
// the result has one entry for each. It stops at the first batch that fails as
// a whole: err is that failure, and the transactions not tried have
// CodeUnavailable. revision is the highest reached. A failed condition is not a
// failure of the whole.
func (s *Shard) CommitEach(ctx context.Context, txns []record.Txn) (results []TxnResult, revision int64, err error) {
	results = make([]TxnResult, len(txns))
	for i, txn := range txns {
		results[i].Err = s.check(txn)
	}
	for first := 0; first < len(txns); {
		n := batchSize(txns[first:], results[first:])
		batch := results[first : first+n]
		err = s.commitBatch(ctx, txns[first:first+n], batch)
		for _, r := range batch {
			revision = max(revision, r.Revision)
		}
		first += n
		if err != nil {
			for i := first; i < len(txns); i++ {
				results[i].Err = notTried(err)
			}
			return results, revision, err
		}
	}
	return results, revision, nil
}

// batchSize returns how many of the first transactions can be one transaction
// of etcd. A refused one ends a batch.
func batchSize(txns []record.Txn, results []TxnResult) int {
	b := assembly{most: maxBatchBytes}
	for i, txn := range txns {
		if results[i].Err != nil || !b.take(txn) {
			return max(i, 1)
		}
	}
	return len(txns)
}

// assembly finds out which transactions can be one transaction of etcd: their
// number plus the operations of the largest must stay within MaxOps, and since
// etcd compares everything before it writes anything, none may depend on what an
// earlier one writes.
type assembly struct {
	// most is how many bytes of keys and values several transactions may have.
	most         int
	written      map[record.Key]struct{}
	n, ops, size int
}

// take adds a transaction if it fits; the first always does.
func (a *assembly) take(txn record.Txn) bool {
	ops, size := max(a.ops, len(txn.Conditions), len(txn.Writes)), a.size
	for _, c := range txn.Conditions {
		if _, dependent := a.written[c.Key]; dependent {
			return false
		}
		size += len(c.Key)
	}
	for _, w := range txn.Writes {
		if _, dependent := a.written[w.Key]; dependent {
			return false
		}
		size += len(w.Key) + len(w.Value)
	}
	if a.n > 0 && (a.n+1+ops > MaxOps || size > a.most) {
		return false
	}
	if a.written == nil {
		a.written = make(map[record.Key]struct{})
	}
	for _, w := range txn.Writes {
		a.written[w.Key] = struct{}{}
	}
	a.n, a.ops, a.size = a.n+1, ops, size
	return true
}

// wary is for how many batches it is expected that one of their conditions does not
// hold, after one did not.
const wary = 16

// commitBatch does a batch as one transaction of etcd and fills in results. It
// returns an error if the batch failed as a whole.
func (s *Shard) commitBatch(ctx context.Context, txns []record.Txn, results []TxnResult) error {
	if len(txns) == 1 {
		return s.commitSingle(ctx, txns[0], &results[0])
	}
	common := commonConditions(txns)
	resp, done, err := s.commitAll(ctx, common, txns)
	if !done {
		resp, err = s.send(ctx, s.each(common, txns))
		if err == nil && !resp.Succeeded {
			return s.commitSingly(ctx, txns, results)
		}
	}
	switch secret.CodeOf(err) {
	case secret.CodeStoreFull:
		for i, txn := range txns {
			results[i].Revision, results[i].Err = s.settleFull(ctx, txn, err)
		}
		return err
	case secret.CodeLimit: // the store takes less at once than others do
		return s.commitSingly(ctx, txns, results)
	}
	for i := range txns {
		switch {
		case err != nil:
			results[i].Err = err
		case done, resp.Responses[i].GetResponseTxn().Succeeded:
			results[i].Revision = resp.Header.Revision
		default:
			results[i].Err = stale()
		}
	}
	return err
}

// commitAll does a batch as one transaction that takes effect only if all conditions
// of all hold, which costs the store less than if each takes effect by itself. done
// is false if that was not tried, or has certainly done nothing.
func (s *Shard) commitAll(ctx context.Context, common []record.Condition, txns []record.Txn) (resp *pb.TxnResponse, done bool, err error) {
	if s.wary.Load() > 0 {
		s.wary.Add(-1)
		return nil, false, nil
	}
	all := record.Txn{Conditions: slices.Clone(common)}
	for _, txn := range txns {
		all.Conditions = append(all.Conditions, except(txn.Conditions, common)...)
		all.Writes = append(all.Writes, txn.Writes...)
	}
	if max(len(all.Conditions), len(all.Writes)) > MaxOps {
		return nil, false, nil
	}
	resp, err = s.send(ctx, s.request(all.Conditions, all.Writes))
	done = err == nil && resp.Succeeded || err != nil && !secret.HasCode(err, secret.CodeLimit)
	if !done {
		s.wary.Store(wary)
	}
	return resp, done, err
}

// each returns a batch as one transaction in which each takes effect by itself if
// the common conditions hold.
func (s *Shard) each(common []record.Condition, txns []record.Txn) *pb.TxnRequest {
	r := s.request(common, nil)
	for _, txn := range txns {
		r.Success = append(r.Success, nested(s.request(except(txn.Conditions, common), txn.Writes)))
	}
	return r
}

func except(conditions, common []record.Condition) []record.Condition {
	return slices.DeleteFunc(slices.Clone(conditions), func(c record.Condition) bool { return slices.Contains(common, c) })
}

// commonConditions returns the conditions that all transactions of a batch have: the
// store compares them once.
func commonConditions(txns []record.Txn) []record.Condition {
	return slices.DeleteFunc(slices.Clone(txns[0].Conditions), func(c record.Condition) bool {
		return slices.ContainsFunc(txns[1:], func(t record.Txn) bool { return !slices.Contains(t.Conditions, c) })
	})
}

// commitSingly does the transactions of a batch one by one.
func (s *Shard) commitSingly(ctx context.Context, txns []record.Txn, results []TxnResult) (err error) {
	for i, txn := range txns {
		if err != nil {
			results[i].Err = notTried(err)
			continue
		}
		err = s.commitSingle(ctx, txn, &results[i])
	}
	return err
}

func notTried(err error) error {
	return secret.Wrap(secret.CodeUnavailable, err, "not tried after a failure")
}

func (s *Shard) commitSingle(ctx context.Context, txn record.Txn, result *TxnResult) error {
	if result.Err != nil {
		return nil //nolint:nilerr // it is in the result
	}
	result.Revision, result.Err = s.commit(ctx, txn)
	switch secret.CodeOf(result.Err) {
	case "", secret.CodeStale, secret.CodeLimit:
		return nil
	default:
		return result.Err
	}
}
