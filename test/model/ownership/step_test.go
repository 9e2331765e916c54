package ownership

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// event is something that happens: in what it says AT, OTHER and STATE stand for the
// names and the point.
type event struct {
	what      string
	at, other uint8
	state     id
}

func (h *histories) tell(e event) string {
	return strings.NewReplacer("AT", string(names[e.at]), "OTHER", string(names[e.other]), "STATE", h.points[e.state].String()).Replace(e.what)
}

// teller is told what happens, the state after it, and what is broken by that.
type teller func(what event, next state, broken error)

// next tells of every state that can follow s, with what happens. An error says which
// guarantee is broken on the way.
func (h *histories) next(s *state, tell teller) {
	for at := range uint8(regions) {
		h.write(s, at, tell)
		h.move(s, at, tell)
		h.takeOver(s, at, tell)
		h.promote(s, at, tell)
		h.learn(s, at, tell)
		for to := range uint8(regions) {
			h.read(s, at, to, tell)
		}
	}
	for i, p := range s.network {
		if p.from == p.to {
			continue
		}
		n := *s
		broken := h.receive(&n, p, false)
		tell(event{"AT hears of STATE from OTHER, and may do so again", p.to, p.from, p.state}, n, broken)
		n.drop(i)
		h.answered(&n, p)
		tell(event{"AT hears of STATE from OTHER", p.to, p.from, p.state}, n, broken)
		lost := *s
		lost.drop(i)
		tell(event{"what AT sends to OTHER is lost: STATE", p.from, p.to, p.state}, lost, nil)
	}
}

// commit is a region's own mutation of the record: from then on it is to be told.
func (h *histories) commit(s *state, at uint8, made id) {
	p := &s.places[at]
	before := p.waiting
	p.held, p.waiting = made, h.destinations(made)
	if h.points[made].detached != "" {
		p.waiting |= before // the former home is still to be told of the promotion
	}
	if home := h.home(made); home != at {
		p.waiting = bit(home) // everybody else hears of it from there
	}
}

// destinations are the regions that the home tells of a state.
func (h *histories) destinations(of id) (to uint8) {
	sec, all := h.points[of].secret(), secret.Replication{}
	for _, name := range names {
		all.Targets = append(all.Targets, secret.Target{Region: name})
	}
	for _, name := range sec.Destinations(sec.Ownership.Home, all) {
		to |= bit(uint8(slices.Index(names[:], name))) //nolint:gosec // few
	}
	return to
}

// promote makes a replica a secret of its own, and has its home told.
func (h *histories) promote(s *state, at uint8, tell teller) {
	p := &s.places[at]
	home := h.home(p.held)
	if s.left.promotions == 0 || !h.mayPromote(h.points[p.held].Ownership, names[at], p.waiting != 0) || has(p.takenOver, home) || h.points[p.held].detached != "" {
		return
	}
	n := *s
	n.left.promotions--
	made, ok := h.promotedIn(p.held, at)
	if ok {
		n.places[at].held, n.places[at].waiting = made, bit(home)
		tell(event{"AT promotes its replica: STATE", at, at, made}, n, nil)
	}
}

// note is a region taking note that another one has promoted its replica, if the home
// is here.
func (h *histories) note(s *state, at, by uint8) {
	if made, ok := h.noted(s.places[at].held, at, by); ok {
		h.commit(s, at, made)
	}
}

// meet is what a region does with a state of another secret of the same ID: told says
// that the sender must take note of a promotion.
func (h *histories) meet(s *state, p shipment, survivor bool) (told bool) {
	to := &s.places[p.to]
	held, incoming := h.points[to.held].secret(), h.points[p.state].secret()
	if incoming.IsDetached() && h.home(p.state) == p.from && !survivor {
		h.note(s, p.to, p.from)
	}
	return h.collide(held, incoming, !incoming.IsDetached(), false, false) == secret.StandsAlone
}

// write is a mutation by a caller, which must not be one of a region that was taken over.
func (h *histories) write(s *state, at uint8, tell teller) {
	p := &s.places[at]
	if s.left.writes == 0 || !h.mayMutate(h.points[p.held].Ownership, names[at]) ||
		p.superseded != 0 && !h.goesOn && h.points[p.held].detached == "" || !p.asked && !h.asksNobody {
		return
	}
	n := *s
	n.left.writes--
	w := n.writes
	n.writes++
	if p.told != 0 || !p.asked {
		n.warned |= bit(w)
	}
	if p.takeovers != 0 {
		n.heirs |= bit(w)
	}
	h.commit(&n, at, h.written(p.held, w))
	tell(event{"AT is written to: STATE", at, at, n.places[at].held}, n, nil)
}

// move is a planned move, of which a move back is one.
func (h *histories) move(s *state, at uint8, tell teller) {
	if s.left.moves == 0 || h.home(s.places[at].held) != at || h.points[s.places[at].held].detached != "" {
		return
	}
	for to := range uint8(regions) {
		if to != at && has(h.destinations(s.places[at].held), to) && h.mayMoveTo(h.points[s.places[at].held].Ownership, names[to], behind(s.places[at].takeovers)) {
			n := *s
			n.left.moves--
			h.commit(&n, at, h.handedOver(n.places[at].held, to))
			tell(event{"AT hands over to OTHER: STATE", at, to, n.places[at].held}, n, nil)
		}
	}
}

// behind are the names of a set of regions.
func behind(set uint8) (all []secret.RegionName) {
	for at, name := range names {
		if has(set, uint8(at)) {
			all = append(all, name)
		}
	}
	return all
}

// takeOver is all of a takeover: the one write on the fence, the move of the record
// after the survivors were asked or could not be, and the end.
func (h *histories) takeOver(s *state, at uint8, tell teller) {
	p := &s.places[at]
	for lost := range uint8(regions) {
		switch {
		case lost == at:
		case has(p.takenOver, lost) && h.home(p.held) == lost && !h.movesNothing:
			n := *s
			h.commit(&n, at, h.taken(p.held, at))
			survivor := regions - at - lost
			tell(event{"AT moves what was in OTHER: STATE", at, lost, n.places[at].held}, n, h.checkOpened(s, at, lost, survivor))
			h.pull(s, at, lost, survivor, tell)
		case has(p.takenOver, lost):
			n := *s
			n.places[at].takenOver &^= bit(lost)
			tell(event{"all that was in OTHER has moved to AT", at, lost, 0}, n, nil)
		case has(p.takeovers, lost):
			if !s.untold(at, lost) || h.endsEarly {
				n := *s
				n.places[at].takeovers &^= bit(lost)
				tell(event{"OTHER has caught up with AT", at, lost, 0}, n, nil)
			}
		case s.left.takeovers > 0 && has(h.lost, lost):
			n := *s
			n.left.takeovers--
			n.places[at].takenOver |= bit(lost)
			n.places[at].takeovers |= bit(lost)
			tell(event{"AT takes OTHER over", at, lost, 0}, n, nil)
		}
	}
}

// untold reports whether a region may lack something of another one's.
func (s *state) untold(at, peer uint8) bool {
	for _, p := range s.network {
		if p.from == at && p.to == peer && p.from != p.to && s.places[at].held == p.state {
			return true
		}
	}
	return has(s.places[at].waiting, peer)
}

// pull is an heir asking another region for what that holds newer of the lost one's.
func (h *histories) pull(s *state, at, lost, survivor uint8, tell teller) {
	has := s.places[survivor].held
	if h.home(has) != lost || !h.ahead(h.points[has].Order, h.points[s.places[at].held].Order) {
		return
	}
	n := *s
	broken := h.receive(&n, shipment{survivor, at, has}, true)
	tell(event{"AT is told by OTHER what that holds of the lost region: STATE", at, survivor, has}, n, broken)
}

// learn is a region asking its peers whether they have taken it over, and one that
// starts again.
func (h *histories) learn(s *state, at uint8, tell teller) {
	n := *s
	if n.learn(at); n != *s {
		tell(event{"AT asks its peers", at, at, 0}, n, nil)
	}
	if s.left.restarts > 0 && s.places[at].asked {
		n := *s
		n.left.restarts--
		n.places[at].asked = false
		tell(event{"AT starts again", at, at, 0}, n, nil)
	}
}

func (s *state) learn(at uint8) {
	p := &s.places[at]
	p.asked, p.superseded = true, 0
	for peer := range s.places {
		if has(s.places[peer].takeovers, at) {
			p.superseded |= bit(uint8(peer))
		}
	}
	p.told |= p.superseded
}

// read is the sender reading what it will send, now or much later.
func (h *histories) read(s *state, from, to uint8, tell teller) {
	p := &s.places[from]
	if !has(p.waiting, to) {
		return
	}
	n := *s
	if !h.maySend(h.points[p.held].Ownership, names[from]) {
		n.places[from].waiting &^= bit(to)
		tell(event{"AT has nothing to tell OTHER", from, to, 0}, n, nil)
		return
	}
	if n.send(shipment{from, to, p.held}) {
		tell(event{"AT sends to OTHER: STATE", from, to, p.held}, n, nil)
	}
}

// send adds a shipment to the network, in an order that does not matter.
func (s *state) send(p shipment) bool {
	free := -1
	for i := range min(int(s.left.network), maxNetwork) {
		switch {
		case s.network[i] == p:
			return false // it can be delivered twice as it is
		case s.network[i].from == s.network[i].to && free < 0:
			free = i
		}
	}
	if free >= 0 {
		s.network[free] = p
	}
	return free >= 0
}

func (s *state) drop(i int) {
	copy(s.network[i:], s.network[i+1:])
	s.network[maxNetwork-1] = shipment{}
}

// answered is the sender hearing that a state, or a newer one, was received.
func (h *histories) answered(s *state, p shipment) {
	if s.places[p.from].held == p.state {
		s.places[p.from].waiting &^= bit(p.to)
	}
}

// receive is what a region does with a state that another one sends, or answered as a
// survivor.
func (h *histories) receive(s *state, p shipment, survivor bool) (broken error) {
	to := &s.places[p.to]
	if !survivor && !h.maySend(h.points[p.state].Ownership, names[p.from]) {
		return nil
	}
	if !h.sameSecret(h.points[to.held].secret(), h.points[p.state].secret()) {
		if h.meet(s, p, survivor) {
			h.note(s, p.from, p.to)
		}
		return nil
	}
	q := met{to.held, p.state, none}
	if has(to.takenOver, h.home(to.held)) && !survivor {
		q.heir = p.to
	}
	held, incoming := &h.points[to.held], &h.points[p.state]
	switch h.verdict(q) {
	case secret.Refuse:
		return nil
	case secret.Keep:
		if to.held != p.state {
			broken = fmt.Errorf("G6: %s has %s and hears of %s, which is another state of the same order", names[p.to], held, incoming)
		}
		return broken
	case secret.Diverge:
		past := h.past(to.held, p.state)
		to.kept |= past
		broken = h.checkKept(s, past)
	}
	if incoming.Order.Compare(held.Order) < 0 {
		broken = fmt.Errorf("G3: %s goes back from %s to %s", names[p.to], held, incoming)
	}
	if to.held, to.waiting = p.state, 0; h.home(p.state) == p.to {
		to.waiting = h.destinations(p.state)
	}
	return broken
}
