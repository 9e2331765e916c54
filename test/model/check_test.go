package model

import "fmt"

// checkApplied looks at a region that has just applied a shipment.
func (s *state) checkApplied(before, after *place, p shipment) error {
	if s.admitted[p.to] != p.incarnation {
		return fmt.Errorf("%s takes states of a life of east that nobody admitted there", names[p.to])
	}
	if p.state.schema > after.release {
		return fmt.Errorf("G9: %s applies what it does not understand in full", names[p.to])
	}
	for record := range after.has {
		was, is := before.has[record], after.has[record]
		if was == is {
			continue
		}
		if is.seq < was.seq && was.kind != absent {
			return fmt.Errorf("G3: %s goes back from order %d to %d of %c", names[p.to], was.seq, is.seq, 'A'+record)
		}
		if was.kind == absent && is.seq < before.forgotten[record] {
			return fmt.Errorf("G3: %s, which had order %d of %c and forgot it, goes back to %d", names[p.to], before.forgotten[record], 'A'+record, is.seq)
		}
		if was.kind != absent && is.kind != absent && is.seq == was.seq && is.content != was.content {
			return fmt.Errorf("G6: %s changes %c under the same order %d", names[p.to], 'A'+record, is.seq)
		}
		if is.kind != absent && s.cleared&(1<<is.content) == 0 {
			return fmt.Errorf("G5: content %d of %c left the region before it was cleared", is.content, 'A'+record)
		}
	}
	return nil
}

// check looks at any state.
func (r *rules) check(s *state) error {
	for at := range s.places {
		p := &s.places[at]
		for record, c := range p.has {
			if c.kind == live && p.holder != uint8(record) {
				return fmt.Errorf("%s has %c, but the name leads to another", names[at], 'A'+record)
			}
		}
	}
	for to := west; to < regions; to++ {
		for record := range records {
			if err := r.checkLack(s, to, record); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkLack says whether a region lacks something and nothing says so.
func (r *rules) checkLack(s *state, to, record int) error {
	home, there := s.places[east].has[record], s.places[to].has[record]
	if home.open || s.places[east].vault.open || s.vaultWaits[to] || s.queue[to][record] != (waiting{}) || home.kind == absent && there.kind == absent {
		return nil
	}
	meant := r.meantFor(s.places[east].vault, home, to)
	switch {
	case s.lossy && home.kind != absent:
		return nil
	case s.timed && s.admitted[to] != s.places[east].incarnation:
		return nil // the region's status says that the life is not admitted
	case home.kind == purged && there.kind == absent && s.places[to].forgotten[record] >= home.seq:
		return nil // the home was restored, and will forget it once more
	case home.kind == absent && s.timed:
		if there.kind == live {
			return fmt.Errorf("lost: %s has %c, which east has forgotten, and nothing says so", names[to], 'A'+record)
		}
		return nil
	case there.seq == home.seq && there.content != home.content:
		return fmt.Errorf("G6: %s and east have different contents of %c under the same order, and nothing says so", names[to], 'A'+record)
	case meant && (there.seq < home.seq || there.kind == released):
		return fmt.Errorf("lost: %s lacks order %d of %c and nothing says so", names[to], home.seq, 'A'+record)
	case !meant && there.kind == live:
		return fmt.Errorf("lost: %s keeps %c although it is no target, and nothing says so", names[to], 'A'+record)
	}
	return nil
}

// checkQuiet brings s to rest, as happens when mutations stop and all is well, and
// compares the copies.
func (r *rules) checkQuiet(s state) error {
	s.network = [maxNetwork]shipment{}
	for at := range s.places {
		s.places[at].release = 1
	}
	for to := west; to < regions; to++ {
		if s.admitted[to] != s.places[east].incarnation && r.returns(&s, to) {
			s.admitted[to] = s.places[east].incarnation
		}
	}
	if s.lossy {
		r.compareDigests(&s)
	}
	for range 4 {
		r.bringVault(&s)
		for record := range uint8(records) {
			r.clear(&s, record, func(_ string, n state, _ error) { s = n })
			for to := uint8(west); to < regions; to++ {
				if err := r.bring(&s, to, record); err != nil {
					return err
				}
			}
		}
	}
	return r.checkEqual(&s)
}

// bringVault has the vault's record cleared and told.
func (r *rules) bringVault(s *state) {
	s.left.vaults = 0
	for range regions {
		r.changeVault(s, func(_ string, n state, _ error) { *s = n })
	}
}

// bring has what waits for a target delivered.
func (r *rules) bring(s *state, to, record uint8) (broken error) {
	var p *shipment
	start := *s
	start.left.network = maxNetwork
	r.read(&start, to, record, func(_ string, n state, _ error) {
		if n.network[0].sent {
			p = &n.network[0] // the last one has the predecessor
		} else {
			n.left.network = s.left.network
			*s = n
		}
	})
	if p == nil {
		return nil
	}
	ok, broken := r.receive(s, *p)
	if ok {
		r.done(s, *p)
	}
	return broken
}

// checkEqual compares copies at rest. A home that was restored may have less than
// its targets, which refuse it: that must show as something that waits.
func (r *rules) checkEqual(s *state) error {
	for to := west; to < regions; to++ {
		for record := range records {
			home, there := s.places[east].has[record], s.places[to].has[record]
			if home.open || s.admitted[to] != s.places[east].incarnation { // nothing newer may leave, or none is taken
				continue
			}
			if home.kind == absent && there.kind != live || home.kind == purged && there.kind == absent && s.places[to].forgotten[record] >= home.seq {
				continue // it is deleted, and forgotten at one of the two
			}
			same := home.kind == there.kind && home.seq == there.seq && home.content == there.content
			if !r.meantFor(s.places[east].vault, home, to) {
				same = there.kind == absent || there.kind == released
			}
			restored := s.places[east].incarnation > 0 && there.seq >= home.seq
			if !same && !restored {
				return fmt.Errorf("G6: at rest %s has %+v of %c, east %+v", names[to], there, 'A'+record, home)
			}
			if s.queue[to][record] != (waiting{}) && same {
				return fmt.Errorf("at rest something of %c still waits for %s, which has it", 'A'+record, names[to])
			}
		}
	}
	return nil
}
