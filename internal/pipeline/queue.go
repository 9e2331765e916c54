package pipeline

import (
	"cmp"
	"maps"
	"slices"
)

// enqueue takes note of an open work item; mu is held. The queue stays in
// proportion to the open items, also where nobody takes from it: in a process
// that does not own the pipeline.
func (p *Pipeline) enqueue(it item) {
	p.items[it.Record] = it
	p.queue = append(p.queue, it)
	if len(p.queue) > 2*len(p.items)+64 {
		p.queue = slices.Clone(slices.DeleteFunc(p.queue, func(it item) bool { return p.items[it.Record] != it }))
	}
}

// due returns at most a batch of items that can be finished now: those that have been
// delivered, and those that all live hosts have applied, oldest first; mu is held.
// What it passes over is not looked at again: finished items leave the queue for good,
// those that are held until requeue.
func (p *Pipeline) due() (delivered []delivery, fresh []item) {
	live, _ := p.liveHosts()
	p.delivered = slices.DeleteFunc(p.delivered, func(d delivery) bool { return !p.mayFinish(d.item, live) })
	delivered = slices.Clone(p.delivered[:min(len(p.delivered), batch)])
	n := 0
	for ; n < len(p.queue) && len(delivered)+len(fresh) < batch && p.queue[n].Revision <= p.cleared; n++ {
		if it := p.queue[n]; p.delivering[it.Record].item != it && p.mayFinish(it, live) {
			fresh = append(fresh, it)
		}
	}
	n -= len(fresh)
	copy(p.queue[n:], fresh)
	p.queue = p.queue[n:]
	return delivered, fresh
}

// mayFinish reports whether an item is open and not held; mu is held. It holds one
// whose record a live host cannot apply.
func (p *Pipeline) mayFinish(it item, live []Report) bool {
	if p.items[it.Record] != it || p.held[it.Record] == it {
		return false
	}
	if _, failed := p.failed[it.Record]; failed || quarantined(live, it.Record) {
		p.held[it.Record] = it
		return false
	}
	return true
}

// ready counts the items that can be finished now.
func (p *Pipeline) ready() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	delivered, fresh := p.due()
	return len(delivered) + len(fresh)
}

// restart has all open items looked at as if they were new; mu is held.
func (p *Pipeline) restart() {
	clear(p.held)
	clear(p.delivering)
	p.delivered = nil
	p.queue = slices.SortedFunc(maps.Values(p.items), byRevision)
}

func byRevision(a, b item) int { return cmp.Compare(a.Revision, b.Revision) }

// requeue has the held items looked at again; mu is held.
func (p *Pipeline) requeue() {
	if len(p.held) == 0 {
		return
	}
	for _, it := range p.held {
		if p.items[it.Record] == it {
			p.queue = append(p.queue, it)
		}
	}
	clear(p.held)
	slices.SortStableFunc(p.queue, byRevision)
}
