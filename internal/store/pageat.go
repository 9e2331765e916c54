package store

import (
	"context"

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
	return s.page(ctx, start, end, limit, revision)
}
