package store

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// PageAt is Page as of an earlier revision: pages read at the same revision fit
// together to one consistent state of the shard. The page's Revision is the one
// asked for. Besides the errors of Page, one that wraps ErrCompacted says that
// the revision is no longer kept (see Maintenance), and one that wraps ErrAhead
// that the store has not reached it.
func (s *Shard) PageAt(ctx context.Context, start, end record.Key, limit int, revision int64) (Page, error) {
	if limit <= 0 || revision <= 0 {
		return Page{}, secret.Invalid("limit", "and revision must be positive, not %d and %d", limit, revision)
	}
	page := Page{Revision: revision}
	from, to := s.bounds(start, end)
	if from >= to {
		return page, nil
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	resp, err := s.client.Get(ctx, from, clientv3.WithRange(to), clientv3.WithLimit(int64(limit)), clientv3.WithRev(revision))
	switch {
	case errors.Is(err, rpctypes.ErrCompacted):
		return Page{}, secret.Wrap(secret.CodeUnavailable, ErrCompacted, fmt.Sprintf("the store no longer keeps revision %d", revision))
	case errors.Is(err, rpctypes.ErrFutureRev):
		return Page{}, secret.Wrap(secret.CodeUnavailable, ErrAhead, fmt.Sprintf("the store has not reached revision %d", revision))
	case err != nil:
		return Page{}, readError(ctx, err)
	}
	page.More, page.Records = resp.More, make([]record.Stored, len(resp.Kvs))
	for i, kv := range resp.Kvs {
		page.Records[i] = s.stored(kv)
	}
	return page, nil
}
