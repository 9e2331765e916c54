package throttle

import "sync/atomic"

// Slots bound how many requests of a kind are in progress. Safe for concurrent
// use.
type Slots struct {
	limit int64 // 0: none
	used  atomic.Int64
}

// Enter counts a request in. It returns secret.CodeThrottled if too many are in
// progress; else Leave must be called when the request ends.
func (s *Slots) Enter() error {
	if n := s.used.Add(1); s.limit > 0 && n > s.limit {
		s.used.Add(-1)
		return busy()
	}
	return nil
}

// Leave counts a request out.
func (s *Slots) Leave() { s.used.Add(-1) }

// InProgress returns how many requests have entered and not left.
func (s *Slots) InProgress() int { return int(s.used.Load()) }

// Crowded returns secret.CodeThrottled if more than half of the slots are taken,
// so that the rest can be kept for callers who are known.
func (s *Slots) Crowded() error {
	if s.limit > 0 && s.used.Load() > (s.limit+1)/2 {
		return busy()
	}
	return nil
}

func busy() error { return refuse("too many requests are in progress", busyRetryAfter) }
