package service

import (
	"sync"
	"time"
)

// jumpAllowed is how much further the time of day may advance between two sweeps
// than the time that passed: clocks are set right by less.
const jumpAllowed = time.Hour

// jumpWatch notices, between the sweeps of one process, that the time of day
// jumped ahead, which would make everything due at once.
type jumpWatch struct {
	mu     sync.Mutex
	seen   bool
	wall   time.Time
	passed time.Duration
	held   bool
	since  time.Duration
}

// holds reports whether the time of day jumped ahead within the last
// purgeHeldFor, and by how much it has just now. Passed is the time that passed
// since any fixed moment.
func (j *jumpWatch) holds(wall time.Time, passed time.Duration) (held bool, jumped time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	wall = wall.Round(0) // without what Go knows of the time that passed
	if ahead := wall.Sub(j.wall) - (passed - j.passed); j.seen && ahead > jumpAllowed {
		j.held, j.since, jumped = true, passed, ahead
	}
	j.seen, j.wall, j.passed = true, wall, passed
	j.held = j.held && passed-j.since < purgeHeldFor
	return j.held, jumped
}
