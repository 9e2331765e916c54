package model

import (
	"fmt"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// now is the revision of the home's store, as far as it matters.
func (s *state) now() uint8 {
	if !s.timed {
		return 0
	}
	return s.contents
}

// forget drops what a region has of a record, and remembers what that was for the
// sake of the check alone.
func (p *place) forget(record int) {
	p.forgotten[record] = max(p.forgotten[record], p.has[record].seq)
	p.has[record] = copied{}
}

// collect is what the collectors of all regions do.
func (r *rules) collect(s *state, tell func(string, state, error)) {
	if !s.timed {
		return
	}
	for record := range records {
		r.collectOwn(s, record, tell)
		for to := west; to < regions; to++ {
			r.forget(s, to, record, tell)
		}
	}
}

// collectOwn is the home asking a region, or forgetting a record.
func (r *rules) collectOwn(s *state, record int, tell func(string, state, error)) {
	home := s.places[east].has[record]
	if home.kind != purged || s.left.collections == 0 {
		return
	}
	g := secret.Grave{Ownership: home.ownership(), Open: home.open, Holders: names[west:], Waiting: s.places[east].vault.open}
	var confirmed []secret.RegionName
	for to := west; to < regions; to++ {
		g.Waiting = g.Waiting || s.queue[to][record] != (waiting{}) || s.vaultWaits[to]
		if s.confirmed[to][record] {
			confirmed = append(confirmed, names[to])
		}
	}
	for to := west; to < regions; to++ {
		if r.collectable(g, names[west:]) && !s.confirmed[to][record] && s.admitted[to] == s.places[east].incarnation {
			n := *s
			p := &n.places[to]
			p.horizons[n.admitted[to]] = max(p.horizons[n.admitted[to]], n.now())
			o := p.has[record].ownership()
			n.confirmed[to][record] = r.confirms(&o, p.has[record].kind == live)
			if !n.confirmed[to][record] {
				n.queue[to][record].message = home.content
			}
			tell(fmt.Sprintf("%s is asked whether %c is live there", names[to], 'A'+record), n, nil)
		}
	}
	if r.collectable(g, confirmed) {
		n := *s
		n.left.collections--
		n.places[east].has[record], n.gone[record] = copied{}, true
		for to := range n.confirmed {
			n.confirmed[to][record] = false
		}
		tell(fmt.Sprintf("east forgets %c", 'A'+record), n, nil)
	}
}

// forget is another region asking the home, and forgetting.
func (r *rules) forget(s *state, to, record int, tell func(string, state, error)) {
	home, p := s.places[east].has[record], s.places[to]
	if kind := p.has[record].kind; kind != purged && kind != released || s.admitted[to] != s.places[east].incarnation {
		return
	}
	meant := home.kind == purged || r.meantFor(s.places[east].vault, home, to)
	if !r.forgettable(home.kind != absent, meant) {
		return
	}
	n := *s
	n.places[to].forget(record)
	n.places[to].horizons[n.admitted[to]] = max(p.horizons[n.admitted[to]], n.now())
	tell(fmt.Sprintf("%s forgets %c", names[to], 'A'+record), n, nil)
}

// returns reports whether a region admits the home's second life.
func (r *rules) returns(s *state, to int) bool {
	var horizons []secret.Moment
	for life, horizon := range s.places[to].horizons {
		horizons = append(horizons, secret.Moment{Incarnation: lives[life], Revision: int64(horizon)})
	}
	return r.mayReturn(horizons, []secret.Moment{{Incarnation: lives[0], Revision: int64(s.origin)}}, true)
}

// lose is a message that a store loses, as nothing should do.
func (r *rules) lose(s *state, tell func(string, state, error)) {
	if s.left.losses == 0 {
		return
	}
	for to := west; to < regions; to++ {
		for record := range records {
			if s.queue[to][record].message != 0 {
				n := *s
				n.left.losses--
				n.lossy = true
				n.queue[to][record].message = 0
				tell(fmt.Sprintf("the message of %c for %s is lost", 'A'+record, names[to]), n, nil)
			}
		}
	}
}

// compareDigests has what differs told again.
func (r *rules) compareDigests(s *state) {
	for to := west; to < regions; to++ {
		for record := range records {
			home, there := s.places[east].has[record], s.places[to].has[record]
			if home.kind != absent && !home.open && home.seq != there.seq && r.meantFor(s.places[east].vault, home, to) {
				s.queue[to][record].message = home.content
			}
		}
	}
}
