package queue

import (
	"fmt"
	"slices"
	"time"
	"unique"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Enqueue adds to the transaction that finishes a mutation what tells each target of
// it: one write or one condition per target, without I/O. It may be called for
// several records with one transaction. A message that is
// already there is put again, which keeps its age and ends its backoff. A queue
// at its cap takes no further record: its target is marked for resynchronisation
// instead, or must still bear a mark that has not begun when the transaction
// commits. If that condition fails the mutation is not cleared, and must be
// enqueued again once the index has heard of what changed. A target that was forgotten
// gets nothing: when a new life of it is admitted, it is compared as a whole.
func (q *Queue) Enqueue(txn *record.Txn, targets []secret.RegionName, key record.Key, committed time.Time) {
	for _, name := range targets {
		q.target(name).enqueue(txn, key, committed, q.Cap, q.Now())
	}
}

func (t *target) enqueue(txn *record.Txn, key record.Key, committed time.Time, most int, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.resync.GetForgotten() {
		txn.Require(record.ResynchronisationKey(t.name), t.resyncAt)
		return
	}
	at := nanos(committed)
	e := t.entries[unique.Make(key)]
	if e == nil {
		if len(t.entries) >= most {
			t.overflow(txn, fmt.Sprintf("the queue was at its limit of %d messages", most), now)
			return
		}
		e = newEntry(key)
		e.since, e.committed = at, at
		t.entries[e.record] = e
	}
	txn.Put(record.MessageKey(t.name, key), record.Messages.Encode(&recordpb.Message{
		Target: string(t.name), Record: string(key), CommittedAt: max(at, e.committed), Since: min(at, e.since),
	}))
}

// overflow adds to a transaction what makes sure that the target is compared
// after it. Whoever compares it reads at or after the revision at which it began,
// so a mark that has not begun when the transaction commits is enough.
func (t *target) overflow(txn *record.Txn, reason string, now time.Time) {
	key := record.ResynchronisationKey(t.name)
	if slices.ContainsFunc(txn.Writes, func(w record.Write) bool { return w.Key == key }) {
		return
	}
	if t.resync != nil && t.resync.GetBegunAt() == 0 {
		txn.Require(key, t.resyncAt)
		return
	}
	txn.Put(key, record.Resynchronisations.Encode(&recordpb.Resynchronisation{
		Target: string(t.name), Generation: t.resync.GetGeneration() + 1, WantedAt: now.UnixNano(), Reason: reason,
	}))
}
