package queue

import (
	"time"
	"unique"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
)

// id is the key of a record, kept once in memory however many targets lack it.
type id = unique.Handle[record.Key]

// entry is what the index knows of a message; 64 bytes. Times are nanoseconds
// since 1970.
type entry struct {
	record id
	// revision is that of the message in the store; 0 if it is only announced: part
	// of a transaction of which the feed has not told.
	revision         int64
	committed, since int64
	// due is from when on it may be taken.
	due int64
	// taken is the revision at which it was handed out; 0 if it is not in flight.
	taken    int64
	attempts uint32
	// byDue and bySince are its places in the heaps; -1 if it is not in one.
	byDue, bySince int32
}

func newEntry(key record.Key) *entry {
	return &entry{record: unique.Make(key), byDue: -1, bySince: -1}
}

// set takes over what the store holds. A time that is too far ahead to be one of
// this process's clock is not waited for.
func (e *entry) set(m *recordpb.Message, revision int64, now time.Time) {
	e.revision, e.committed, e.since, e.attempts = revision, m.GetCommittedAt(), m.GetSince(), m.GetAttempts()
	e.due = min(e.since, now.UnixNano())
	if !e.record.Value().HasPrefix(record.SecretPrefix) {
		e.due = 0 // who may do what goes before what is kept: a revocation must not wait
	}
	if e.attempts > 0 {
		e.due = min(m.GetNextTryAt(), now.Add(longestWait).UnixNano())
	}
}

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func (e *entry) message() Message {
	return Message{
		Record: e.record.Value(), Revision: e.revision, Attempts: int(e.attempts),
		CommittedAt: record.FromNanos(e.committed), Since: record.FromNanos(e.since),
	}
}

// byDue is a heap of what can be taken, the first that became due on top, so that
// messages which keep failing take turns with the others.
type byDue []*entry

func (h byDue) Len() int { return len(h) }
func (h byDue) Less(i, j int) bool {
	return h[i].due < h[j].due || h[i].due == h[j].due && h[i].revision < h[j].revision
}
func (h byDue) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].byDue, h[j].byDue = int32(i), int32(j)
}
func (h *byDue) Push(x any) {
	e := x.(*entry)
	e.byDue = int32(len(*h))
	*h = append(*h, e)
}
func (h *byDue) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	e.byDue = -1
	return e
}

// bySince is a heap of all messages in the store, the oldest on top.
type bySince []*entry

func (h bySince) Len() int           { return len(h) }
func (h bySince) Less(i, j int) bool { return h[i].since < h[j].since }
func (h bySince) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].bySince, h[j].bySince = int32(i), int32(j)
}
func (h *bySince) Push(x any) {
	e := x.(*entry)
	e.bySince = int32(len(*h))
	*h = append(*h, e)
}
func (h *bySince) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	e.bySince = -1
	return e
}
