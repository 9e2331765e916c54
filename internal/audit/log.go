package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const (
	// MaxBacklog bounds the lines of committed mutations that wait in memory
	// while no file takes them: at most 16 MB. Ready refuses new mutations from
	// the first of them on, so only requests then in flight can add to it.
	MaxBacklog = 16384
	// MaxIdentityBytes bounds the names of region and process together.
	MaxIdentityBytes = 64

	probeInterval = time.Second
	syncInterval  = time.Second
)

// Sync says when lines are forced to the disk.
type Sync string

// The ways to synchronise.
const (
	// SyncNone leaves it to the kernel: lines survive a kill -9 but the last
	// ones, some 30 s by Linux defaults, not a loss of power.
	SyncNone Sync = "none"
	// SyncInterval calls fsync every second in the background.
	SyncInterval Sync = "interval"
)

// Options configure a log.
type Options struct {
	// Paths are one or two files. The second takes the lines that the first
	// refuses. Their directories must exist.
	Paths []string
	// Mode of files that Open and Reopen create; default 0600.
	Mode os.FileMode
	// Sync defaults to SyncNone.
	Sync Sync
	// Region and Process name who writes; at most MaxIdentityBytes together.
	Region  secret.RegionName
	Process string
	// Logger learns when a file fails and when it recovers; default: nobody.
	Logger *slog.Logger
}

var errFailing = errors.New("it failed less than a second ago")

// Stats count since Open.
type Stats struct {
	// Lines were taken by a file.
	Lines uint64
	// Fallback is how many of Lines the second file took.
	Fallback uint64
	// WriteErrors are failed writes, SyncErrors failed fsyncs, on any path.
	WriteErrors, SyncErrors uint64
	// Refused are lines that no file took and that were not kept, because their
	// requests could still be refused.
	Refused uint64
	// Lost are lines of committed mutations that found the backlog full.
	Lost uint64
	// Backlog is how many lines wait in memory now.
	Backlog int
}

// Log is an audit log. It is safe for concurrent use.
type Log struct {
	paths    []string
	mode     os.FileMode
	sync     Sync
	identity []byte
	logger   *slog.Logger
	open     opener
	encoders sync.Pool
	gatherer gatherer

	// failing is set while no file takes lines; nextProbe, in Unix nanoseconds,
	// is when that is tried again. Both change under mu only.
	failing   atomic.Bool
	nextProbe atomic.Int64

	mu       sync.Mutex
	files    []*file
	closed   bool
	backlog  [][]byte
	since    time.Time // when it began to fail
	refused  uint64    // not yet told by a line
	lost     uint64    // not yet told by a line
	stats    Stats
	lastErr  error
	stopSync context.CancelFunc
	syncDone chan struct{}
}

// Open opens or creates the files. Errors: secret.CodeInvalid for bad options,
// secret.CodeAuditUnavailable if any of the files cannot be opened.
func Open(o Options) (*Log, error) { return open(o, openFile) }

func open(o Options, opener opener) (*Log, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	l := &Log{paths: o.Paths, mode: o.Mode, sync: o.Sync, logger: o.Logger, open: opener}
	if l.mode == 0 {
		l.mode = 0o600
	}
	if l.logger == nil {
		l.logger = slog.New(slog.DiscardHandler)
	}
	l.encoders.New = func() any { return &encoder{buf: make([]byte, 0, 2*MaxLineBytes)} }
	l.identity = identity(o.Region, o.Process)
	files, err := l.openFiles()
	if err != nil {
		return nil, err
	}
	l.files = files
	if l.sync == SyncInterval {
		ctx, cancel := context.WithCancel(context.Background())
		l.stopSync, l.syncDone = cancel, make(chan struct{})
		go l.syncLoop(ctx)
	}
	return l, nil
}

func (o *Options) check() error {
	switch {
	case len(o.Paths) < 1 || len(o.Paths) > 2:
		return secret.Invalid("audit.paths", "has %d entries; one or two are needed", len(o.Paths))
	case o.Paths[0] == "" || o.Paths[len(o.Paths)-1] == "":
		return secret.Invalid("audit.paths", "contains an empty path")
	case len(o.Paths) == 2 && o.Paths[0] == o.Paths[1]:
		return secret.Invalid("audit.paths", "names the same file twice")
	case o.Sync != "" && o.Sync != SyncNone && o.Sync != SyncInterval:
		return secret.Invalid("audit.sync", "is %q; allowed are none and interval", string(o.Sync))
	}
	encoded := appendText(nil, string(o.Region)+o.Process, MaxLineBytes)
	if len(encoded) > MaxIdentityBytes {
		return secret.Invalid("process.id", "is too long: with the name of the region at most %d bytes", MaxIdentityBytes)
	}
	return nil
}

func (l *Log) openFiles() ([]*file, error) {
	files := make([]*file, 0, len(l.paths))
	for _, path := range l.paths {
		h, torn, err := l.open(path, l.mode)
		if err != nil {
			for _, f := range files {
				_ = f.h.Close()
			}
			return nil, secret.Wrap(secret.CodeAuditUnavailable, err, "cannot open the audit log")
		}
		files = append(files, &file{path: path, h: h, torn: torn})
	}
	return files, nil
}

// Write hands the line of e to the kernel. It returns
// secret.CodeAuditUnavailable if no file took it; then the caller must refuse
// the request, and if e.Committed is set the line is kept for later. Requests that
// can be answered at the same time share a write.
func (l *Log) Write(e *Entry) error {
	c := l.encoders.Get().(*encoder)
	b, end := l.gatherer.add(c.encode(l.identity, e), e.Committed)
	l.encoders.Put(c)
	runtime.Gosched() // other requests that can go on add their lines
	if !b.written.Load() {
		l.write(b)
	}
	return l.gatherer.outcome(b, end)
}

func unavailable(err error) error {
	return secret.Wrap(secret.CodeAuditUnavailable, err, "the audit log cannot be written").
		WithHint("the operator must look at the files named by audit.paths")
}

// put writes lines, after the backlog if the log was failing. It returns how many
// bytes of whole lines were taken.
func (l *Log) put(lines []byte) (taken int, err error) {
	if l.closed {
		return 0, os.ErrClosed
	}
	if l.failing.Load() {
		if err := l.probe(); err != nil {
			return 0, err
		}
	}
	return l.writeAny(lines)
}

// keep remembers a line that no file took, or at least that there was one.
func (l *Log) keep(line []byte, committed bool) {
	switch {
	case !committed:
		l.refused++
		l.stats.Refused++
	case len(l.backlog) < MaxBacklog:
		l.backlog = append(l.backlog, append([]byte(nil), line...))
	default:
		l.lost++
		l.stats.Lost++
	}
}

// writeAny writes to the first file that takes the lines, each being tried once with
// what those before have not taken; a first file that failed less than probeInterval
// ago comes last. It returns how many bytes of whole lines were taken.
func (l *Log) writeAny(lines []byte) (taken int, err error) {
	first := 0
	if len(l.files) > 1 && l.files[0].resting() {
		first = 1
	}
	var errs []error
	for i := range l.files {
		at := (first + i) % len(l.files)
		f := l.files[at]
		n, err := f.write(lines[taken:])
		l.note(f, err)
		l.took(at, lines[taken:taken+n])
		if taken += n; taken == len(lines) {
			return taken, nil
		}
		errs = append(errs, err)
	}
	l.fail(errors.Join(errs...))
	return taken, l.lastErr
}

// took counts lines that a file has taken.
func (l *Log) took(at int, lines []byte) {
	n := uint64(bytes.Count(lines, newline))
	l.stats.Lines += n
	if at > 0 {
		l.stats.Fallback += n
	}
}

// note records the outcome of a write to f.
func (l *Log) note(f *file, err error) {
	if err == nil {
		if f.failing {
			f.failing = false
			l.logger.Info("audit file takes lines again", "path", f.path)
		}
		return
	}
	l.stats.WriteErrors++
	if !f.failing {
		l.logger.Error("audit file fails", "path", f.path, "error", err)
	}
	f.failing, f.failedAt = true, time.Now()
}

func (l *Log) fail(err error) {
	now := time.Now()
	if !l.failing.Load() {
		l.since = now
		l.logger.Error("no audit file takes lines: requests are refused", "error", err)
	}
	l.lastErr = err
	l.nextProbe.Store(now.Add(probeInterval).UnixNano())
	l.failing.Store(true)
}

// Ready returns nil if the log takes lines, as far as is known, else
// secret.CodeAuditUnavailable. It costs one atomic load while all is well.
// While the log fails it tries, at most once a second, to write what waits.
func (l *Log) Ready() error {
	if !l.failing.Load() {
		return nil
	}
	if time.Now().UnixNano() < l.nextProbe.Load() {
		return unavailable(errFailing)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return unavailable(os.ErrClosed)
	}
	if err := l.probe(); err != nil {
		return unavailable(err)
	}
	return nil
}

// probe ends the failure if the backlog and a line about the gap can be
// written now. It is for a log that is failing.
func (l *Log) probe() error {
	if !l.failing.Load() {
		return nil
	}
	if time.Now().UnixNano() < l.nextProbe.Load() {
		return l.lastErr
	}
	for len(l.backlog) > 0 {
		if _, err := l.writeAny(l.backlog[0]); err != nil {
			return err
		}
		l.backlog[0] = nil
		l.backlog = l.backlog[1:]
	}
	l.backlog = nil
	if l.refused+l.lost > 0 {
		if _, err := l.writeAny(l.gapLine()); err != nil {
			return err
		}
		l.refused, l.lost = 0, 0
	}
	l.failing.Store(false)
	l.logger.Info("the audit log takes lines again", "failed_for", time.Since(l.since))
	return nil
}

func (l *Log) gapLine() []byte {
	c := encoder{buf: make([]byte, 0, MaxLineBytes)}
	return c.encode(l.identity, &Entry{
		Time:     l.since,
		Duration: time.Since(l.since),
		Action:   GapAction,
		Resource: Resource{Kind: "audit", Name: fmt.Sprintf("%d lines of refused requests and %d of committed mutations are missing", l.refused, l.lost)},
		Outcome:  secret.CodeAuditUnavailable,
	})
}

// Stats returns the counters.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	s.Backlog = len(l.backlog)
	return s
}
