package replication

import (
	"slices"
	"sync"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/pipeline"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

const (
	// deliverWithin is how long a cleared mutation's work item stays for targets to
	// receive it, which spares a message for each. Those that have not get one.
	deliverWithin = 500 * time.Millisecond
	// lateFor is how long a target that was late gets messages.
	lateFor = 5 * time.Second
)

// deliveries are the mutations on their way to targets without messages. Losing them
// loses nothing: the work items are still there.
type deliveries struct {
	// ended is told of those that are over.
	ended func([]pipeline.Delivery)

	mu       sync.Mutex
	underWay map[record.Key]*delivery
	// changed, if not nil, is closed when a target has received something.
	changed chan struct{}
}

// delivery is one of them.
type delivery struct {
	pipeline.Mutation
	of *deliveries

	// mu of deliveries guards these: the senders that have not said what came of it, and
	// the targets that have received it.
	waiting  []*Sender
	received []secret.RegionName

	// What all targets are sent at first is read once.
	reading  sync.Once
	shipment *service.Shipment
	err      error
}

// ship returns what all targets are sent at first. The first sender reads it.
func (d *delivery) ship(read func() (*service.Shipment, error)) (*service.Shipment, error) {
	d.reading.Do(func() { d.shipment, d.err = read() })
	return d.shipment, d.err
}

// Deliver brings targets what they lack of some mutations, as far as they can be
// reached at once, and answers of which there are any. Delivered is told what came of
// these, within deliverWithin. It implements pipeline.Options.
func (o *Outbound) Deliver(mutations []pipeline.Mutation) (brings []bool) {
	brings = make([]bool, len(mutations))
	var begun []*delivery
	_ = o.Local.View(func(view record.View) error { // whoever enqueues meets the same error
		for i, m := range mutations {
			targets, err := o.Routes.Targets(view, m.Record)
			if err != nil {
				continue
			}
			if d := o.direct.begin(m, o.senders(targets)); d != nil {
				brings[i], begun = true, append(begun, d)
			}
		}
		return nil
	})
	if len(begun) > 0 {
		time.AfterFunc(deliverWithin, func() { o.direct.expire(begun) })
	}
	return brings
}

func (o *Outbound) senders(targets []secret.RegionName) (all []*Sender) {
	for _, target := range targets {
		if s := o.Senders[target]; s != nil {
			all = append(all, s)
		}
	}
	return all
}

// begin hands a mutation to the senders that take it; it returns nil if none does.
func (all *deliveries) begin(m pipeline.Mutation, senders []*Sender) *delivery {
	all.mu.Lock()
	defer all.mu.Unlock()
	d := &delivery{Mutation: m, of: all}
	for _, s := range senders {
		if s.take(d) {
			d.waiting = append(d.waiting, s)
		}
	}
	if len(d.waiting) == 0 {
		return nil
	}
	if all.underWay == nil {
		all.underWay = make(map[record.Key]*delivery)
	}
	all.underWay[m.Record] = d
	return d
}

// settle takes note of what a sender did with some.
func (all *deliveries) settle(s *Sender, received, missed []*delivery) {
	all.mu.Lock()
	var over []pipeline.Delivery
	for i, d := range slices.Concat(received, missed) {
		at := slices.Index(d.waiting, s)
		if at < 0 {
			continue // it came too late
		}
		d.waiting = slices.Delete(d.waiting, at, at+1)
		if i < len(received) {
			d.received = append(d.received, s.Target)
		}
		if len(d.waiting) == 0 {
			over = append(over, all.end(d))
		}
	}
	if len(received) > 0 && all.changed != nil {
		close(all.changed)
		all.changed = nil
	}
	all.mu.Unlock()
	all.tell(over)
}

// expire ends those of some that are not over.
func (all *deliveries) expire(begun []*delivery) {
	all.mu.Lock()
	var over []pipeline.Delivery
	for _, d := range begun {
		if len(d.waiting) == 0 {
			continue
		}
		for _, s := range d.waiting {
			s.lane.rest(lateFor)
		}
		d.waiting = nil
		over = append(over, all.end(d))
	}
	all.mu.Unlock()
	all.tell(over)
}

// end returns what is to be told of one that is over; mu is held.
func (all *deliveries) end(d *delivery) pipeline.Delivery {
	if all.underWay[d.Record] == d {
		delete(all.underWay, d.Record)
	}
	return pipeline.Delivery{Mutation: d.Mutation, Received: d.received}
}

func (all *deliveries) tell(over []pipeline.Delivery) {
	if len(over) > 0 {
		all.ended(over)
	}
}

// stillWaited leaves out those that are over for a sender.
func (all *deliveries) stillWaited(s *Sender, batch []*delivery) []*delivery {
	all.mu.Lock()
	defer all.mu.Unlock()
	return slices.DeleteFunc(batch, func(d *delivery) bool { return !slices.Contains(d.waiting, s) })
}

// receivedBy returns the targets that have received the mutation of an open work item,
// and a channel that is closed when there may be more.
func (all *deliveries) receivedBy(key record.Key, work int64) (received []secret.RegionName, changed <-chan struct{}) {
	all.mu.Lock()
	defer all.mu.Unlock()
	if d := all.underWay[key]; d != nil && d.Revision == work {
		received = slices.Clone(d.received)
	}
	if all.changed == nil {
		all.changed = make(chan struct{})
	}
	return received, all.changed
}
