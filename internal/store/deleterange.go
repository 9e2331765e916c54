package store

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
)

// DeleteRange deletes the records with start <= key < end in one request and
// returns how many there were. Errors: those of Commit but CodeStale. It may be
// repeated.
func (s *Shard) DeleteRange(ctx context.Context, start, end record.Key) (int64, error) {
	from, to := s.bounds(start, end)
	resp, err := s.send(ctx, nil, []clientv3.Op{clientv3.OpDelete(from, clientv3.WithRange(to))})
	if err != nil {
		return 0, err
	}
	return resp.Responses[0].GetResponseDeleteRange().Deleted, nil
}
