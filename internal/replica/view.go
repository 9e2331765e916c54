package replica

import (
	"bytes"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"

	bolt "go.etcd.io/bbolt"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// snapshot is one read transaction that all readers share until the next
// commit: to begin one per read costs ten allocations and two global locks.
// bbolt's read transactions hold no state of their own that reads change.
type snapshot struct {
	tx      *bolt.Tx
	records *bolt.Bucket
	applied int64
	// id tells it from all others of the file. commit is the last one that it is sure to
	// hold.
	id, commit uint64
	// quarantine is asked only if there is anything in it.
	quarantine  *bolt.Bucket
	quarantines bool
	refs        atomic.Int64 // 1 for being current, 1 for each view
	views       sync.Pool    // of *view
}

func (f *file) newSnapshot() (*snapshot, error) {
	commit := f.commits.Load()
	tx, err := f.db.Begin(false)
	if err != nil {
		return nil, err
	}
	s := &snapshot{tx: tx, records: tx.Bucket(recordsBucket), id: f.snapshots.Add(1), commit: commit}
	if s.records == nil {
		return nil, errors.Join(damage("no records bucket"), tx.Rollback())
	}
	m, err := readMeta(tx)
	if err != nil {
		return nil, errors.Join(err, tx.Rollback())
	}
	s.applied = m.Applied
	if s.quarantine = tx.Bucket(quarantineBucket); s.quarantine == nil {
		return nil, errors.Join(damage("no quarantine bucket"), tx.Rollback())
	}
	first, _ := s.quarantine.Cursor().First()
	s.quarantines = first != nil
	s.refs.Store(1)
	s.views.New = func() any { return &view{snapshot: s, cursor: s.records.Cursor()} }
	return s, nil
}

func (s *snapshot) release() {
	if s.refs.Add(-1) == 0 {
		_ = s.tx.Rollback() // fails only if it was closed before
	}
}

// share makes s the snapshot that reads use and lets go of the last one.
func (f *file) share(s *snapshot) {
	if last := f.current.Swap(s); last != nil {
		last.release()
	}
}

// acquire returns a snapshot that the caller must release.
func (f *file) acquire() (*snapshot, error) {
	for {
		s := f.current.Load()
		if s == nil {
			return f.newSnapshot()
		}
		for n := s.refs.Load(); n > 0; n = s.refs.Load() {
			if s.refs.CompareAndSwap(n, n+1) {
				return s, nil
			}
		}
	}
}

// renew makes reads see what has been committed.
func (f *file) renew() (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			f.isBad.Store(true)
			err = damage(p)
		}
	}()
	s, err := f.newSnapshot()
	if err != nil {
		return err
	}
	if s.tx.Size() > f.mapped/4*3 {
		// A commit that needs more address space would wait for the shared
		// snapshot, which waits for the commit: let each view have its own.
		f.share(nil)
		s.release()
		return nil
	}
	f.share(s)
	return nil
}

// view reads one snapshot. It belongs to one call of View.
type view struct {
	local    *Local
	file     *file
	snapshot *snapshot
	cursor   *bolt.Cursor
	// at is where the record lies that is looked for, found where the cursor stands
	// since it found the last one; empty if it stands nowhere.
	at, found []byte
}

var errRebuilding = secret.Errorf(secret.CodeUnavailable, "the local store was damaged and is being rebuilt")

// View calls fn with a consistent view of the local store, which is valid only
// until fn returns; so are the values of the records it returns. A long call
// keeps the file from reusing space. Errors besides those of fn: CodeUnavailable
// when the file is damaged or closed. The view's Get and Scan return CodeCorrupt
// for a record that fails its checksum, which is then fetched anew from the
// source in the background.
func (l *Local) View(fn func(record.View) error) (err error) {
	f := l.file.Load()
	if f == nil {
		return errClosed
	}
	if f.isBad.Load() {
		return errRebuilding
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	s, err := f.acquire()
	if err != nil {
		return secret.Wrap(secret.CodeUnavailable, err, "cannot read the local store")
	}
	v := s.views.Get().(*view)
	v.local, v.file, v.found = l, f, v.found[:0]
	defer func() {
		s.views.Put(v)
		s.release()
		if p := recover(); p != nil {
			if !isFault(p) {
				panic(p)
			}
			err = l.found(f, p)
		}
	}()
	return fn(v)
}

// inspect calls fn with the shared snapshot. Any panic in it is damage.
func (l *Local) inspect(fn func(*snapshot) error) error {
	return l.View(func(rv record.View) (err error) {
		v := rv.(*view)
		defer v.recovered(&err)
		return fn(v.snapshot)
	})
}

// found records that the file is damaged and has Run rebuild it.
func (l *Local) found(f *file, cause any) error {
	f.isBad.Store(true)
	select {
	case l.damaged <- struct{}{}:
	default:
	}
	return secret.Wrap(secret.CodeUnavailable, damage(cause), "cannot read the local store")
}

// Get returns the record, if it exists. While the copy holds a record that fails
// its checksum, one that is not found is CodeCorrupt: the damage may lie in its
// key. So is a credential, principal, policy or account in quarantine.
func (v *view) Get(key record.Key) (record.Stored, bool, error) {
	if err := v.withheld(key); err != nil {
		return record.Stored{}, false, err
	}
	at, ok := place(v.at[:0], key)
	if v.at = at; !ok {
		return record.Stored{}, false, nil
	}
	k, b, err := v.find()
	if err == nil && k == nil && v.local.doubtful.Load() {
		err = errMayBeDamaged
	}
	if err != nil || k == nil {
		return record.Stored{}, false, err
	}
	lv, err := decodeValue(k, b)
	if err != nil {
		return record.Stored{}, false, v.local.corrupt(key, err)
	}
	return record.Stored{Key: key, Value: lv.value, Revision: lv.revision}, true, nil
}

// find returns what is stored at v.at, nil if nothing is.
func (v *view) find() (k, b []byte, err error) {
	// Behind a secret whose record was read lies its oldest version, mostly the only one.
	if len(v.found) > 0 && len(v.at) > len(v.found) && bytes.HasPrefix(v.at, v.found) {
		if k, b, err = v.next(); err != nil || bytes.Equal(k, v.at) {
			v.found = v.found[:0]
			return k, b, err
		}
	}
	if k, b, err = v.seek(v.at); err != nil || !bytes.Equal(k, v.at) {
		return nil, nil, err
	}
	v.at, v.found = v.found, v.at
	return k, b, nil
}

var errMayBeDamaged = secret.Errorf(secret.CodeCorrupt, "the local store lacks the record, and one of its records is damaged")

// Scan visits the records with start <= key < end; an empty end means no end. It is CodeCorrupt if a credential, principal, policy or account
// among them is in quarantine.
func (v *view) Scan(start, end record.Key, visit func(record.Stored) bool) error {
	if err := v.withheldIn(start, end); err != nil {
		return err
	}
	w := walk{cursor: v.snapshot.records.Cursor(), end: end} // visit may read through this view
	k, b, err := v.step(func() ([]byte, []byte) { return w.first(start) })
	for ; err == nil && k != nil; k, b, err = v.step(w.next) {
		key := keyAt(k)
		lv, err := decodeValue(k, b)
		if err != nil {
			return v.local.corrupt(key, err)
		}
		if !visit(record.Stored{Key: key, Value: lv.value, Revision: lv.revision}) {
			return nil
		}
	}
	return err
}

// Revision returns the revision up to which the view holds every change. It may
// hold later ones.
func (v *view) Revision() int64 { return v.snapshot.applied }

// another returns a view of the same snapshot with a cursor of its own.
func (v *view) another() *view {
	return &view{local: v.local, file: v.file, snapshot: v.snapshot, cursor: v.snapshot.records.Cursor()}
}

func (v *view) seek(at []byte) (k, b []byte, err error) {
	v.found = v.found[:0]
	return v.step(func() ([]byte, []byte) { return v.cursor.Seek(at) })
}

func (v *view) next() (k, b []byte, err error) { return v.step(v.cursor.Next) }

// step moves a cursor of the snapshot.
func (v *view) step(move func() (k, b []byte)) (k, b []byte, err error) {
	defer v.recovered(&err)
	k, b = move()
	return k, b, v.checkKey(k)
}

// checkKey is asked before a key is looked at: its length comes from a page.
func (v *view) checkKey(k []byte) error {
	if len(k) > bolt.MaxKeySize {
		return v.local.found(v.file, errKeyTooLong)
	}
	return nil
}

// recovered turns a panic of bbolt, which is how it meets a damaged page, into
// an error.
func (v *view) recovered(err *error) {
	if p := recover(); p != nil {
		*err = v.local.found(v.file, p)
	}
}

// corrupt counts a record that failed its checksum and has it fetched anew.
func (l *Local) corrupt(key record.Key, cause error) error {
	l.doubtful.Store(true)
	l.status.update(func(p *Position) { p.CorruptionsFound++ })
	select {
	case l.heals <- key:
	default: // the queue is full; the next read or scrub finds it again
	}
	l.log.Error("record of the local store fails its checksum", "record", key)
	return secret.Wrap(secret.CodeCorrupt, cause, fmt.Sprintf("record %q of the local store", key))
}
