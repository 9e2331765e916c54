package replica

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
)

const (
	// scrubAtOnce is how many records a scrub looks at before it pauses, for scrubRest
	// times as long as that took: it takes a hundredth of a core, for half an hour or more
	// with a million secrets. While a record is known to be damaged, which sends reads of
	// what is not found to the store, it hurries.
	scrubAtOnce      = 256
	scrubRest        = 99
	scrubRestInDoubt = 2
	// scrubSeldom times the duration of a scrub passes between two, and at least
	// leastScrubPause.
	scrubSeldom     = 100
	leastScrubPause = time.Second
	// scrubBeforeUse bounds the scrub before the first read. It is enough for a
	// million records in memory; what is left of the file comes in the background.
	scrubBeforeUse = 2 * time.Second
)

// scrubForever checks the whole file again and again.
func (l *Local) scrubForever(ctx context.Context) {
	for {
		began := time.Now()
		if err := l.scrub(ctx, func(busy time.Duration) { pause(ctx, l.scrubRest()*busy) }); err == nil {
			l.status.update(func(p *Position) { p.Scrubs++ })
		}
		pause(ctx, min(l.opts.ScrubPeriod, max(leastScrubPause, scrubSeldom*time.Since(began))))
		if ctx.Err() != nil {
			return
		}
	}
}

// scrubRest is how many times the length of a step of a scrub passes before the next.
func (l *Local) scrubRest() time.Duration {
	if l.doubtful.Load() {
		return scrubRestInDoubt
	}
	return scrubRest
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// scrubBeforeReads checks as much of the file as can be checked quickly.
func (l *Local) scrubBeforeReads() {
	ctx, cancel := context.WithTimeout(l.stopped, scrubBeforeUse)
	defer cancel()
	_ = l.scrub(ctx, func(time.Duration) {}) // what it finds is remembered
}

// errReplaced ends the scrub of a file that is being replaced.
var errReplaced = errors.New("the file is being replaced")

// scrub checks the file: every record passes its checksum, they are in order,
// each is found where its key leads, and there are as many as there should be.
// bbolt's pages have no checksums: with a damaged one records would be missing
// without an error. A record that fails alone is fetched anew; a file of which
// the structure is wrong is rebuilt. Between steps it calls rest with the time
// that the last one took; then it holds no view, which would keep the file from
// being closed and its space from being used again.
func (l *Local) scrub(ctx context.Context, rest func(busy time.Duration)) error {
	f := l.file.Load()
	s := scrubber{local: l, file: f, sound: true}
	for !s.done {
		began := time.Now()
		if err := s.step(s.check); err != nil {
			return err
		}
		rest(time.Since(began))
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if err := s.step(func(v *view) error { return s.count(ctx, v) }); err != nil {
		return err
	}
	if s.sound {
		l.doubtful.Store(false)
	}
	return nil
}

// scrubber is how far a scrub of one file has come.
type scrubber struct {
	local *Local
	file  *file
	// last is the key of the last record looked at.
	last  []byte
	sound bool
	done  bool
}

// step calls fn with a view of the file, unless it is being replaced.
func (s *scrubber) step(fn func(*view) error) error {
	return s.local.View(func(rv record.View) (err error) {
		v := rv.(*view)
		if v.file != s.file {
			return errReplaced
		}
		defer v.recovered(&err)
		if err = fn(v); errors.Is(err, errDamaged) {
			return s.local.found(v.file, err)
		}
		return err
	})
}

// check looks at the next scrubAtOnce records.
func (s *scrubber) check(v *view) error {
	walk := v.another()
	k, b, err := walk.seek(s.last)
	if err == nil && s.last != nil && bytes.Equal(k, s.last) {
		k, b, err = walk.next()
	}
	for range scrubAtOnce {
		if err != nil {
			return err
		}
		if k == nil {
			s.done = true
			return nil
		}
		if s.last != nil && bytes.Compare(s.last, k) >= 0 || b == nil {
			return damage("its records are not in order")
		}
		if found, _ := v.cursor.Seek(k); !bytes.Equal(found, k) {
			return damage("a record is not where its key leads")
		}
		if _, err := decodeValue(k, b); err != nil {
			if at, _ := place(nil, keyAt(k)); !bytes.Equal(at, k) {
				return damage("a record is where none of its key can be")
			}
			_, s.sound = s.local.corrupt(keyAt(k), err), false // it is counted and mended
		}
		s.last = append(s.last[:0], k...)
		k, b, err = walk.next()
	}
	return err
}

// count counts the records of one snapshot. That takes about 0.1 µs each, far
// less than to check them, so that it needs no rest.
func (s *scrubber) count(ctx context.Context, v *view) error {
	walk, n := v.snapshot.records.Cursor(), int64(0)
	var last []byte
	for k, _ := walk.First(); k != nil; k, _ = walk.Next() {
		if n++; n%scrubAtOnce == 0 {
			switch {
			case s.file.isBad.Load():
				return errReplaced
			case ctx.Err() != nil:
				return ctx.Err()
			}
		}
		if last != nil && bytes.Compare(last, k) >= 0 {
			return damage("its records are not in order")
		}
		last = k
	}
	m, err := readMeta(v.snapshot.tx)
	if err == nil && m.Records != n {
		err = damage("records are missing")
	}
	return err
}
