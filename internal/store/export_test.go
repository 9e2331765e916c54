package store

// StopServer stops the etcd server as it stops by itself, for instance when it is
// removed from its cluster.
func (e *Embedded) StopServer() { e.server.Server.HardStop() }
