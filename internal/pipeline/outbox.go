package pipeline

import (
	"context"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
)

const (
	// outboxMargin is how much longer than promised events are kept, for clocks
	// that differ and for watches that resume in the last moment.
	outboxMargin = 10 * time.Minute
	// trimAtOnce bounds the events deleted by one transaction.
	trimAtOnce = 1000
)

// trimOutbox deletes events that are older than they are kept.
func (p *Pipeline) trimOutbox(ctx context.Context) error {
	var oldest ulid.ULID
	if err := oldest.SetTime(ulid.Timestamp(p.Now().Add(-p.OutboxFor - outboxMargin))); err != nil {
		return err
	}
	end := record.OutboxKey(oldest.String())
	for {
		n, last := 0, end
		err := p.Store.View(ctx).Scan(record.OutboxPrefix, end, func(s record.Stored) bool {
			n++
			last = s.Key + "\x00"
			return n < trimAtOnce
		})
		if err != nil || n == 0 {
			return err
		}
		deleted, err := p.Store.DeleteRange(ctx, record.OutboxPrefix, last)
		if err != nil {
			return err
		}
		p.Logger.Debug("outbox trimmed", "events", deleted)
		if n < trimAtOnce {
			return nil
		}
	}
}
