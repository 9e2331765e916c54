package replica

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
)

const (
	// scrubAtOnce is how many records a scrub looks at before it pauses, for twice
	// the time that took, so that requests hardly notice it. At about 2 µs a record
	// a million take 6 s.
	scrubAtOnce = 256
	scrubRest   = 2
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
		if err := l.scrub(ctx, func(busy time.Duration) { pause(ctx, scrubRest*busy) }); err == nil {
			l.status.update(func(p *Position) { p.Scrubs++ })
		}
		pause(ctx, min(l.opts.ScrubPeriod, max(leastScrubPause, scrubSeldom*time.Since(began))))
		if ctx.Err() != nil {
			return
		}
	}
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

// scrub checks one snapshot of the file: every record passes its checksum, they
// are in order, each is found where its key leads, and there are as many as
// there should be. bbolt's pages have no checksums: with a damaged one records
// would be missing without an error. A record that fails alone is fetched anew;
// a file of which the structure is wrong is rebuilt. Between steps it calls rest
// with the time that the last one took.
func (l *Local) scrub(ctx context.Context, rest func(busy time.Duration)) error {
	return l.View(func(rv record.View) error {
		v := rv.(*view)
		err := l.scrubView(ctx, v, rest)
		if errors.Is(err, errDamaged) {
			return l.found(v.file, err)
		}
		return err
	})
}

func (l *Local) scrubView(ctx context.Context, v *view, rest func(busy time.Duration)) (err error) {
	defer v.recovered(&err) // with its error all the same
	walk, last, n, sound := v.snapshot.records.Cursor(), []byte(nil), int64(0), true
	began := time.Now()
	for k, b := walk.First(); k != nil; k, b = walk.Next() {
		if n++; n%scrubAtOnce == 0 {
			rest(time.Since(began))
			if ctx.Err() != nil {
				return ctx.Err()
			}
			began = time.Now()
		}
		if last != nil && bytes.Compare(last, k) >= 0 || b == nil {
			return damage("its records are not in order")
		}
		if found, _ := v.cursor.Seek(k); !bytes.Equal(found, k) {
			return damage("a record is not where its key leads")
		}
		if _, err := decodeValue(k, b); err != nil {
			_, sound = l.corrupt(record.Key(k), err), false // it is counted and mended
		}
		last = k
	}
	m, err := readMeta(v.snapshot.tx)
	if err == nil && m.Records != n {
		err = damage("records are missing")
	}
	if err == nil && sound {
		l.doubtful.Store(false)
	}
	return err
}
