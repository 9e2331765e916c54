// Package logring keeps the last lines of a process's log in memory, for whoever
// has to find out what happened.
package logring

import (
	"bytes"
	"log/slog"
	"sync"
)

// DefaultBytes is how much a Ring keeps unless told otherwise: some thousand lines.
const DefaultBytes = 256 << 10

// Ring keeps whole lines, the newest. Safe for concurrent use.
type Ring struct {
	limit int

	mu    sync.Mutex
	lines [][]byte
	bytes int
	// dropped counts the lines that made room for newer ones.
	dropped uint64
}

// New returns a ring that keeps at most that many bytes; 0 means DefaultBytes.
func New(limit int) *Ring {
	if limit <= 0 {
		limit = DefaultBytes
	}
	return &Ring{limit: limit}
}

// Write takes one line. It implements io.Writer and never fails.
func (r *Ring) Write(line []byte) (int, error) {
	kept := bytes.Clone(line)
	if len(kept) > r.limit {
		kept = append(kept[:r.limit-1], '\n')
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, kept)
	r.bytes += len(kept)
	n := 0
	for ; r.bytes > r.limit; n++ {
		r.bytes -= len(r.lines[n])
		r.lines[n] = nil
	}
	r.lines = r.lines[n:]
	r.dropped += uint64(n)
	return len(line), nil
}

// Lines returns what is kept, oldest first, and how many older lines are gone.
func (r *Ring) Lines() (lines []byte, dropped uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Join(r.lines, nil), r.dropped
}

// Handler returns a log handler that writes to next, and to the ring what is of
// the level info or above.
func (r *Ring) Handler(next slog.Handler) slog.Handler {
	return slog.NewMultiHandler(next, slog.NewTextHandler(r, &slog.HandlerOptions{Level: slog.LevelInfo}))
}
