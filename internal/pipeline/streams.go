package pipeline

import "sync"

// streams knows which stream of each host is the newest.
type streams struct {
	mu   sync.Mutex
	last map[string]uint64
	n    uint64
}

func (s *streams) open(host string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil {
		s.last = map[string]uint64{}
	}
	s.n++
	s.last[host] = s.n
	return s.n
}

func (s *streams) newest(host string, stream uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last[host] == stream
}
