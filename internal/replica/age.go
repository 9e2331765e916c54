package replica

import "time"

const (
	// freshFor is how long after the source was heard of data counts as up to
	// date: a little more than the silence between two beats of the feed.
	freshFor = 1500 * time.Millisecond
	// connectedFor is how long after that the feed counts as followed: a little
	// more than the silence after which it ends.
	connectedFor = 5 * time.Second
	// clockTolerance is how far the time of day may have been set back since the
	// last contact without making its age unknown.
	clockTolerance = 5 * time.Second
	// ageUnknown is the age of a copy of which nobody can tell it: older than
	// any limit.
	ageUnknown = 100 * 365 * 24 * time.Hour
)

// lastHeard says when, by the clock Boot, the contact was that the file tells of
// by the time of day, in ns. If that lies in the future, or was never, it was
// before any limit.
func (l *Local) lastHeard(contact int64) time.Duration {
	age := l.opts.Now().Sub(time.Unix(0, contact))
	if contact == 0 || age < -clockTolerance {
		age = ageUnknown
	}
	return l.opts.Boot() - max(0, age)
}

// sinceHeard is how long ago the copy was known to be up to date.
func (l *Local) sinceHeard() time.Duration {
	return max(0, l.opts.Boot()-time.Duration(l.status.heard.Load()))
}

// Age is how old the data may be: 0 while the store is followed and was heard of
// just now, else the time since the copy was last known to be up to date, by the
// clock Boot. What passed before Open is told by the time of day; if that was set
// back in between, or there never was a contact, the age is 100 years. It takes
// no lock.
func (l *Local) Age() time.Duration {
	age := l.sinceHeard()
	if age <= freshFor && l.status.connected.Load() {
		return 0
	}
	return age
}

// Connected is that of Position, without a lock.
func (l *Local) Connected() bool {
	return l.status.connected.Load() && l.sinceHeard() <= connectedFor
}

// Position returns where the local store stands. It is cheap.
func (l *Local) Position() Position {
	p := l.status.get()
	p.Connected, p.Age = p.Connected && l.sinceHeard() <= connectedFor, l.Age()
	return p
}

// head is a revision of the store of which it said, in a linearizable read that
// began at that time, that there was none newer.
type head struct {
	known    bool
	revision int64
	wall     int64 // ns since 1970
	boot     time.Duration
}

// now returns a head without a revision yet.
func (l *Local) now() head { return head{wall: l.opts.Now().UnixNano(), boot: l.opts.Boot()} }

// earlier returns the head d before.
func (h head) earlier(d time.Duration) head {
	h.wall, h.boot = h.wall-int64(d), h.boot-d
	return h
}

// saw remembers the head that a read found, as where the copy must be to have
// been up to date when the read began.
func (l *Local) saw(h head, revision int64) {
	if l.head.known && revision < l.head.revision {
		return
	}
	h.known, h.revision = true, revision
	l.head = h
}

// upToDate reports whether the copy has reached the head that was last seen. An
// answer of the store alone is no sign of that: while the copy cannot follow, the
// revocations that it lacks go unheard of.
func (l *Local) upToDate(m meta) bool {
	return l.head.known && m.Applied >= l.head.revision && m.Synced && !m.Resync
}

// confirm makes known that the copy is up to date, if it is.
func (l *Local) confirm() {
	if !l.upToDate(l.meta) {
		return
	}
	l.meta.Contact, l.heard = l.head.wall, max(l.heard, l.head.boot)
	l.publish()
	l.status.update(func(p *Position) { p.Connected, p.Err = true, nil })
}
