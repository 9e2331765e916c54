package store

// StopServer stops the etcd server as it stops by itself, for instance when it is
// removed from its cluster.
func (e *Embedded) StopServer() { e.server.Server.HardStop() }

// Waiting returns how many transactions wait for one that is under way.
func (s *Shard) Waiting() int {
	s.group.mu.Lock()
	defer s.group.mu.Unlock()
	return len(s.group.waiting)
}

// Flying returns how many transactions are under way.
func (s *Shard) Flying() int {
	s.group.mu.Lock()
	defer s.group.mu.Unlock()
	return s.group.flying
}
