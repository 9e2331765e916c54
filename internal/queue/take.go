package queue

import (
	"container/heap"
	"context"
	"strings"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// maxReasonBytes bounds the reason that a failed message keeps.
const maxReasonBytes = 512

// Take hands out up to most messages that are due, those first that have been due
// for longest; none while the queue is paused, the target is left alone after it
// was not reached, or before Load. A record is in flight at most once in this
// process. Each message must be given back by Done, Failed, Release or
// Unreachable, once.
func (q *Queue) Take(name secret.RegionName, most int) []Message {
	t := q.target(name)
	t.mu.Lock()
	defer t.mu.Unlock()
	now := q.Now()
	var messages []Message
	for len(messages) < most && t.ready(now) {
		e := heap.Pop(&t.due).(*entry)
		e.taken = e.revision
		t.inFlight++
		messages = append(messages, e.message())
	}
	return messages
}

// ready reports whether a message can be taken; mu is held.
func (t *target) ready(now time.Time) bool {
	_, paused := t.paused(now)
	return t.loaded && !paused && !now.Before(t.notBefore) && len(t.due) > 0 && t.due[0].due <= now.UnixNano()
}

// next returns when, by the clock alone, ready may become true; the zero time if
// it cannot. mu is held.
func (t *target) next(now time.Time) time.Time {
	until, paused := t.paused(now)
	if !t.loaded || len(t.due) == 0 || paused && until.IsZero() {
		return time.Time{}
	}
	at := record.FromNanos(t.due[0].due)
	if at.Before(t.notBefore) {
		at = t.notBefore
	}
	if paused && at.Before(until) {
		at = until
	}
	return at
}

// Waiting returns how many messages are not in flight, of which some may not be due yet.
func (q *Queue) Waiting(name secret.RegionName) int {
	t := q.target(name)
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.due)
}

// Wait returns when Take may have something, or with ctx's error when it has ended.
func (q *Queue) Wait(ctx context.Context, name secret.RegionName) error {
	return q.wait(ctx, name, func(t *target, now time.Time) (bool, time.Time) { return t.ready(now), t.next(now) })
}

// wait returns when look, which is asked at first, whenever the target changes and
// at the time that it names, says that the wait is over; or with ctx's error when
// it has ended.
func (q *Queue) wait(ctx context.Context, name secret.RegionName, look func(t *target, now time.Time) (over bool, at time.Time)) error {
	t := q.target(name)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		t.mu.Lock()
		now := q.Now()
		over, at := look(t, now)
		changed := t.changed
		t.mu.Unlock()
		if over {
			return nil
		}
		if err := sleep(ctx, changed, at, now); err != nil {
			return err
		}
	}
}

// sleep returns at the time at, when changed is closed, or with ctx's error.
func sleep(ctx context.Context, changed <-chan struct{}, at, now time.Time) error {
	var expired <-chan time.Time
	if !at.IsZero() {
		timer := time.NewTimer(at.Sub(now))
		defer timer.Stop()
		expired = timer.C
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-changed:
	case <-expired:
	}
	return nil
}

// Done deletes messages that were delivered. One that was put again meanwhile
// stays. After an error, which is that of the store, they may be delivered again.
func (q *Queue) Done(ctx context.Context, name secret.RegionName, messages []Message) error {
	txns := make([]record.Txn, len(messages))
	for i, m := range messages {
		key := record.MessageKey(name, m.Record)
		txns[i].Require(key, m.Revision)
		txns[i].Delete(key)
	}
	_, err := q.Store.CommitEach(ctx, txns)
	t := q.target(name)
	t.mu.Lock()
	defer t.mu.Unlock()
	now := q.Now()
	t.reachable()
	for _, m := range messages {
		e := t.returned(m)
		switch {
		case e == nil:
		case err != nil:
			e.due = max(e.due, now.Add(storeWait).UnixNano())
			t.place(e)
		case e.revision == m.Revision:
			// It is gone, or was put again, of which the feed tells.
			t.remove(e)
		default:
			t.place(e)
		}
	}
	if err == nil {
		t.done.add(now, len(messages))
	}
	t.wake()
	return err
}

// Failure is a message that the target, or the reading of its record, refused.
type Failure struct {
	Message Message
	Code    secret.Code
	// Reason is for people; what is longer than 512 bytes is cut.
	Reason string
}

// Failed stores that attempts failed and when the messages are tried again: after
// half a second at first, twice as long each time, five minutes at most. One that
// was put again meanwhile is due at once. After an error, which is that of the
// store, they wait all the same, but a restart forgets the attempt.
func (q *Queue) Failed(ctx context.Context, name secret.RegionName, failures []Failure) error {
	txns := make([]record.Txn, len(failures))
	next := make([]int64, len(failures))
	now := q.Now()
	for i, f := range failures {
		next[i] = now.Add(wait(f.Message.Attempts+1, firstWait, longestWait)).UnixNano()
		key := record.MessageKey(name, f.Message.Record)
		txns[i].Require(key, f.Message.Revision)
		txns[i].Put(key, record.Messages.Encode(&recordpb.Message{
			Target: string(name), Record: string(f.Message.Record), CommittedAt: nanos(f.Message.CommittedAt),
			Since: nanos(f.Message.Since), Attempts: uint32(f.Message.Attempts + 1), NextTryAt: next[i],
			FailureCode: string(f.Code), FailureReason: reason(f.Reason),
		}))
	}
	_, err := q.Store.CommitEach(ctx, txns)
	t := q.target(name)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reachable()
	for i, f := range failures {
		e := t.returned(f.Message)
		if e == nil {
			continue
		}
		if e.revision == f.Message.Revision { // the feed has not told of it yet
			t.count(e, -1)
			e.attempts, e.due = uint32(f.Message.Attempts+1), next[i]
			t.count(e, 1)
		}
		t.place(e)
	}
	t.wake()
	return err
}

func reason(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), maxReasonBytes)], "")
}

// Release gives messages back that were not tried, to be taken again after rest
// or as soon as they are put again. Nothing is stored.
func (q *Queue) Release(name secret.RegionName, messages []Message, rest time.Duration) {
	t := q.target(name)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.release(messages, q.Now().Add(rest).UnixNano())
}

func (t *target) release(messages []Message, due int64) {
	for _, m := range messages {
		e := t.returned(m)
		if e == nil {
			continue
		}
		if e.revision == m.Revision {
			e.due = max(e.due, due)
		}
		t.place(e)
	}
	t.wake()
}

// Reached ends that the target is left alone because it was not reached: it answers
// again.
func (q *Queue) Reached(name secret.RegionName) {
	t := q.target(name)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reachable()
	t.wake()
}

// Unreachable gives messages back that could not be tried because the target is
// not reached, and leaves the target alone for a while, which it returns: 200 ms
// at first, up to 30 s. Nothing is stored; Reached, Done, Failed, Resume and Retry end it.
func (q *Queue) Unreachable(name secret.RegionName, messages []Message) time.Duration {
	t := q.target(name)
	t.mu.Lock()
	defer t.mu.Unlock()
	now := q.Now()
	if !now.Before(t.notBefore) { // several workers notice the same
		t.unreachable++
		t.notBefore = now.Add(wait(t.unreachable, firstUnreachableWait, longestUnreachableWait))
	}
	t.release(messages, 0)
	return t.notBefore.Sub(now)
}
