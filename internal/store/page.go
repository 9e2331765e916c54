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

// Page is a run of records read at one revision.
type Page = record.Page

// Page reads up to limit records with start <= key < end at the latest
// revision; an empty end is the end of the shard. The next page starts at the
// last key followed by a zero byte and may be of a later revision.
//
// To answer a range with a limit, etcd counts all keys of the range, so that
// reading n records page by page would take n² steps. A page is therefore read
// in pieces that end where the keys stop sharing their first bytes with the
// start; the later pieces at the revision of the first.
func (s *Shard) Page(ctx context.Context, start, end record.Key, limit int) (Page, error) {
	if limit <= 0 {
		return Page{}, secret.Invalid("limit", "must be positive, not %d", limit)
	}
	return s.page(ctx, start, end, limit, 0)
}

// page reads a page at a revision, the latest one if it is 0.
func (s *Shard) page(ctx context.Context, start, end record.Key, limit int, revision int64) (Page, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	page := Page{Revision: revision}
	shared, widen := int(s.sharedBytes.Load()), 1
	for {
		pieceEnd, last := piece(start, end, shared)
		more, err := s.readPiece(ctx, &page, start, pieceEnd, limit)
		if err != nil {
			return Page{}, err
		}
		n := len(page.Records)
		if more {
			page.More = true
			s.sharedBytes.Store(int64(common(page.Records[0].Key, page.Records[n-1].Key) + 1))
			return page, nil
		}
		if last {
			return page, nil
		}
		if n == limit {
			page.More = true // perhaps; the next page tells
			return page, nil
		}
		start = pieceEnd
		shared, widen = min(shared, len(start))-widen, 2*widen
	}
}

// piece returns where the keys stop that share their first bytes with start, or
// the end of the range if that comes first; last says that it does.
func piece(start, end record.Key, shared int) (pieceEnd record.Key, last bool) {
	shared = max(0, min(shared, len(start)))
	pieceEnd = record.PrefixEnd(string(start[:shared]))
	if pieceEnd == "" || end != "" && pieceEnd >= end {
		return end, true
	}
	return pieceEnd, false
}

// readPiece adds the records of a range to the page and reports whether it has
// more of them than the page takes.
func (s *Shard) readPiece(ctx context.Context, page *Page, start, end record.Key, limit int) (more bool, err error) {
	from, to := s.bounds(start, end)
	if from >= to {
		if page.Revision == 0 {
			page.Revision, err = s.Revision(ctx)
		}
		return false, err
	}
	options := []clientv3.OpOption{clientv3.WithRange(to), clientv3.WithLimit(int64(limit - len(page.Records)))}
	if page.Revision > 0 {
		options = append(options, clientv3.WithRev(page.Revision))
	}
	resp, err := s.client.Get(ctx, from, options...)
	if err != nil {
		return false, pageError(ctx, err, page.Revision)
	}
	if page.Revision == 0 {
		page.Revision = resp.Header.Revision
	}
	for _, kv := range resp.Kvs {
		page.Records = append(page.Records, s.stored(kv))
	}
	return resp.More, nil
}

// pageError returns the error for a page at a revision.
func pageError(ctx context.Context, err error, revision int64) error {
	switch {
	case errors.Is(err, rpctypes.ErrCompacted):
		return secret.Wrap(secret.CodeUnavailable, ErrCompacted, fmt.Sprintf("the store no longer keeps revision %d", revision))
	case errors.Is(err, rpctypes.ErrFutureRev):
		return secret.Wrap(secret.CodeUnavailable, ErrAhead, fmt.Sprintf("the store has not reached revision %d", revision))
	}
	return readError(ctx, err)
}

// common returns how many leading bytes are the same.
func common(a, b record.Key) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}
