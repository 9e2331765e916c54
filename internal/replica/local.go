package replica

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Source is the authoritative store of the shard.
type Source interface {
	// Page reads the first records of start <= key < end, at most limit, at the
	// latest revision of the moment. An empty end means no end.
	Page(ctx context.Context, start, end record.Key, limit int) (record.Page, error)
	// Feed calls apply with every change after the revision, in order, until ctx
	// is done, apply returns an error or the connection is lost. It returns
	// record.ErrCompacted or record.ErrAhead if it cannot start there. While there
	// are no changes it calls apply with an empty batch regularly, which counts as
	// contact. Batches are not reused after apply has returned.
	Feed(ctx context.Context, after int64, apply func(record.Batch) error) error
}

// Options configure a local store. Path and Source are required.
type Options struct {
	// Path of the bbolt file. Two files stand next to it: Path.applying, which
	// says what is being applied, and Path.damaged, the last file that was found
	// damaged.
	Path   string
	Source Source
	Logger *slog.Logger
	// Now is the clock of Position.LastContact; time.Now if nil.
	Now func() time.Time
	// Boot is the clock of Age: what has passed since some moment, whatever is
	// done to the time of day; the time since the machine was booted if nil.
	Boot func() time.Duration
	// NoSync leaves out the fsync of each commit: after a crash of the machine
	// the file may be damaged and is then rebuilt from the store.
	NoSync bool
	// OnApply is called with what a commit changed, after the commit and before
	// WaitApplied returns for it, from one goroutine. It must not block and must
	// not keep the slice. It also gets the records of the outbox, which are not
	// stored locally; those it may get more than once or, after a crash, not at
	// all.
	OnApply func([]record.Change)
	// OnResync is called when a comparison of the copy with the whole store has
	// ended, also the one that fills a rebuilt file: from the goroutine of OnApply,
	// after it was called with what the comparison changed, and when Position and
	// View show the result. It must not block.
	OnResync func()
	// Admit, if set, is called with the gate record (record.FormatsKey) of the copy
	// and of the source before anything that it allows is applied. An error is that
	// of Open or Run, which end: this release must not touch the shard.
	Admit func(gate []byte) error
	// ScrubPeriod is the most that passes between two checks of the whole file;
	// 24 h if 0. A small file is checked every second, a larger one so seldom that
	// it costs about 1 % of a processor.
	ScrubPeriod time.Duration
	// RetryMin and RetryMax bound the pause before a lost source is tried again;
	// 50 ms and 5 s if 0.
	RetryMin, RetryMax time.Duration
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Boot == nil {
		o.Boot = bootClock()
	}
	if o.OnApply == nil {
		o.OnApply = func([]record.Change) {}
	}
	if o.OnResync == nil {
		o.OnResync = func() {}
	}
	if o.Admit == nil {
		o.Admit = func([]byte) error { return nil }
	}
	o.ScrubPeriod = cmp.Or(o.ScrubPeriod, 24*time.Hour)
	o.RetryMin = cmp.Or(o.RetryMin, 50*time.Millisecond)
	o.RetryMax = max(o.RetryMin, cmp.Or(o.RetryMax, 5*time.Second))
	return o
}

// Local is a local store. Its methods may be called concurrently.
type Local struct {
	opts   Options
	log    *slog.Logger
	marker *marker

	// file is the open database; it is replaced when a damaged one is rebuilt.
	file    atomic.Pointer[file]
	status  status
	heals   chan record.Key
	retries chan retry
	damaged chan struct{}
	// doubtful is set from when a record fails its checksum until a scrub of the
	// whole file finds none that does.
	doubtful atomic.Bool
	// running is held by Run; Close ends it through stop and then takes it.
	running sync.Mutex
	stop    context.CancelFunc
	stopped context.Context

	// What follows belongs to the goroutine of Run.
	meta meta
	// heard is when the copy was last known to be up to date, by the clock Boot.
	heard time.Duration
	// head is the newest revision of the store that it is known to have had.
	head    head
	isolate *mark
	catchUp *catchUp
	absent  map[record.Key]int64
	// commitAfter is when the next commit of what the feed delivers may start.
	commitAfter time.Time
	// lastChanges is how many changes the last batches had.
	lastChanges int
}

// Open opens the local store at o.Path or creates an empty one. A damaged file
// is moved aside and replaced by an empty one, which Run fills from the source.
// It reads the whole file, for two seconds at most. The caller must Close it.
func Open(o Options) (*Local, error) {
	switch {
	case o.Path == "":
		return nil, secret.Invalid("path", "must be set")
	case o.Source == nil:
		return nil, secret.Invalid("source", "must be set")
	}
	o = o.withDefaults()
	if err := os.MkdirAll(filepath.Dir(o.Path), 0o700); err != nil {
		return nil, secret.Wrap(secret.CodeUnavailable, err, "cannot create the directory of the local store")
	}
	l := &Local{
		opts: o, log: o.Logger, absent: map[record.Key]int64{},
		heals: make(chan record.Key, 1024), retries: make(chan retry), damaged: make(chan struct{}, 1),
	}
	l.stopped, l.stop = context.WithCancel(context.Background())
	f, err := l.openFile()
	if err != nil {
		return nil, err
	}
	m, last, err := openMarker(o.Path + ".applying")
	if err != nil {
		return nil, errors.Join(secret.Wrap(secret.CodeUnavailable, err, "cannot open the mark of what is being applied"), f.close())
	}
	l.marker = m
	if err := l.install(f); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	if err := l.afterCrash(last); errors.Is(err, errDamaged) {
		l.file.Load().isBad.Store(true) // Run rebuilds it
	} else if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	l.scrubBeforeReads()
	if err := l.admitCopy(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// install makes f the file that is read and written.
func (l *Local) install(f *file) error {
	m, quarantined, err := f.state()
	if err != nil {
		return errors.Join(err, f.close())
	}
	if err := f.renew(); err != nil {
		return errors.Join(err, f.close())
	}
	l.meta, l.catchUp = m, nil
	clear(l.absent)
	l.heard = l.lastHeard(m.Contact)
	// The position first: who finds nothing in an empty file must be able to see
	// that it is not complete.
	l.status.update(func(p *Position) { p.Quarantined = quarantined })
	l.publish()
	l.file.Store(f)
	return nil
}

// Close ends Run, waits for it and for the views in use, and closes the files.
func (l *Local) Close() error {
	l.stop()
	l.running.Lock() // never released: Run cannot start again
	l.status.close()
	f := l.file.Swap(nil)
	if f == nil {
		return errors.Join(l.marker.close())
	}
	return errors.Join(f.close(), l.marker.close())
}
