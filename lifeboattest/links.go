package lifeboattest

import "time"

// Link is the network between a host and control-1, or from one region to another.
// A change takes effect at once, also for connections that exist.
type Link interface {
	// Cut breaks all connections and refuses new ones.
	Cut()
	// Blackhole delivers nothing more and tells no one.
	Blackhole()
	// Delay delivers everything so much later, in either direction.
	Delay(d time.Duration)
	// Throttle bounds the bytes a second of each connection and direction; 0
	// means no bound.
	Throttle(bytesPerSecond int)
	// Heal undoes all of it.
	Heal()
}

// StoreLink is over which host i reads the store.
func (r *Region) StoreLink(i int) Link { return r.hosts[i].store }

// ControlLink is over which host i passes mutations on and reports its progress.
func (r *Region) ControlLink(i int) Link { return r.hosts[i].control }

// CutStore cuts host i off from the store; control-1 it still reaches.
func (r *Region) CutStore(i int) { r.hosts[i].store.Cut() }

// CutOff cuts host i off from the store and the control plane.
func (r *Region) CutOff(i int) {
	r.hosts[i].store.Cut()
	r.hosts[i].control.Cut()
}

// Heal mends the links of host i.
func (r *Region) Heal(i int) {
	r.hosts[i].store.Heal()
	r.hosts[i].control.Heal()
}
