package pipeline

import (
	"cmp"
	"slices"
)

// enqueue takes note of an open work item; mu is held. The queue stays in
// proportion to the open items, also where nobody takes from it: in a process
// that does not own the pipeline.
func (p *Pipeline) enqueue(it item) {
	p.items[it.record] = it
	p.queue = append(p.queue, it)
	if len(p.queue) > 2*len(p.items)+64 {
		p.queue = slices.Clone(slices.DeleteFunc(p.queue, func(it item) bool { return p.items[it.record] != it }))
	}
}

// due returns at most a batch of items that all live hosts have applied, oldest
// first; mu is held. What it passes over is not looked at again: finished items
// leave the queue for good, those that are held until requeue.
func (p *Pipeline) due() []item {
	var due []item
	n := 0
	for ; n < len(p.queue) && len(due) < batch && p.queue[n].revision <= p.cleared; n++ {
		it := p.queue[n]
		_, failed := p.failed[it.record]
		switch {
		case p.items[it.record] != it, p.held[it.record] == it:
		case failed || p.quarantined(it.record):
			p.held[it.record] = it
		default:
			due = append(due, it)
		}
	}
	n -= len(due)
	copy(p.queue[n:], due)
	p.queue = p.queue[n:]
	return due
}

// ready counts the items that can be finished now.
func (p *Pipeline) ready() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.due())
}

// requeue has the held items looked at again; mu is held.
func (p *Pipeline) requeue() {
	if len(p.held) == 0 {
		return
	}
	for _, it := range p.held {
		if p.items[it.record] == it {
			p.queue = append(p.queue, it)
		}
	}
	clear(p.held)
	slices.SortStableFunc(p.queue, func(a, b item) int { return cmp.Compare(a.revision, b.revision) })
}
