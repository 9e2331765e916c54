package pipeline

import (
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// delivery is an item that is, or was, brought to other regions before it is finished.
type delivery struct {
	item
	// cleared is when.
	cleared  time.Time
	received []secret.RegionName
}

// Delivery is what came of a mutation that Options.Deliver has brought to other
// regions.
type Delivery struct {
	Mutation
	// Received are the regions that have it.
	Received []secret.RegionName
}

// offer has cleared items delivered, and returns those that nobody delivers. One that
// replaced another which is being delivered is not: its targets get a message.
func (p *Pipeline) offer(fresh []item) (rest []delivery) {
	p.mu.Lock()
	now := p.Now()
	var offered []Mutation
	var all []delivery
	for _, it := range fresh {
		d := delivery{item: it, cleared: now}
		if _, busy := p.delivering[it.Record]; p.Deliver == nil || busy {
			rest = append(rest, d)
			continue
		}
		p.delivering[it.Record] = d // before it can be delivered
		offered, all = append(offered, it.Mutation), append(all, d)
	}
	p.mu.Unlock()
	if len(offered) == 0 {
		return rest
	}
	brings := p.Deliver(offered)
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, d := range all {
		if !brings[i] {
			delete(p.delivering, d.Record)
			rest = append(rest, d)
		}
	}
	return rest
}

// Delivered tells what came of mutations that Options.Deliver brings to other regions,
// once for each.
func (p *Pipeline) Delivered(deliveries []Delivery) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range deliveries {
		d, ok := p.delivering[m.Record]
		if !ok || d.Mutation != m.Mutation {
			continue // looked at anew meanwhile
		}
		delete(p.delivering, m.Record)
		d.received = m.Received
		p.delivered = append(p.delivered, d)
	}
	p.wake()
}
