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

// count takes note of an event that came or went; mu is held.
func (p *Pipeline) count(c record.Change) {
	if c.Deleted {
		p.events--
	} else {
		p.events++
	}
}

// OldestEvent returns when the oldest event that the local store holds was made;
// zero if there is none. Errors: those of the local store.
func (p *Pipeline) OldestEvent() (at time.Time, err error) {
	err = p.Local.View(func(view record.View) error {
		return view.Scan(record.OutboxPrefix, record.PrefixEnd(record.OutboxPrefix), func(s record.Stored) bool {
			if id, err := ulid.ParseStrict(string(s.Key[len(record.OutboxPrefix):])); err == nil {
				at = ulid.Time(id.Time())
			}
			return false
		})
	})
	return at, err
}

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
