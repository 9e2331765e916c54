package replica

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Quarantined is a record of which the local store could not apply a state.
type Quarantined struct {
	Record record.Key
	// Revision is that of the state that was not applied.
	Revision int64
	Code     secret.Code
	// Reason is for people; it contains nothing secret.
	Reason string
	// Suspected is set if the process crashed twice while applying the state.
	Suspected bool
	At        time.Time
}

// crashesToQuarantine is how often the process may crash on one state of a
// record (DESIGN: twice).
const crashesToQuarantine = 2

func decodeQuarantined(key, b []byte) (*Quarantined, error) {
	v, err := decodeValue(key, b)
	if err != nil {
		return nil, damage("a quarantine entry fails its checksum")
	}
	q := &Quarantined{}
	if err := json.Unmarshal(v.value, q); err != nil {
		return nil, damage(err)
	}
	return q, nil
}

// quarantineOf returns the entry of a record, nil if it has none.
func (t *txn) quarantineOf(key []byte) (*Quarantined, error) {
	if b := get(t.inQuarantine, key); b != nil {
		return decodeQuarantined(key, b)
	}
	return nil, nil
}

// hold puts a record into quarantine.
func (t *txn) hold(key []byte, q Quarantined) error {
	q.At = t.local.opts.Now().UTC()
	b, err := json.Marshal(q)
	if err != nil {
		return err
	}
	if t.quarantine.Get(key) == nil {
		t.quarantined++
	}
	t.reports = append(t.reports, q)
	t.memory.change(record.Key(key), t.commit) // it may be withheld from now on
	return t.quarantine.Put(key, encodeValue(key, localValue{revision: q.Revision, value: b}))
}

// lift ends the quarantine of a record. Nothing is remembered of it that was withheld.
func (t *txn) lift(key []byte) error {
	if t.quarantine.Get(key) == nil {
		return nil
	}
	t.quarantined--
	return t.quarantine.Delete(key)
}

// Quarantined lists the records of which a state could not be applied, in the
// order of their keys. There are none while a damaged file is being rebuilt.
func (l *Local) Quarantined() []Quarantined {
	var list []Quarantined
	err := l.inspect(func(s *snapshot) error {
		return s.tx.Bucket(quarantineBucket).ForEach(func(k, b []byte) error {
			q, err := decodeQuarantined(k, b)
			if err == nil {
				list = append(list, *q)
			}
			return err
		})
	})
	if err != nil {
		l.log.Warn("cannot list the quarantined records", "error", err)
	}
	return list
}

// afterCrash reads what the last process was applying when it ended.
func (l *Local) afterCrash(last mark) error {
	if last.phase == idle {
		return nil
	}
	l.isolate = &last
	l.log.Warn("the process ended while it was applying", "record", last.key, "revision", last.revision, "through", last.through)
	return l.write(mark{}, false, func(t *txn) error {
		if last.key == "" || t.hasApplied(last) {
			return nil
		}
		return t.suspect(last)
	})
}

// hasApplied reports whether the crash came after the commit.
func (t *txn) hasApplied(m mark) bool {
	have, ok, _ := t.lookup([]byte(m.key))
	return ok && have.revision >= m.revision || m.phase == applyingBatch && t.meta.Applied >= m.revision
}

// suspect counts a crash on a state of a record and quarantines it at the limit.
func (t *txn) suspect(m mark) error {
	key := []byte(m.key)
	crashes := byte(1)
	if v, err := decodeValue(key, t.suspects.Get(key)); err == nil && v.revision == m.revision && len(v.value) == 1 {
		crashes += v.value[0]
	}
	if crashes < crashesToQuarantine {
		return t.suspects.Put(key, encodeValue(key, localValue{revision: m.revision, value: []byte{crashes}}))
	}
	if err := t.suspects.Delete(key); err != nil {
		return err
	}
	return t.hold(key, Quarantined{
		Record: m.key, Revision: m.revision, Code: secret.CodeInternal, Suspected: true,
		Reason: "suspected poison pill: the process crashed twice while applying this state",
	})
}

// retry is a request to fetch a quarantined record again.
type retry struct {
	key  record.Key
	done chan<- error
}

// Retry fetches a quarantined record, or those of which it is the record.Subject,
// from the source and applies them, also if they were suspected poison pills. It
// needs Run and a reachable source. Errors: CodeNotFound if there is none in
// quarantine; the reason if one stays there.
func (l *Local) Retry(ctx context.Context, key record.Key) error {
	err, tried := error(nil), false
	for _, q := range l.Quarantined() {
		if q.Record == key || record.Subject(q.Record) == key {
			err, tried = errors.Join(err, l.retryOne(ctx, q.Record)), true
		}
	}
	if !tried {
		return l.retryOne(ctx, key)
	}
	return err
}

func (l *Local) retryOne(ctx context.Context, key record.Key) error {
	done := make(chan error, 1)
	select {
	case l.retries <- retry{key: key, done: done}:
	case <-l.stopped.Done():
		return errClosed
	case <-ctx.Done():
		return secret.Wrap(secret.CodeUnavailable, ctx.Err(), "the source cannot be reached")
	}
	select {
	case err := <-done:
		return err
	case <-l.stopped.Done():
		return errClosed
	case <-ctx.Done():
		return secret.Wrap(secret.CodeOutcomeUnknown, ctx.Err(), "the record is still being fetched")
	}
}
