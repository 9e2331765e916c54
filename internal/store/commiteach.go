package store

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"

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
				results[i].Err = secret.Wrap(secret.CodeUnavailable, err, "not tried after a failure")
			}
			return results, revision, err
		}
	}
	return results, revision, nil
}

// batchSize returns how many of the first transactions can be one transaction
// of etcd: their number plus the operations of the largest must stay within
// MaxOps, and since etcd compares everything before it writes anything, none
// may depend on what an earlier one writes. A refused one ends a batch.
func batchSize(txns []record.Txn, results []TxnResult) int {
	written := make(map[record.Key]bool)
	ops, size := 0, 0
	for i, txn := range txns {
		ops = max(ops, len(txn.Conditions), len(txn.Writes))
		dependent := false
		for _, c := range txn.Conditions {
			dependent = dependent || written[c.Key]
			size += len(c.Key)
		}
		for _, w := range txn.Writes {
			dependent = dependent || written[w.Key]
			size += len(w.Key) + len(w.Value)
		}
		tooMuch := i+1+ops > MaxOps || size > maxBatchBytes
		if i > 0 && (dependent || tooMuch || results[i].Err != nil) {
			return i
		}
		if results[i].Err != nil {
			return 1
		}
		for _, w := range txn.Writes {
			written[w.Key] = true
		}
	}
	return len(txns)
}

// commitBatch does a batch as one transaction of etcd and fills in results. It
// returns an error if the batch failed as a whole.
func (s *Shard) commitBatch(ctx context.Context, txns []record.Txn, results []TxnResult) error {
	if len(txns) == 1 {
		return s.commitSingle(ctx, txns[0], &results[0])
	}
	ops := make([]clientv3.Op, len(txns))
	for i, txn := range txns {
		ops[i] = clientv3.OpTxn(s.ops(txn))
	}
	resp, err := s.send(ctx, nil, ops, nil)
	if secret.HasCode(err, secret.CodeStoreFull) {
		for i, txn := range txns {
			results[i].Revision, results[i].Err = s.settleFull(ctx, txn, err)
		}
		return err
	}
	for i, txn := range txns {
		switch {
		case err != nil:
			results[i].Err = err
		case resp.Responses[i].GetResponseTxn().Succeeded:
			results[i].Revision = resp.Header.Revision
		default:
			results[i].Err = s.conflict(txn, resp.Responses[i].GetResponseTxn())
		}
	}
	return err
}

func (s *Shard) commitSingle(ctx context.Context, txn record.Txn, result *TxnResult) error {
	if result.Err != nil {
		return nil //nolint:nilerr // it is in the result
	}
	result.Revision, result.Err = s.Commit(ctx, txn)
	switch secret.CodeOf(result.Err) {
	case "", secret.CodeStale, secret.CodeLimit:
		return nil
	default:
		return result.Err
	}
}
