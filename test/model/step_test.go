package model

import (
	"fmt"

	"github.com/lifeboat-secrets/lifeboat/internal/link"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// next tells of every state that can follow s, with what happens. An error says
// which guarantee is broken on the way.
func (r *rules) next(s *state, tell func(what string, next state, broken error)) {
	for record := range uint8(records) {
		r.mutations(s, record, tell)
		r.clear(s, record, tell)
		for to := uint8(west); to < regions; to++ {
			r.read(s, to, record, tell)
			r.readDirectly(s, to, record, tell)
		}
	}
	for i := range s.network {
		if s.network[i].sent {
			r.deliver(s, i, tell)
			lost := *s
			lost.drop(i)
			tell("lost, or its sender crashed", lost, nil)
		}
	}
	r.changeVault(s, tell)
	r.collect(s, tell)
	r.lose(s, tell)
	r.operate(s, tell)
}

// change is one mutation at home, if it is the home's to make.
func (s *state) change(record uint8, change func(*copied)) state {
	n := *s
	c := &n.places[east].has[record]
	n.contents++
	c.seq, c.content, c.open, c.poison = c.seq+1, n.contents, true, false
	c.schema = max(c.schema, n.places[east].release)
	change(c)
	return n
}

func (r *rules) mutations(s *state, record uint8, tell func(string, state, error)) {
	home := &s.places[east].has[record]
	if home.kind == live && s.left.mutations > 0 {
		n := s.change(record, func(*copied) {})
		n.left.mutations--
		tell(fmt.Sprintf("%c is mutated", 'A'+record), n, nil)
		if s.left.poisons > 0 {
			n.left.poisons--
			n.places[east].has[record].poison = true
			tell(fmt.Sprintf("%c is mutated so that hosts cannot apply it", 'A'+record), n, nil)
		}
	}
	if home.kind == live && s.left.purges > 0 {
		n := s.change(record, func(c *copied) { c.kind = purged })
		n.places[east].holder = nobody
		n.left.purges--
		tell(fmt.Sprintf("%c is purged", 'A'+record), n, nil)
	}
	if home.kind == absent && !s.gone[record] && s.places[east].holder == nobody && s.left.creations > 0 {
		n := s.change(record, func(c *copied) { c.kind, c.targets = live, s.places[east].has[0].targets })
		n.places[east].holder = record
		n.left.creations--
		tell(fmt.Sprintf("%c is created under the name", 'A'+record), n, nil)
	}
	if home.kind == live && s.left.retargets > 0 {
		n := s.change(record, func(c *copied) { c.targets ^= 1 << west })
		n.queue[west][record].sync = n.contents
		n.left.retargets--
		tell(fmt.Sprintf("west is a target of %c, or is so no more", 'A'+record), n, nil)
	}
	for to := uint8(west); to < regions; to++ { // a replica must refuse
		c := s.places[to].has[record]
		if c.kind == live && s.left.mutations > 0 && r.mayMutate(c.ownership(), names[to]) {
			n := *s
			n.contents++
			n.left.mutations--
			n.places[to].has[record].seq++
			n.places[to].has[record].content = n.contents
			tell(fmt.Sprintf("%c is mutated in %s", 'A'+record, names[to]), n, nil)
		}
	}
}

// clear is the one transaction in which the pipeline finishes a mutation that is cleared
// and enqueues it for the targets that are not known to have received it. It may have
// forgotten which these are.
func (r *rules) clear(s *state, record uint8, tell func(string, state, error)) {
	home := s.places[east].has[record]
	if !home.open || home.poison {
		return
	}
	n := *s
	n.places[east].has[record].open = false
	n.cleared |= 1 << home.content
	if r.enqueuesLater {
		tell("the pipeline clears the mutation and crashes", n, nil)
	}
	lacking := n
	for to := uint8(west); to < regions; to++ {
		if w := &n.queue[to][record]; r.meantFor(n.places[east].vault, home, int(to)) && (w.message == 0 || !r.putsOnce) {
			w.message = home.content
		}
		if told := s.told[to][record]; told != home.content && (told == 0 || !r.trustsOlder) {
			lacking.queue[to][record] = n.queue[to][record]
		}
	}
	if lacking != n {
		tell(fmt.Sprintf("the pipeline clears %c, which was delivered", 'A'+record), lacking, nil)
	}
	tell(fmt.Sprintf("the pipeline clears %c", 'A'+record), n, nil)
}

// readDirectly is the sender reading what the pipeline is about to finish.
func (r *rules) readDirectly(s *state, to, record uint8, tell func(string, state, error)) {
	home := s.places[east].has[record]
	bypasses := s.left.deliveries > 0 && home.open && (!home.poison || r.deliversPoison) && s.queue[to][record].message == 0
	if !bypasses || !r.meantFor(s.places[east].vault, home, int(to)) || r.depart(home.ownership(), names[east], false) != secret.Leaves {
		return
	}
	n := *s
	n.left.deliveries--
	if !home.poison {
		n.cleared |= 1 << home.content
	}
	p := shipment{sent: true, to: to, record: record, incarnation: s.places[east].incarnation, state: home, direct: home.content, read: s.now()}
	if n.send(p) {
		tell(fmt.Sprintf("the sender reads %c for %s, before it is finished", 'A'+record, names[to]), n, nil)
	}
}

// read is the sender taking what waits and reading the state that it will send,
// now or much later, from this life of the home or after it.
func (r *rules) read(s *state, to, record uint8, tell func(string, state, error)) {
	w := s.queue[to][record]
	if (s.places[east].vault.open || s.vaultWaits[to]) && !r.secretsFirst {
		w.sync = 0 // a synchronisation sends the vault's record first
	}
	if w == (waiting{}) {
		return
	}
	home := s.places[east].has[record]
	p := shipment{sent: true, to: to, record: record, incarnation: s.places[east].incarnation, state: home, message: w.message, sync: w.sync, read: s.now()}
	departure := r.depart(home.ownership(), names[east], home.open)
	if home.kind == absent && departure == secret.Leaves {
		departure = secret.Stays
	}
	switch departure {
	case secret.Waits:
		if w.sync != 0 && r.finishesUncleared {
			n := *s
			n.queue[to][record].sync = 0
			tell("the synchronisation passes over a state that is not cleared", n, nil)
		}
		return
	case secret.Stays:
		n := *s
		n.queue[to][record] = waiting{}
		tell("there is nothing to tell the target", n, nil)
		return
	}
	tell1 := func(p shipment) {
		n := *s
		if n.send(p) {
			tell(fmt.Sprintf("the sender reads %c for %s", 'A'+record, names[to]), n, nil)
		}
	}
	tell1(p)
	other := s.places[east].has[1-record]
	if r.predecessorsAtAnyTime {
		other.open = false
	}
	if home.kind == live && other.kind != absent && r.depart(other.ownership(), names[east], other.open) == secret.Leaves {
		p.with, p.predecessor = true, other
		tell1(p)
	}
}

// send adds a shipment to the network, in an order that does not matter.
func (s *state) send(p shipment) bool {
	room := min(int(s.left.network), maxNetwork)
	for i := range room {
		if s.network[i] == p {
			return false // it can be delivered twice as it is
		}
	}
	for i := range room {
		if !s.network[i].sent {
			s.network[i] = p
			return true
		}
	}
	return false
}

func (s *state) drop(i int) {
	copy(s.network[i:], s.network[i+1:])
	s.network[maxNetwork-1] = shipment{}
}

// deliver is a shipment that arrives: it may arrive again, and the answer may be
// lost.
func (r *rules) deliver(s *state, i int, tell func(string, state, error)) {
	p := s.network[i]
	n := *s
	ok, broken := r.receive(&n, p)
	what := fmt.Sprintf("%c reaches %s", 'A'+p.record, names[p.to])
	if !ok {
		what += ", which refuses it"
	}
	tell(what+", and may do so again", n, broken)
	n.drop(i)
	tell(what+"; the answer is lost", n, broken)
	if ok {
		r.done(&n, p)
		tell(what, n, broken)
	}
}

// done deletes what was delivered.
func (r *rules) done(s *state, p shipment) {
	w := &s.queue[p.to][p.record]
	if p.message != 0 && w.message == p.message || r.doneBlindly {
		w.message = 0
	}
	if p.sync != 0 && w.sync == p.sync || r.doneBlindly {
		w.sync = 0
	}
	if p.direct != 0 {
		s.told[p.to][p.record] = p.direct
	}
}

// receive is what a region does with a shipment. ok is success for the sender.
func (r *rules) receive(s *state, p shipment) (ok bool, broken error) {
	if !r.admits(link.Pin{Incarnation: lives[s.admitted[p.to]]}, lives[p.incarnation]) {
		return false, nil
	}
	to := &s.places[p.to]
	if !r.understands(uint32(p.state.schema), uint32(to.release)) {
		return false, nil
	}
	incoming, own := p.state, &to.has[p.record]
	if !incoming.ownership().MaySend(names[east]) || !r.maySend(incoming.ownership(), names[east]) {
		return false, nil
	}
	meant := r.meantFor(to.vault, incoming, int(p.to))
	back := own.kind == released && r.comesBack(own.ownership(), incoming.ownership(), meant)
	if own.kind != absent && !back {
		switch r.judge(own.ownership(), incoming.ownership()) {
		case secret.Refuse, secret.Diverge:
			return false, nil
		case secret.Keep:
			return own.content == incoming.content || own.kind == released || r.keepsAnything, nil
		}
	}
	if own.kind == absent && !r.mayBring(secret.Moment{Incarnation: lives[s.admitted[p.to]], Revision: int64(to.horizons[s.admitted[p.to]])},
		secret.Moment{Incarnation: lives[p.incarnation], Revision: int64(p.read)}) {
		return false, nil
	}
	before := *to
	if !r.apply(to, p, meant) {
		*to = before
		return false, nil
	}
	broken = s.checkApplied(&before, to, p)
	for record := range to.has {
		if to.has[record].kind != absent {
			to.forgotten[record] = 0
		}
	}
	return true, broken
}

// apply puts a newer state; false if its name is taken.
func (r *rules) apply(to *place, p shipment, meant bool) bool {
	incoming, own := p.state, &to.has[p.record]
	incoming.open, incoming.poison = false, false
	if !meant {
		*own = copied{kind: released, seq: incoming.seq, content: incoming.content, targets: incoming.targets}
		if r.forgetsReleased {
			*own = copied{}
		}
		if to.holder == p.record {
			to.holder = nobody
		}
		return true
	}
	switch {
	case incoming.kind == purged:
		if to.holder == p.record {
			to.holder = nobody
		}
	case to.holder == nobody || to.holder == p.record || r.takesNames:
		to.holder = p.record
	default:
		held := &to.has[to.holder]
		if !p.with || !r.yields(held.ownership(), p.predecessor.ownership(), stateOf(p.predecessor)) {
			return false
		}
		*held = p.predecessor
		to.holder = p.record
	}
	*own = incoming
	return true
}

func stateOf(c copied) secret.State {
	if c.kind == purged {
		return secret.Deleted
	}
	return secret.Active
}

// lives are the incarnations of the home.
var lives = [lifetimes]secret.Incarnation{"first", "second"}

// changeVault makes west a target of the vault, or takes that back, and has the
// vault's record cleared and told.
func (r *rules) changeVault(s *state, tell func(string, state, error)) {
	home := &s.places[east].vault
	if s.left.vaults > 0 {
		n := *s
		n.contents++
		n.left.vaults--
		v := &n.places[east].vault
		v.seq, v.targets, v.open = v.seq+1, v.targets^1<<west, true
		for record := range records {
			if v.targets&(1<<west) != 0 && n.places[east].has[record].kind != absent {
				n.queue[west][record].sync = n.contents
			}
		}
		tell("west is a target of the vault, or is so no more", n, nil)
	}
	if home.open {
		n := *s
		n.places[east].vault.open = false
		for to := west; to < regions; to++ {
			n.vaultWaits[to] = true
		}
		tell("the pipeline clears the vault", n, nil)
		return
	}
	for to := west; to < regions; to++ {
		if s.vaultWaits[to] {
			n := *s
			n.vaultWaits[to] = false
			r.receiveVault(&n, to)
			tell("the vault's record reaches "+string(names[to]), n, nil)
		}
	}
}

// receiveVault has a region hear of the vault, and drop what is no longer meant for it.
func (r *rules) receiveVault(s *state, to int) {
	p := &s.places[to]
	p.vault = s.places[east].vault
	for record, c := range p.has {
		if c.kind != live && c.kind != purged || r.meantFor(p.vault, c, to) {
			continue
		}
		p.has[record] = copied{}
		if s.timed {
			p.forgotten[record] = max(p.forgotten[record], c.seq)
		}
		if p.holder == uint8(record) {
			p.holder = nobody
		}
	}
	if s.timed && !r.dropsQuietly {
		p.horizons[s.admitted[to]] = max(p.horizons[s.admitted[to]], s.now())
	}
}

// operate is what an operator does, and what happens to whole regions.
func (r *rules) operate(s *state, tell func(string, state, error)) {
	if s.left.backups > 0 && !s.backedUp {
		n := *s
		n.backedUp, n.left.backups = true, s.left.backups-1
		n.backup = durable{has: s.places[east].has, holder: s.places[east].holder, queue: s.queue, at: s.now()}
		tell("east is backed up", n, nil)
	}
	if s.left.restores > 0 && s.backedUp {
		n := *s
		n.left.restores--
		n.places[east].has, n.places[east].holder, n.queue = s.backup.has, s.backup.holder, s.backup.queue
		n.places[east].incarnation++
		n.origin, n.confirmed = s.backup.at, [regions][records]bool{}
		n.told = [regions][records]uint8{}
		n.backedUp, n.backup = false, durable{}
		tell("east is restored from its backup", n, nil)
	}
	for to := west; to < regions; to++ {
		if s.admitted[to] != s.places[east].incarnation && r.returns(s, to) {
			n := *s
			n.admitted[to] = s.places[east].incarnation
			tell(fmt.Sprintf("an operator admits east's new life in %s", names[to]), n, nil)
		}
	}
	for at := range s.places {
		if s.left.upgrades > 0 && s.places[at].release == 0 {
			n := *s
			n.left.upgrades--
			n.places[at].release++
			tell(fmt.Sprintf("%s is upgraded", names[at]), n, nil)
		}
	}
}
