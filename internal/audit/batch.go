package audit

import (
	"bytes"
	"sync"
	"sync/atomic"
)

// maxKeptBatch bounds the buffer of a batch that is used again, in bytes.
const maxKeptBatch = 64 << 10

// batch is lines of requests that are answered at the same time, written by one of
// them for all.
type batch struct {
	lines []byte
	// committed is of each line whether it is kept if no file takes it.
	committed []bool
	// waiting is how many requests have not yet asked for the outcome.
	waiting atomic.Int32

	// written is set when taken and err are: a prefix of the lines was taken by the
	// files, the others were not, for the reason err.
	written atomic.Bool
	taken   int
	err     error
}

// gatherer is where lines come together until somebody writes them.
type gatherer struct {
	mu   sync.Mutex
	open *batch
	used sync.Pool
}

// add puts a line into the open batch and returns where it ends there.
func (g *gatherer) add(line []byte, committed bool) (b *batch, end int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open == nil {
		if g.open, _ = g.used.Get().(*batch); g.open == nil {
			g.open = &batch{}
		}
	}
	b = g.open
	b.lines, b.committed = append(b.lines, line...), append(b.committed, committed)
	b.waiting.Add(1)
	return b, len(b.lines)
}

// close ends the open batch: the next line begins another one.
func (g *gatherer) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = nil
}

// outcome returns what became of the line that ends there, once the batch is written.
// The batch must not be used after it.
func (g *gatherer) outcome(b *batch, end int) (err error) {
	if end > b.taken {
		err = unavailable(b.err)
	}
	if b.waiting.Add(-1) > 0 || cap(b.lines) > maxKeptBatch {
		return err
	}
	*b = batch{lines: b.lines[:0], committed: b.committed[:0]} // the last one that had to do with it
	g.used.Put(b)
	return err
}

// write has the files take the batch, unless somebody has done so. One that is not
// written is the open one.
func (l *Log) write(b *batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b.written.Load() {
		return
	}
	l.gatherer.close()
	b.taken, b.err = l.put(b.lines)
	if b.err != nil {
		done := bytes.Count(b.lines[:b.taken], newline)
		for line := range bytes.Lines(b.lines[b.taken:]) {
			l.keep(line, b.committed[done])
			done++
		}
	}
	b.written.Store(true)
}

var newline = []byte{'\n'}
