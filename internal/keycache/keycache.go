// Package keycache keeps unwrapped data keys on disk, sealed under a key file that
// the operator keeps elsewhere, so that a process can start and serve while its key
// service is away. Whoever has the file of the cache and the key file has the keys.
package keycache

import (
	"crypto/cipher"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	"github.com/lifeboat-secrets/lifeboat/internal/pki"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// MaxEntries bounds a cache; the oldest entries make room.
const MaxEntries = 20_000

// maxAhead is how far ahead of the clock the time of an entry may be.
const maxAhead = time.Minute

// ID names a data key.
type ID struct {
	Scope      string
	Generation uint32
}

// Options of a Cache; all are required but Now.
type Options struct {
	// Path is the file of the cache. Only one process may use it.
	Path string
	// KeyFile has 32 to 4096 random bytes, readable by its owner alone.
	KeyFile string
	// DataDir must not hold the key file.
	DataDir string
	// MaxAge is the age from which an entry is refused, counted from when the key
	// service was asked.
	MaxAge time.Duration
	// Region is the one that the keys are of.
	Region secret.RegionName
	// Now is the clock of ages; nil means time.Now.
	Now func() time.Time
}

// Cache is a set of sealed data keys and its file. Its methods are safe for
// concurrent use; on a nil Cache they do nothing. What Add and Drop change is on
// disk only after Write.
type Cache struct {
	opts    Options
	secret  []byte // of the key file
	changed chan struct{}
	writing sync.Mutex // held by Write and Wipe
	hits    atomic.Uint64

	mu        sync.Mutex // guards the rest
	book      *book
	confirmed bool // the region has the book's incarnation
	dirty     bool
	expired   bool // entries were too old, and none was added since
	evicted   uint64
	readErr   error // the file cannot be used; until it is written anew
	writeErr  error
}

// book is what is sealed under one key: all of one incarnation.
type book struct {
	header
	aead    cipher.AEAD
	entries map[ID]entry
}

// entry is a sealed data key.
type entry struct {
	digest    [digestBytes]byte // of the wrapped key
	masterKey string            // that wraps it
	asked     int64             // in Unix nanoseconds
	sealed    [sealedBytes]byte
}

// Open reads the key file, and the file of the cache if there is one. A file of the
// cache that cannot be used is an error of Usable and Status, not of Open. Errors:
// secret.CodeInvalid, caused by ErrKeyFile.
func Open(o Options) (*Cache, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	content, err := readKeyFile(o.KeyFile, o.DataDir)
	if err != nil {
		return nil, err
	}
	c := &Cache{opts: o, secret: content, changed: make(chan struct{}, 1)}
	c.book, c.readErr = c.read()
	return c, nil
}

// SetIncarnation says which life of the region the keys are of. Until it is known
// nothing is found; entries of another are dropped. Empty changes nothing.
func (c *Cache) SetIncarnation(incarnation secret.Incarnation) error {
	if c == nil || incarnation == "" {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.book == nil || c.book.incarnation != string(incarnation) {
		b, err := c.newBook(string(incarnation))
		if err != nil {
			return err
		}
		c.touch(c.book != nil)
		c.book = b
	}
	c.confirmed = true
	return nil
}

// Entry is a data key that was sealed and is not in the cache yet.
type Entry struct {
	id   ID
	of   *book
	made entry
}

// Seal seals a data key that the key service has unwrapped when it was asked at a
// time; nil if it cannot be kept. It keeps no reference to raw.
func (c *Cache) Seal(id ID, wrapped kms.Wrapped, raw []byte, asked time.Time) *Entry {
	if c == nil || len(raw) != keyBytes {
		return nil
	}
	c.mu.Lock()
	b, confirmed := c.book, c.confirmed
	c.mu.Unlock()
	if !confirmed || !fits(id, wrapped.MasterKey) {
		return nil
	}
	e := entry{digest: digestOf(wrapped), masterKey: wrapped.MasterKey, asked: asked.UnixNano()}
	copy(e.sealed[:], b.aead.Seal(nil, nil, raw, b.associated(id, &e)))
	return &Entry{id: id, of: b, made: e}
}

// Add puts a sealed key into the cache.
func (c *Cache) Add(e *Entry) {
	if c == nil || e == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.book != e.of {
		return // of another life
	}
	if _, ok := c.book.entries[e.id]; !ok && len(c.book.entries) >= MaxEntries {
		c.book.evict()
		c.evicted++
	}
	c.book.entries[e.id] = e.made
	c.expired = false
	c.touch(true)
}

// evict removes the oldest entry.
func (b *book) evict() {
	var oldest ID
	first := true
	for id, e := range b.entries {
		if first || e.asked < b.entries[oldest].asked {
			oldest, first = id, false
		}
	}
	delete(b.entries, oldest)
}

// Find returns a data key, and until when it may be used; the caller wipes it. The
// key must have been unwrapped out of the same bytes. Errors, all
// secret.CodeKeyUnavailable but for the last: ErrMissing, ErrExpired; ErrTampered
// is secret.CodeTampered.
func (c *Cache) Find(id ID, wrapped kms.Wrapped) (raw []byte, until time.Time, err error) {
	if c == nil {
		return nil, time.Time{}, missing(id)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.confirmed {
		return nil, time.Time{}, missing(id)
	}
	e, ok := c.book.entries[id]
	if !ok || e.digest != digestOf(wrapped) || e.masterKey != wrapped.MasterKey {
		return nil, time.Time{}, missing(id)
	}
	if !c.fresh(&e) {
		c.expired = true
		return nil, time.Time{}, c.tooOld()
	}
	raw, err = c.book.aead.Open(nil, nil, e.sealed[:], c.book.associated(id, &e))
	if err != nil {
		return nil, time.Time{}, c.tampered("a data key in it does not open")
	}
	return raw, time.Unix(0, e.asked).Add(c.opts.MaxAge), nil
}

// Used counts that a key that was found is used.
func (c *Cache) Used() { c.hits.Add(1) }

func (c *Cache) fresh(e *entry) bool {
	age := c.opts.Now().Sub(time.Unix(0, e.asked))
	return age < c.opts.MaxAge && age >= -maxAhead
}

// Drop removes the entries that match: whose data key's record is gone or another.
func (c *Cache) Drop(match func(ID) bool) {
	if c != nil {
		c.drop(func(id ID, _ *entry) bool { return match(id) })
	}
}

// Refused removes all entries that a master key wraps: the key service refuses it.
func (c *Cache) Refused(masterKey string) {
	if c != nil {
		c.drop(func(_ ID, e *entry) bool { return e.masterKey == masterKey })
	}
}

// Prune removes the entries that are too old, and those whose data key is no longer
// wrapped as it was: wrapped returns how it is, or false if there is none. It is
// called without a lock; if it fails, nothing is removed.
func (c *Cache) Prune(wrapped func(ID) (kms.Wrapped, bool, error)) error {
	if c == nil {
		return nil
	}
	gone := map[ID][digestBytes]byte{}
	for id, e := range c.snapshot() {
		now, ok, err := wrapped(id)
		if err != nil {
			return err
		}
		if !ok || e.digest != digestOf(now) {
			gone[id] = e.digest
		}
	}
	c.drop(func(id ID, e *entry) bool {
		digest, ok := gone[id]
		old := !c.fresh(e)
		c.expired = c.expired || old
		return old || ok && digest == e.digest // else it was added since
	})
	return nil
}

func (c *Cache) drop(match func(ID, *entry) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.book == nil {
		return
	}
	for id, e := range c.book.entries {
		if match(id, &e) {
			delete(c.book.entries, id)
			c.touch(true)
		}
	}
}

// touch notes that there is something to write.
func (c *Cache) touch(changed bool) {
	if !changed {
		return
	}
	c.dirty = true
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// Changed receives when there is something to write.
func (c *Cache) Changed() <-chan struct{} { return c.changed }

// Usable returns nil if at least one entry can stand in for the key service now.
// Errors: why the file cannot be used (ErrTampered, ErrOtherKey, ErrUnreadable, ErrForeign),
// ErrExpired, ErrEmpty.
func (c *Cache) Usable() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.readErr != nil:
		return c.readErr
	case c.book == nil || len(c.book.entries) == 0:
		if c.expired {
			return c.tooOld()
		}
		return c.empty()
	}
	for _, e := range c.book.entries {
		if c.fresh(&e) {
			return nil
		}
	}
	return c.tooOld()
}

// Status is how a cache is.
type Status struct {
	// Entries is the number of keys, Oldest when the key service was asked for the
	// one that was not asked for the longest; zero for none.
	Entries int
	Oldest  time.Time
	// Hits are keys that were taken from the cache, Evicted those that made room.
	Hits, Evicted uint64
	// Err is why the file cannot be used or was not written, or that entries were
	// too old and none is left.
	Err error
}

// Status returns how the cache is; the zero Status if c is nil.
func (c *Cache) Status() Status {
	if c == nil {
		return Status{}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Status{Hits: c.hits.Load(), Evicted: c.evicted, Err: c.readErr}
	if s.Err == nil {
		s.Err = c.writeErr
	}
	usable := false
	if c.book != nil {
		s.Entries = len(c.book.entries)
		for _, e := range c.book.entries {
			usable = usable || c.fresh(&e)
			if asked := time.Unix(0, e.asked); s.Oldest.IsZero() || asked.Before(s.Oldest) {
				s.Oldest = asked
			}
		}
	}
	if s.Err == nil && !usable && (c.expired || s.Entries > 0) {
		s.Err = c.tooOld()
	}
	return s
}

// Write puts the cache on disk if it has changed: the file is replaced at once, and
// removed if there are no entries. Errors: secret.CodeUnavailable, and ErrForeign,
// secret.CodeInvalid; the file is then as it was.
func (c *Cache) Write() error {
	if c == nil {
		return nil
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	c.mu.Lock()
	if !c.dirty || c.book == nil {
		c.mu.Unlock()
		return nil
	}
	c.dirty = false
	var data []byte
	if len(c.book.entries) > 0 {
		data = c.book.encode()
	}
	c.mu.Unlock()
	err := replace(c.opts.Path, data)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writeErr = err
	if err != nil {
		c.dirty = true
		return err
	}
	c.readErr = nil
	return nil
}

// Wipe drops all entries and removes the file at once. Errors:
// secret.CodeUnavailable.
func (c *Cache) Wipe() error {
	if c == nil {
		return nil
	}
	c.drop(func(ID, *entry) bool { return true })
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := Remove(c.opts.Path); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readErr = nil
	return nil
}

// Remove removes the file of a cache that is not used any more, if there is one. It
// leaves a file that is something else.
// Errors: secret.CodeUnavailable.
func Remove(path string) error {
	if err := removeUnfinished(path); err != nil {
		return err
	}
	return removeCache(path)
}

// removeUnfinished removes what was being written in a crash.
func removeUnfinished(path string) error {
	left, err := pki.Unfinished(path)
	if err != nil && !os.IsNotExist(err) {
		return secret.Wrap(secret.CodeUnavailable, err, "cannot look for the sealed key cache "+path)
	}
	for _, name := range left {
		if err := removeCache(name); err != nil {
			return err
		}
	}
	return nil
}

func removeCache(name string) error {
	ours, err := isCache(name)
	if err == nil && ours {
		err = os.Remove(name)
	}
	if err != nil && !os.IsNotExist(err) {
		return secret.Wrap(secret.CodeUnavailable, err, "cannot remove the sealed key cache "+name)
	}
	return nil
}

func (c *Cache) snapshot() map[ID]entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.book == nil {
		return nil
	}
	all := make(map[ID]entry, len(c.book.entries))
	for id, e := range c.book.entries {
		all[id] = e
	}
	return all
}
