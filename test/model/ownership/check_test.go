package ownership

import (
	"errors"
	"fmt"
)

// checkKept looks at writes that become a conflict. If there is one takeover alone,
// what a region acknowledges that knows, or could know, that it was taken over is
// never one of them; nor is what the heir acknowledges, unless there was more than one
// planned move beside.
func (h *histories) checkKept(s *state, past uint8) error {
	switch {
	case h.budget.takeovers == 1 && past&s.warned != 0:
		return fmt.Errorf("the writes %03b were acknowledged where it could be known that they would become a conflict", past&s.warned)
	case h.budget.takeovers == 1 && h.budget.moves <= 1 && past&s.heirs != 0:
		return fmt.Errorf("the writes %03b of the heir become a conflict", past&s.heirs)
	}
	return nil
}

// checkOpened looks at a region that moves a record of a lost one: if it is not to ask a
// survivor that can be compared with, that holds nothing which goes on from its own
// state. What a survivor receives later, or does not say, becomes a conflict there.
func (h *histories) checkOpened(s *state, at, lost, survivor uint8) error {
	held, there := &h.points[s.places[at].held], &h.points[s.places[survivor].held]
	if there.Home == names[lost] && !h.ahead(there.Order, held.Order) && there.Order != held.Order && there.Contains(held.Order) {
		return fmt.Errorf("%s takes the record over as %s and need not ask %s, which has %s", names[at], held, names[survivor], there)
	}
	return nil
}

// check looks at any state.
func (h *histories) check(s *state) error {
	var there uint8
	states := make([]id, 0, regions+maxNetwork)
	for at := range s.places {
		there |= s.places[at].kept | h.points[s.places[at].held].set()
		states = append(states, s.places[at].held)
	}
	if lost := (1<<s.writes - 1) &^ there; lost != 0 {
		return fmt.Errorf("G7: the writes %03b are in no copy and in no conflict", lost)
	}
	for _, p := range s.network {
		if p.from != p.to {
			states = append(states, p.state)
		}
	}
	for i, a := range states {
		for _, b := range states[:i] {
			if a != b && h.points[a].Order == h.points[b].Order && h.points[a].detached == h.points[b].detached {
				return fmt.Errorf("%s and %s are of the same order", &h.points[a], &h.points[b])
			}
		}
	}
	return h.unsound
}

// checkQuiet brings s to rest, as happens when callers and operators do nothing more
// and all is well, and looks whether all regions agree.
func (h *histories) checkQuiet(s state) error {
	s.network, s.left = [maxNetwork]shipment{}, budget{}
	if known, ok := h.quiet[s]; ok {
		return known
	}
	first := s
	var broken error
	for range 24 {
		before := s
		for at := range uint8(regions) {
			s.learn(at)
			h.settle(&s, at)
			for to := range uint8(regions) {
				broken = errors.Join(broken, h.bring(&s, at, to))
			}
		}
		if s == before {
			break
		}
	}
	broken = errors.Join(broken, h.check(&s), h.checkEqual(&s))
	h.quiet[first] = broken
	return broken
}

// settle does what is left to do of takeovers, without the help of survivors.
func (h *histories) settle(s *state, at uint8) {
	for range regions {
		done := false
		h.takeOver(s, at, func(_ event, n state, _ error) {
			if !done {
				*s, done = n, true
			}
		})
	}
}

// bring has what waits for a region delivered.
func (h *histories) bring(s *state, from, to uint8) (broken error) {
	s.left.network = 1
	h.read(s, from, to, func(_ event, n state, _ error) { *s = n })
	if p := s.network[0]; p.from != p.to {
		s.drop(0)
		broken = h.receive(s, p, false)
		h.answered(s, p)
	}
	s.left.network = 0
	return broken
}

// checkEqual compares copies at rest: what was promoted stands alone, and its former
// home knows.
func (h *histories) checkEqual(s *state) error {
	var alone, whole uint8
	for at := range s.places {
		if h.points[s.places[at].held].detached != "" {
			alone |= bit(uint8(at))
		} else {
			whole = uint8(at)
		}
	}
	for at := range s.places {
		p := &s.places[at]
		if p.takenOver|p.takeovers|p.superseded|p.waiting != 0 {
			return fmt.Errorf("at rest %s has something left to do: %s", names[at], h.describe(s))
		}
		if !has(alone, uint8(at)) && p.held != s.places[whole].held {
			return fmt.Errorf("G6: at rest %s has %s, %s has %s", names[whole], &h.points[s.places[whole].held], names[at], &h.points[p.held])
		}
	}
	home := h.home(s.places[whole].held)
	if has(alone, home) || h.destinations(s.places[whole].held)&alone != 0 {
		return fmt.Errorf("at rest %s is meant for %03b, which promoted it", &h.points[s.places[whole].held], alone)
	}
	if !h.mayMutate(h.points[s.places[home].held].Ownership, names[home]) {
		return fmt.Errorf("at rest nobody may mutate %s", &h.points[s.places[home].held])
	}
	return nil
}
