package queue

import (
	"context"
	"errors"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// deleteAtOnce bounds the messages deleted by one transaction, maxExamined those
// that one page of failures looks at.
const (
	deleteAtOnce = 1000
	maxExamined  = 20_000
)

// Pause is why nothing is sent to a target for a while.
type Pause struct {
	// Until is when the queue resumes by itself; the zero time means by Resume only.
	Until time.Time
	// By and Reason are shown to people.
	By, Reason string
}

// Pause has no more messages of a target handed out, in any process, once their
// feed has told of it. What is in flight is not stopped; messages go on to be
// enqueued. Errors: CodeInvalid for a time that is past; those of the store.
func (q *Queue) Pause(ctx context.Context, name secret.RegionName, p Pause) error {
	now := q.Now()
	if !p.Until.IsZero() && !p.Until.After(now) {
		return secret.Invalid("until", "must be in the future")
	}
	return q.amendQueue(ctx, name, func(state *recordpb.Queue) {
		state.Paused, state.PausedAt, state.PausedUntil = true, now.UnixNano(), nanos(p.Until)
		state.PausedBy, state.PauseReason = p.By, p.Reason
	})
}

// Resume ends a pause, and has a target that was not reached tried at once.
func (q *Queue) Resume(ctx context.Context, name secret.RegionName) error {
	return q.amendQueue(ctx, name, func(state *recordpb.Queue) {
		state.Paused, state.PausedAt, state.PausedUntil, state.PausedBy, state.PauseReason = false, 0, 0, "", ""
	})
}

// RetryAll makes everything due that failed, and has the target tried at once.
func (q *Queue) RetryAll(ctx context.Context, name secret.RegionName) error {
	return q.amendQueue(ctx, name, func(state *recordpb.Queue) {
		state.RetriedAt = max(q.Now().UnixNano(), state.GetRetriedAt()+1)
	})
}

func (q *Queue) amendQueue(ctx context.Context, name secret.RegionName, change func(*recordpb.Queue)) error {
	return amend(ctx, q.Store, record.Queues, record.QueueKey(name), func(state *recordpb.Queue) error {
		state.Target = string(name)
		change(state)
		return nil
	})
}

// Retry makes the message of a record due. Errors: CodeNotFound if the target
// lacks nothing of the record; those of the store.
func (q *Queue) Retry(ctx context.Context, name secret.RegionName, key record.Key) error {
	return amend(ctx, q.Store, record.Messages, record.MessageKey(name, key), func(m *recordpb.Message) error {
		if m.GetRecord() == "" {
			return secret.Errorf(secret.CodeNotFound, "no message of %s waits for %s", key, name)
		}
		m.NextTryAt = 0
		return nil
	})
}

// Forget deletes the queue of a region that is a target no more. What a process
// enqueues at the same moment stays. Errors: those of the store; then a part may
// be left.
func (q *Queue) Forget(ctx context.Context, name secret.RegionName) error {
	if err := q.Empty(ctx, name); err != nil {
		return err
	}
	var txn record.Txn
	txn.Delete(record.QueueKey(name))
	txn.Delete(record.ResynchronisationKey(name))
	_, err := q.Store.Commit(ctx, txn)
	return err
}

// Empty deletes the messages of a target. What a process enqueues at the same moment
// stays. Errors: those of the store; then a part may be left.
func (q *Queue) Empty(ctx context.Context, name secret.RegionName) error {
	start := record.MessageKey(name, "")
	end := record.PrefixEnd(string(start))
	for n := deleteAtOnce; n == deleteAtOnce; {
		n = 0
		last := end
		err := q.Store.View(ctx).Scan(start, end, func(s record.Stored) bool {
			n++
			last = s.Key + "\x00"
			return n < deleteAtOnce
		})
		if err != nil {
			return err
		}
		if _, err := q.Store.DeleteRange(ctx, start, last); err != nil {
			return err
		}
	}
	return nil
}

// Failures lists messages that failed, in the order of their records: up to limit
// of those after a record. more is set if there may be others after last, also if
// the page is short or empty. Errors: those of the view.
func (q *Queue) Failures(view record.View, name secret.RegionName, after record.Key, limit int) (page []*recordpb.Message, last record.Key, more bool, err error) {
	prefix := record.MessageKey(name, "")
	start := prefix
	if after != "" {
		start = record.MessageKey(name, after) + "\x00"
	}
	var decodeErr error
	examined := 0
	err = view.Scan(start, record.PrefixEnd(string(prefix)), func(s record.Stored) bool {
		if more = len(page) == limit || examined == maxExamined; more {
			return false
		}
		examined++
		last = s.Key[len(prefix):]
		m, err := record.Messages.Decode(s.Value)
		decodeErr = errors.Join(decodeErr, err)
		if err == nil && m.GetAttempts() > 0 {
			page = append(page, m)
		}
		return true
	})
	return page, last, more, errors.Join(err, decodeErr)
}
