package replica

import (
	"bytes"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/lifeboat-secrets/lifeboat/internal/faultpoint"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// txn is one write transaction of the local store.
type txn struct {
	local      *Local
	records    *bolt.Bucket
	quarantine *bolt.Bucket
	// inRecords and inQuarantine look up in the two.
	inRecords    *bolt.Cursor
	inQuarantine *bolt.Cursor
	suspects     *bolt.Bucket
	// meta is written when the transaction commits.
	meta meta
	// mark is what a crash in this transaction leaves behind, without the record.
	mark mark
	// alone is set if the transaction applies one record: then the record is to
	// blame for a crash in the commit as well.
	alone bool
	// at is the buffer of place.
	at []byte
	// memory is of the file, commit what this transaction is if it is one.
	memory *memory
	commit uint64

	changes     []record.Change
	quarantined int64
	reports     []Quarantined
}

// write runs fn in a transaction, commits, tells OnApply and then those who wait.
func (l *Local) write(m mark, alone bool, fn func(*txn) error) error {
	f := l.file.Load()
	t := &txn{local: l, meta: l.meta, mark: m, alone: alone, memory: &f.memory, commit: f.commits.Load() + 1}
	err := f.update(func(tx *bolt.Tx) error {
		t.records, t.quarantine, t.suspects = tx.Bucket(recordsBucket), tx.Bucket(quarantineBucket), tx.Bucket(suspectsBucket)
		t.inRecords, t.inQuarantine = t.records.Cursor(), t.quarantine.Cursor()
		t.records.FillPercent = 0.9 // most new records follow the others of their kind; half full the file is twice as large
		if err := fn(t); err != nil {
			return err
		}
		if !alone && m.phase != idle {
			if err := l.marker.set(m); err != nil {
				return err
			}
		}
		for i := range t.changes {
			faultpoint.Hit("replica.commit", string(t.changes[i].Key))
		}
		return writeMeta(tx, t.meta)
	})
	if err != nil {
		return err
	}
	return l.committed(f, t)
}

// committed makes known what a transaction has changed.
func (l *Local) committed(f *file, t *txn) error {
	resynced := l.meta.Resync && !t.meta.Resync
	l.meta = t.meta
	f.commits.Store(t.commit)
	if err := f.renew(); err != nil {
		return err // the file is damaged: OnApply gets everything when it is rebuilt
	}
	for _, q := range t.reports {
		l.log.Error("record quarantined: its older copy stays, and is served unless it is of an identity", "record", q.Record, "revision", q.Revision, "reason", q.Reason)
	}
	if len(t.changes) > 0 {
		l.opts.OnApply(t.changes)
	}
	l.status.update(func(p *Position) { p.Quarantined += t.quarantined })
	l.publish()
	if resynced {
		l.opts.OnResync()
	}
	return l.marker.set(mark{})
}

// lookup returns the local copy of a record; ok is false if there is none of the
// present life that passes its checksum, exists if there is none at all.
func (t *txn) lookup(key []byte) (v localValue, ok, exists bool) {
	at, ok := t.place(key)
	if !ok {
		return v, false, false
	}
	b := get(t.inRecords, at)
	v, err := decodeValue(at, b)
	return v, err == nil && v.generation == t.meta.Generation, b != nil
}

// get is Get of the bucket, which needs a new cursor each time.
func get(c *bolt.Cursor, key []byte) []byte {
	if at, b := c.Seek(key); bytes.Equal(at, key) {
		return b
	}
	return nil
}

// place is where a record is stored, valid until the next call.
func (t *txn) place(key []byte) (at []byte, ok bool) {
	t.at, ok = place(t.at[:0], record.Key(key))
	return t.at, ok
}

// feed applies a change from the feed.
func (t *txn) feed(ch record.Change) error {
	if ch.Key.HasPrefix(record.OutboxPrefix) {
		t.changes = append(t.changes, ch)
		return nil
	}
	key := []byte(ch.Key)
	have, ok, exists := t.lookup(key)
	if ok && have.revision >= ch.Revision {
		return nil
	}
	if t.local.catchUp.floor(ch.Key) >= ch.Revision {
		return nil
	}
	return t.apply(key, ch, exists)
}

// apply puts or deletes a record, or quarantines it. exists says whether there is a
// local copy.
func (t *txn) apply(key []byte, ch record.Change, exists bool) error {
	q, err := t.quarantineOf(key)
	if err != nil {
		return err
	}
	if q != nil && q.Suspected && q.Revision >= ch.Revision {
		return nil
	}
	m := t.mark
	m.key, m.revision = ch.Key, ch.Revision
	if err := t.local.marker.set(m); err != nil {
		return err
	}
	faultpoint.Hit("replica.apply", string(ch.Key))
	if ch.Deleted {
		err = t.delete(key, exists)
	} else if refused := check(ch.Key, ch.Value); refused != nil {
		return t.refuse(key, ch, refused)
	} else {
		err = t.put(key, ch.Stored, exists)
	}
	if err != nil {
		return err
	}
	if q != nil {
		if err := t.lift(key); err != nil {
			return err
		}
	}
	t.changes = append(t.changes, ch)
	return nil
}

func (t *txn) put(key []byte, r record.Stored, exists bool) error {
	if !exists {
		t.meta.Records++
	}
	if r.Key == record.RegionKey {
		id, err := identityOf(r.Value)
		if err != nil {
			return err
		}
		t.meta.Identity = id // the first one; another was refused before
	}
	at, ok := t.place(key)
	if !ok {
		return checkPlace(r.Key) // which was asked before
	}
	t.memory.change(r.Key, t.commit)
	return t.records.Put(at, encodeValue(at, localValue{
		generation: t.meta.Generation, revision: r.Revision, value: r.Value,
	}))
}

func (t *txn) delete(key []byte, exists bool) error {
	if !exists {
		return nil
	}
	at, ok := t.place(key)
	if !ok {
		return nil // then there is none
	}
	t.meta.Records--
	t.memory.change(record.Key(key), t.commit)
	return t.records.Delete(at)
}

// refuse quarantines a record that cannot be applied. A copy of another life of
// the store goes: nothing of the present life stands behind it.
func (t *txn) refuse(key []byte, ch record.Change, reason error) error {
	if _, ok, exists := t.lookup(key); !ok {
		if err := t.delete(key, exists); err != nil {
			return err
		}
	}
	if isIdentity(ch.Key) {
		t.changes = append(t.changes, ch) // what was made of the older copy must go
	}
	return t.hold(key, Quarantined{Record: ch.Key, Revision: ch.Revision, Code: secret.CodeOf(reason), Reason: reason.Error()})
}

// check is record.Check for a record that has a place; a panic in decoding is a refusal.
func check(key record.Key, value []byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = secret.Errorf(secret.CodeCorrupt, "decoding the record panics (%T)", p)
		}
	}()
	if err := checkPlace(key); err != nil {
		return err
	}
	return record.Check(key, value)
}

// applyBatches applies batches of the feed in one commit, or, where the process
// crashed before, one record at a time to find the culprit.
func (l *Local) applyBatches(batches []record.Batch) error {
	through := batches[len(batches)-1].Revision
	if through < l.meta.Applied {
		return secret.Errorf(secret.CodeInternal, "the feed went back from revision %d to %d", l.meta.Applied, through)
	}
	if err := l.refuseOtherLife(batches); err != nil {
		return err
	}
	if err := l.admitAll(batches); err != nil {
		return err
	}
	m := mark{phase: applyingBatch, through: through}
	if l.isolate != nil {
		if err := l.applyOneByOne(m, batches); err != nil {
			return err
		}
	}
	return l.write(m, false, func(t *txn) error {
		if l.isolate == nil {
			for _, b := range batches {
				for _, ch := range b.Changes {
					if err := t.feed(ch); err != nil {
						return err
					}
				}
			}
		}
		t.reach(through)
		return nil
	})
}

// applyOneByOne commits each change by itself. The applied revision moves with
// the last change of each revision: were a crash to repeat them, a record that
// was deleted would come back for a moment.
func (l *Local) applyOneByOne(m mark, batches []record.Batch) error {
	for _, b := range batches {
		for i, ch := range b.Changes {
			err := l.write(m, true, func(t *txn) error {
				if err := t.feed(ch); err != nil {
					return err
				}
				if i+1 == len(b.Changes) || b.Changes[i+1].Revision > ch.Revision {
					t.reach(ch.Revision)
				}
				return t.suspects.Delete([]byte(ch.Key))
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// reach moves the applied revision and ends the catching-up that it completes.
func (t *txn) reach(revision int64) {
	t.meta.Applied = max(t.meta.Applied, revision)
	if c := t.local.catchUp; c != nil && t.meta.Applied >= c.through {
		t.meta.Resync = false
	}
	if t.local.upToDate(t.meta) {
		t.meta.Contact = t.local.head.wall // stored with what made it so
	}
}

// settle forgets what a commit has completed.
func (l *Local) settle() {
	if !l.meta.Resync {
		l.catchUp = nil
	}
	if l.isolate != nil && l.meta.Applied >= l.isolate.through && l.meta.Synced {
		l.isolate = nil
	}
}

// refuseOtherLife looks for a region record of another life of the store.
func (l *Local) refuseOtherLife(batches []record.Batch) error {
	for _, b := range batches {
		for _, ch := range b.Changes {
			if ch.Key != record.RegionKey || ch.Deleted {
				continue
			}
			if err := l.sameLife(ch.Value); err != nil {
				return err
			}
		}
	}
	return nil
}

// errOtherLife says that the store has begun a new life.
var errOtherLife = fmt.Errorf("the store has begun a new life")

func (l *Local) sameLife(regionRecord []byte) error {
	id, err := identityOf(regionRecord)
	if err != nil {
		return nil //nolint:nilerr // the record is quarantined like any other
	}
	if l.meta.Identity.known() && id != l.meta.Identity {
		return errOtherLife
	}
	return nil
}
