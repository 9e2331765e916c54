package replica

import (
	"context"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
)

// inbox holds what the feed has delivered and nobody has applied yet.
type inbox struct {
	batches chan arrival
	room    *semaphore.Weighted
	now     func() head
}

// arrival is a batch and when the store was asked for it; it may wait for long.
type arrival struct {
	record.Batch
	at head
}

func weigh(b *record.Batch) int64 {
	n := 0
	for i := range b.Changes {
		n += size(&b.Changes[i])
	}
	return int64(n)
}

func (in *inbox) put(ctx context.Context, b record.Batch) error {
	a := arrival{Batch: b, at: in.now()}
	if !b.Asked.IsZero() {
		a.at = a.at.earlier(time.Since(b.Asked))
	}
	if err := in.room.Acquire(ctx, min(weigh(&b), inboxBytes)); err != nil {
		return err
	}
	select {
	case in.batches <- a:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// drain returns the batch and those that have arrived behind it, up to what one
// commit should hold.
func (in *inbox) drain(b arrival) []arrival {
	batches, changes, bytes := []arrival{b}, len(b.Changes), weigh(&b.Batch)
	in.room.Release(min(bytes, inboxBytes))
	for changes < commitChanges && bytes < commitBytes {
		select {
		case b = <-in.batches:
			n := weigh(&b.Batch)
			in.room.Release(min(n, inboxBytes))
			batches, changes, bytes = append(batches, b), changes+len(b.Changes), bytes+n
		default:
			return batches
		}
	}
	return batches
}
