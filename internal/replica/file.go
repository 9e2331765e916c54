package replica

import (
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

var (
	recordsBucket    = []byte("records")
	metaBucket       = []byte("meta")
	quarantineBucket = []byte("quarantine")
	suspectsBucket   = []byte("suspects")
)

// leastMapped is how much address space a file is mapped into at least, in bytes.
// bbolt waits for all read transactions before it maps a larger space, which
// would hold up reads and commits; address space costs no memory.
const leastMapped = 16 << 30

// mappedFor returns the address space for the file at path: room to grow to four
// times its size.
func mappedFor(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return leastMapped
	}
	return max(leastMapped, 4*info.Size())
}

// file is one open bbolt database and the snapshot of it that reads share.
type file struct {
	db      *bolt.DB
	current atomic.Pointer[snapshot]
	isBad   atomic.Bool
	// stuck is set if bbolt panicked with its locks held: it cannot be closed.
	stuck bool
	// mapped is how much address space the file is mapped into.
	mapped  int64
	closing sync.Mutex
	memory  memory
	// commits counts those that are done, by one goroutine; snapshots those that were begun.
	commits, snapshots atomic.Uint64
}

// errDamaged is the cause of every failure that a damaged file explains.
var errDamaged = errors.New("the local store's file is damaged")

// errKeyTooLong says that a page's length of a key is damaged: no key of that
// length can have been written, so none can be fetched to mend it.
var errKeyTooLong = damage("a key is longer than any can be")

func damage(cause any) error { return fmt.Errorf("%w: %v", errDamaged, cause) }

// Each function that touches the mapped file begins with
//
//	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
//
// A page number that points past the end of a damaged file is a memory fault,
// which would otherwise end the process; so it is a panic that can be recovered.

// isFault reports whether a recovered panic is a memory fault.
func isFault(p any) bool {
	err, ok := p.(runtime.Error)
	if !ok {
		return false
	}
	_, ok = err.(interface{ Addr() uintptr })
	return ok
}

// openFile opens the database, moving a damaged one aside.
func (l *Local) openFile() (*file, error) {
	f, err := open(l.opts.Path, l.opts.NoSync)
	if err == nil || !errors.Is(err, errDamaged) {
		return f, err
	}
	if err := l.moveAside(err); err != nil {
		return nil, err
	}
	return open(l.opts.Path, l.opts.NoSync)
}

// moveAside keeps the damaged file under another name, in place of the last one.
func (l *Local) moveAside(cause error) error {
	aside := l.opts.Path + ".damaged"
	l.log.Error("local store damaged: moved aside, rebuilding it from the store", "file", aside, "cause", cause)
	l.status.update(func(p *Position) { p.Rebuilds++ })
	if err := os.Rename(l.opts.Path, aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return secret.Wrap(secret.CodeUnavailable, err, "cannot move the damaged local store aside")
	}
	return nil
}

func open(path string, noSync bool) (f *file, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			f, err = nil, damage(p)
		}
	}()
	space := mappedFor(path)
	db, err := bolt.Open(path, 0o600, &bolt.Options{
		// A file that grows is synced as a whole otherwise, also without fsync of commits.
		Timeout: time.Second, NoSync: noSync, NoGrowSync: noSync, InitialMmapSize: int(space), NoStatistics: true,
		// A synced free list makes opening independent of the file's size.
		FreelistType: bolt.FreelistMapType, NoFreelistSync: false,
	})
	if err != nil {
		return nil, openError(err)
	}
	f = &file{db: db, mapped: space, memory: memory{seed: maphash.MakeSeed()}}
	err = f.update(func(tx *bolt.Tx) error {
		for _, name := range [][]byte{recordsBucket, metaBucket, quarantineBucket, suspectsBucket} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		_, _, err = f.state()
	}
	if err != nil {
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

// state reads what the file says about itself.
func (f *file) state() (m meta, quarantined int64, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = damage(p)
		}
	}()
	err = f.db.View(func(tx *bolt.Tx) error {
		if m, err = readMeta(tx); err != nil {
			return err
		}
		return tx.Bucket(quarantineBucket).ForEach(func(_, _ []byte) error {
			quarantined++
			return nil
		})
	})
	return m, quarantined, err
}

func openError(err error) error {
	_, isPath := errors.AsType[*fs.PathError](err)
	_, isErrno := errors.AsType[syscall.Errno](err)
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return secret.Wrap(secret.CodeUnavailable, err, "another process has the local store open")
	case isPath || isErrno:
		return secret.Wrap(secret.CodeUnavailable, err, "cannot open the local store")
	}
	return damage(err)
}

// update runs fn in a write transaction. A panic of bbolt is damage.
func (f *file) update(fn func(*bolt.Tx) error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	var tx *bolt.Tx
	defer func() {
		if p := recover(); p != nil {
			err = damage(p)
			f.abandon(tx)
		}
	}()
	if tx, err = f.db.Begin(true); err != nil {
		return secret.Wrap(secret.CodeUnavailable, err, "cannot write the local store")
	}
	if err := fn(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	err = tx.Commit()
	if (errors.Is(err, syscall.EFBIG) || errors.Is(err, syscall.EINVAL)) && !f.mayNotGrow() {
		f.isBad.Store(true) // a page number beyond what any file can have
		return damage(err)
	}
	if err != nil {
		return secret.Wrap(secret.CodeUnavailable, err, "cannot write the local store")
	}
	return nil
}

// mayNotGrow reports whether the process or the file system allows no larger file.
func (f *file) mayNotGrow() bool {
	info, err := os.Stat(f.db.Path())
	if err != nil {
		return false
	}
	if err := os.Truncate(f.db.Path(), info.Size()+int64(f.db.AllocSize)); err != nil {
		return errors.Is(err, syscall.EFBIG)
	}
	_ = os.Truncate(f.db.Path(), info.Size()) // else it is longer than it need be
	return false
}

// abandon ends a write transaction that panicked; if that panics too, bbolt's
// locks stay held and the file can only be left to the end of the process.
func (f *file) abandon(tx *bolt.Tx) {
	f.isBad.Store(true)
	defer func() {
		if recover() != nil {
			f.stuck = true
		}
	}()
	if tx == nil || tx.DB() == nil {
		f.stuck = true
		return
	}
	f.stuck = tx.Rollback() != nil
}

// close waits for the views in use and closes the file.
func (f *file) close() (err error) {
	f.closing.Lock()
	defer f.closing.Unlock()
	f.share(nil)
	if f.stuck {
		return nil
	}
	defer func() {
		if p := recover(); p != nil {
			err = damage(p)
		}
	}()
	return f.db.Close()
}
