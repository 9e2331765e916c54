package throttle

import "sync/atomic"

// Slots bound how many requests of a kind are in progress. Safe for concurrent
// use.
type Slots struct {
	limit   int64 // 0: none
	used    atomic.Int64
	refused atomic.Uint64
}

// Enter counts a request in. It returns secret.CodeThrottled if too many are in
// progress; else Leave must be called when the request ends.
func (s *Slots) Enter() error {
	if n := s.used.Add(1); s.limit > 0 && n > s.limit {
		s.used.Add(-1)
		s.Refuse()
		return busy()
	}
	return nil
}

// Refuse counts a request that is turned away; Enter does so by itself.
func (s *Slots) Refuse() { s.refused.Add(1) }

// Leave counts a request out.
func (s *Slots) Leave() { s.used.Add(-1) }

// InProgress returns how many requests have entered and not left.
func (s *Slots) InProgress() int { return int(s.used.Load()) }

// Limit returns how many requests may be in progress at once; 0 means any number.
func (s *Slots) Limit() int { return int(s.limit) }

// Refused returns how many requests were turned away.
func (s *Slots) Refused() uint64 { return s.refused.Load() }

// Crowded returns secret.CodeThrottled if more than half of the slots are taken,
// so that the rest can be kept for callers who are known.
func (s *Slots) Crowded() error {
	if s.limit > 0 && s.used.Load() > (s.limit+1)/2 {
		return busy()
	}
	return nil
}

func busy() error { return refuse("too many requests are in progress", busyRetryAfter) }
