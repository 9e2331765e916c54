package backup

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"

	"github.com/lifeboat-secrets/lifeboat/internal/faultpoint"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const (
	// batchRecords and batchBytes keep a transaction within etcd's limits of 128
	// operations and 1.5 MiB.
	batchRecords = 120
	batchBytes   = 1 << 20
	// writers is how many transactions are under way: etcd syncs those that
	// arrive together once.
	writers = 4
	// patience bounds how long a transaction is repeated while the store does not
	// answer, such as during an election.
	patience = 30 * time.Second
)

// fill writes all records but the region's. They are put unconditionally but for
// the fence, in any order, so that a transaction may be repeated.
func (r *restore) fill(ctx context.Context, file io.ReadSeeker) error {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return cutOff(err)
	}
	reader, err := NewReader(ctx, file, r.options.Keys)
	if err != nil {
		return err
	}
	if reader.Header().ID != r.summary.ID {
		return secret.Errorf(secret.CodeCorrupt, "the backup was replaced by another while it was restored")
	}
	g, ctx := errgroup.WithContext(ctx)
	batches := make(chan record.Txn, writers)
	var done atomic.Int64
	for range writers {
		g.Go(func() error {
			for txn := range batches {
				if err := r.commit(ctx, txn); err != nil {
					return err
				}
				r.options.Progress(Progress{Step: Restoring, Records: done.Add(int64(len(txn.Writes))), Of: r.summary.Records})
				faultpoint.Hit("backup.restore", string(txn.Writes[0].Key))
			}
			return nil
		})
	}
	g.Go(func() error {
		defer close(batches)
		return r.batch(ctx, reader, batches)
	})
	return g.Wait()
}

// batch divides what is read into transactions.
func (r *restore) batch(ctx context.Context, reader *Reader, batches chan<- record.Txn) error {
	send := func(txn record.Txn) error {
		select {
		case batches <- txn:
			return nil
		case <-ctx.Done():
			return secret.Wrap(secret.CodeUnavailable, context.Cause(ctx), "the restore was interrupted")
		}
	}
	txn, size := r.newTxn(), 0
	for {
		stored, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if stored.Key == record.RegionKey {
			continue
		}
		if n := len(stored.Key) + len(stored.Value); len(txn.Writes) == batchRecords || size > 0 && size+n > batchBytes {
			if err := send(txn); err != nil {
				return err
			}
			txn, size = r.newTxn(), 0
		}
		txn.Put(stored.Key, stored.Value)
		size += len(stored.Key) + len(stored.Value)
	}
	if len(txn.Writes) == 0 {
		return nil
	}
	return send(txn)
}

func (r *restore) newTxn() record.Txn {
	var txn record.Txn
	txn.Require(record.FenceKey, r.fence)
	return txn
}

// commit repeats a transaction while the store is away or its outcome unknown:
// the fence keeps a late one from doing harm.
func (r *restore) commit(ctx context.Context, txn record.Txn) error {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 50*time.Millisecond, 2*time.Second
	_, err := backoff.Retry(ctx, func() (int64, error) {
		revision, err := r.options.Store.Commit(ctx, txn)
		if err != nil && !secret.HasCode(err, secret.CodeUnavailable) && !secret.HasCode(err, secret.CodeOutcomeUnknown) {
			return 0, backoff.Permanent(r.failed(err))
		}
		return revision, err
	}, backoff.WithBackOff(pause), backoff.WithMaxElapsedTime(patience))
	if err != nil && secret.CodeOf(err) == secret.CodeInternal && ctx.Err() != nil {
		return secret.Wrap(secret.CodeUnavailable, err, "the restore was interrupted")
	}
	return err
}

// clear removes what an interrupted restore left. Registered processes stay: they
// live now.
func (r *restore) clear(ctx context.Context) error {
	cleared := int64(0)
	return walk(batchRecords, r.page(ctx), func(records []record.Stored) error {
		txn := r.newTxn()
		for _, stored := range records {
			if !ofProcesses(stored.Key) {
				txn.Delete(stored.Key)
			}
		}
		if len(txn.Writes) == 0 {
			return nil
		}
		cleared += int64(len(txn.Writes))
		r.options.Progress(Progress{Step: Clearing, Records: cleared})
		return r.commit(ctx, txn)
	})
}
