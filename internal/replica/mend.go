package replica

import (
	"context"
	"errors"

	bolt "go.etcd.io/bbolt"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// fetch is a record fetched from the source in order to mend the local copy.
type fetch struct {
	key  record.Key
	page record.Page
	err  error
	// done is set if somebody waits for the outcome.
	done chan<- error
}

// fetchForever fetches the keys given, then those that reads and scrubs find
// damaged and those to be retried.
func (l *Local) fetchForever(ctx context.Context, keys []record.Key, fetched chan<- fetch) {
	for {
		f := fetch{}
		if len(keys) > 0 {
			f.key, keys = keys[0], keys[1:]
		} else {
			select {
			case f.key = <-l.heals:
			case r := <-l.retries:
				f.key, f.done = r.key, r.done
			case <-ctx.Done():
				return
			}
		}
		f.page, f.err = l.fetchOne(ctx, f.key)
		select {
		case fetched <- f:
		case <-ctx.Done():
			if f.done != nil {
				f.done <- secret.Wrap(secret.CodeUnavailable, ctx.Err(), "the source was lost")
			}
			return
		}
	}
}

func (l *Local) fetchOne(ctx context.Context, key record.Key) (record.Page, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	return l.opts.Source.Page(ctx, key, key+"\x00", 1)
}

// unreadable returns the quarantined records that this process may be able to
// read, because another release put them there. Poison pills are not tried again
// unless asked for.
func (l *Local) unreadable() []record.Key {
	var keys []record.Key
	for _, q := range l.Quarantined() {
		if !q.Suspected {
			keys = append(keys, q.Record)
		}
	}
	return keys
}

// errKeyDamaged says that a damaged record does not exist in the store, so that
// the damage may lie in its key and another record be missing here.
var errKeyDamaged = errors.New("a damaged record does not exist in the store")

// mend applies a fetched record where the local copy is damaged or quarantined.
func (l *Local) mend(f fetch) error {
	outcome, err := f.err, error(nil)
	if outcome == nil {
		outcome, err = l.mendOne(f)
	} else {
		l.log.Warn("cannot fetch a record to mend it", "record", f.key, "error", f.err)
	}
	if f.done != nil {
		if outcome == nil {
			outcome = err
		}
		f.done <- outcome
	}
	return err
}

// mendOne returns what to tell a caller of Retry, and what ends the session.
func (l *Local) mendOne(f fetch) (outcome, err error) {
	if len(f.page.Records) == 0 {
		l.absent[f.key] = f.page.Revision
		return nil, l.removeAbsent()
	}
	r := f.page.Records[0]
	if needed, err := l.needsMending(r.Key); err != nil || !needed {
		return secret.Errorf(secret.CodeNotFound, "record %q is not in quarantine", r.Key), err
	}
	m := mark{phase: applyingBatch, through: max(l.meta.Applied, r.Revision)}
	mended := false
	err = l.write(m, true, func(t *txn) error {
		key := []byte(r.Key)
		q, err := t.quarantineOf(key)
		if err != nil {
			return err
		}
		damaged := isDamaged(t.records, key)
		if q != nil && f.done != nil {
			if err := t.lift(key); err != nil {
				return err
			}
		}
		have, ok, exists := t.lookup(key)
		if ok && have.revision >= r.Revision {
			return nil
		}
		if refused := check(r.Key, r.Value); refused != nil {
			outcome = refused
		}
		mended = damaged && outcome == nil
		return t.apply(key, record.Change{Stored: r}, exists)
	})
	if err == nil && mended {
		l.status.update(func(p *Position) { p.CorruptionsMended++ })
	}
	return outcome, err
}

// needsMending reports whether a record is damaged or quarantined. It spares a
// commit for each read that found the same damage.
func (l *Local) needsMending(key record.Key) (needed bool, err error) {
	err = l.inspect(func(s *snapshot) error {
		needed = isDamaged(s.records, []byte(key)) || s.tx.Bucket(quarantineBucket).Get([]byte(key)) != nil
		return nil
	})
	return needed, err
}

// isDamaged reports whether there is a local copy that fails its checksum.
func isDamaged(records *bolt.Bucket, key []byte) bool {
	at, ok := place(nil, record.Key(key))
	if !ok {
		return false
	}
	b := records.Get(at)
	if b == nil {
		return false
	}
	_, err := decodeValue(at, b)
	return err != nil
}

// removeAbsent deletes damaged copies of records that the source did not have,
// and lifts their quarantine, once the feed has passed the revision at which the
// source was asked: before that the feed may still create and delete them, and
// they must not come back even for a moment.
func (l *Local) removeAbsent() error {
	var keys []record.Key
	for key, revision := range l.absent {
		if l.meta.Applied >= revision {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	keyDamaged := false
	err := l.write(mark{}, false, func(t *txn) error {
		for _, k := range keys {
			key := []byte(k)
			if err := t.lift(key); err != nil {
				return err
			}
			if !isDamaged(t.records, key) {
				continue
			}
			keyDamaged = true
			if err := t.delete(key, true); err != nil {
				return err
			}
			t.changes = append(t.changes, record.Change{Stored: record.Stored{Key: k, Revision: l.absent[k]}, Deleted: true})
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, k := range keys {
		delete(l.absent, k)
	}
	if keyDamaged {
		return errKeyDamaged
	}
	return nil
}
