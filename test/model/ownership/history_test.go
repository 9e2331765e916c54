package ownership

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// id names a point of a history: equal ids are equal points.
type id uint16

// point is a state of the record, at the end of its history.
type point struct {
	secret.Ownership
	// writes are the mutations of callers that the state contains, oldest first: each
	// made the version whose number is its place.
	writes []uint8
	// detached names the promotion that made it a secret of its own, promoted are the
	// regions known to have promoted their replica.
	detached string
	promoted []secret.RegionName
}

// set is the writes, by bit.
func (p *point) set() (bits uint8) {
	for _, w := range p.writes {
		bits |= 1 << w
	}
	return bits
}

// secret is the point as far as its versions go.
func (p *point) secret() *secret.Secret {
	s := &secret.Secret{Ownership: p.Ownership, State: secret.Active, Detached: p.detached, Promoted: p.promoted}
	for i, w := range p.writes {
		s.Versions = append(s.Versions, secret.VersionInfo{ID: secret.VersionID(rune('a' + w)), Number: uint64(i) + 1})
	}
	return s
}

func (p *point) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s@%s", p.Home, p.Order)
	for _, w := range p.writes {
		fmt.Fprintf(&b, "%c", 'a'+w)
	}
	if p.detached != "" {
		b.WriteString(" of its own")
	}
	return b.String()
}

// histories knows all points that a search has come across, and what the rules make of
// them. The rules are asked once for each question.
type histories struct {
	rules
	points   []point
	ids      map[string]id
	made     map[made]id
	verdicts map[met]secret.Verdict
	lacking  map[[2]id]uint8
	unsound  error
	// budget and lost are those of the scenario; quiet is what became of states at rest.
	budget budget
	lost   uint8
	quiet  map[state]error
}

// made is a question after a new point: kind of id, by or to a region, or of a write.
type made struct {
	kind rune
	of   id
	who  uint8
}

// met is a question after a verdict; the heir is none unless it has taken over.
type met struct {
	held, incoming id
	heir           uint8
}

const none = regions

func newHistories(r rules) *histories {
	h := &histories{rules: r, ids: map[string]id{}, made: map[made]id{}, verdicts: map[met]secret.Verdict{}, lacking: map[[2]id]uint8{}, quiet: map[state]error{}}
	h.add(point{Ownership: secret.NewOwnership(names[south], "")})
	return h
}

func (h *histories) add(p point) id {
	key := fmt.Sprintf("%+v", p)
	known, ok := h.ids[key]
	if !ok {
		known = id(len(h.points)) //nolint:gosec // few
		h.ids[key], h.points = known, append(h.points, p)
		if err := p.Check(); err != nil && h.unsound == nil {
			h.unsound = fmt.Errorf("%s: %w", &p, err)
		}
	}
	return known
}

// make returns the point that follows one, and remembers it.
func (h *histories) make(q made, follow func(p *point)) id {
	n, ok := h.made[q]
	if !ok {
		p := point{Ownership: h.points[q.of].Ownership, writes: slices.Clone(h.points[q.of].writes), detached: h.points[q.of].detached, promoted: h.points[q.of].promoted}
		p.Lineage = slices.Clone(p.Lineage)
		follow(&p)
		p.Advance("")
		n = h.add(p)
		h.made[q] = n
	}
	return n
}

func (h *histories) written(of id, w uint8) id {
	return h.make(made{'w', of, w}, func(p *point) { p.writes = append(p.writes, w) })
}

func (h *histories) handedOver(of id, to uint8) id {
	return h.make(made{'m', of, to}, func(p *point) { p.Ownership = h.movedTo(p.Ownership, names[to]) })
}

func (h *histories) taken(of id, heir uint8) id {
	return h.make(made{'t', of, heir}, func(p *point) { p.Ownership = h.takenBy(p.Ownership, names[heir]) })
}

// promotion is the point after a promotion, or after the home has taken note of one; ok
// is false if that changes nothing.
func (h *histories) promotion(q made, promote func(*secret.Secret) bool) (n id, ok bool) {
	if n, ok = h.made[q]; ok {
		return n, n != q.of
	}
	p := h.points[q.of]
	sec := p.secret().Clone()
	if n = q.of; promote(sec) {
		n = h.add(point{sec.Ownership, p.writes, sec.Detached, sec.Promoted})
	}
	h.made[q] = n
	return n, n != q.of
}

func (h *histories) promotedIn(of id, at uint8) (id, bool) {
	return h.promotion(made{'p', of, at}, func(s *secret.Secret) bool {
		return s.Promote(secret.Mutation{}, names[at], "in "+string(names[at])) == nil
	})
}

func (h *histories) noted(of id, in, by uint8) (id, bool) {
	return h.promotion(made{'n', of, in*regions + by}, func(s *secret.Secret) bool {
		return h.notePromoted(s, secret.Mutation{}, names[in], names[by])
	})
}

// verdict is what a copy does with an incoming state; heir is the region that it is in
// if that has taken over the home of what is held.
func (h *histories) verdict(q met) secret.Verdict {
	v, ok := h.verdicts[q]
	if !ok {
		held, incoming := h.points[q.held].Ownership, h.points[q.incoming].Ownership
		if v = h.judge(held, incoming); q.heir != none {
			v = h.inherit(held, incoming, names[q.heir])
		}
		h.verdicts[q] = v
	}
	return v
}

// past is the writes that a conflict keeps when a state replaces what is held.
func (h *histories) past(held, incoming id) uint8 {
	q := [2]id{held, incoming}
	bits, ok := h.lacking[q]
	if !ok {
		for _, version := range h.missing(h.points[held].secret(), h.points[incoming].secret()) {
			bits |= 1 << (version[0] - 'a')
		}
		h.lacking[q] = bits
	}
	return bits
}

func (h *histories) home(of id) uint8 {
	return uint8(slices.Index(names[:], h.points[of].Home)) //nolint:gosec // few
}
