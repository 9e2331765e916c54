package replication

import (
	"context"
	"sync"
	"time"

	"connectrpc.com/connect"
)

// maxInLane bounds what waits for a target without messages.
const maxInLane = 4 * batchMessages

// lane is what a sender is to deliver without messages.
type lane struct {
	mu sync.Mutex
	// open is set while the sender runs.
	open    bool
	waiting []*delivery
	// resting is until when nothing is taken.
	resting time.Time
	// more holds a token when something waits.
	more chan struct{}
}

// take has a mutation delivered, unless it has to get a message.
func (s *Sender) take(d *delivery) bool {
	if !s.Queue.MayBypass(s.Target, d.Record) {
		return false
	}
	l := &s.lane
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.open || len(l.waiting) >= maxInLane || time.Now().Before(l.resting) {
		return false
	}
	l.waiting = append(l.waiting, d)
	signal(l.more)
	return true
}

func (l *lane) setOpen(open bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open, l.waiting = open, nil
}

// rest has nothing taken for a while.
func (l *lane) rest(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.resting = time.Now().Add(d)
}

func (l *lane) length() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting)
}

// next takes a batch out.
func (l *lane) next() []*delivery {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(len(l.waiting), batchMessages)
	batch := l.waiting[:n:n]
	if l.waiting = l.waiting[n:]; len(l.waiting) > 0 {
		signal(l.more)
	}
	return batch
}

// runLane delivers what is in the lane until ctx ends. What it leaves gets messages.
func (s *Sender) runLane(ctx context.Context, slots chan struct{}) {
	s.lane.setOpen(true)
	defer s.lane.setOpen(false)
	var parts sync.WaitGroup
	defer parts.Wait()
	var taken time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.lane.more:
		}
		if s.gather(ctx, taken, s.lane.length) != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case slots <- struct{}{}:
		}
		taken = s.Now()
		batch := s.lane.next()
		parts.Go(func() {
			defer func() { <-slots }()
			s.deliverDirectly(ctx, batch)
		})
	}
}

// deliverDirectly brings the target the states that the work items of some mutations
// are of.
func (s *Sender) deliverDirectly(ctx context.Context, batch []*delivery) {
	if len(batch) == 0 {
		return
	}
	all := batch[0].of
	if batch = all.stillWaited(s, batch); len(batch) == 0 {
		return
	}
	parcels := make([]*parcel, len(batch))
	for i, d := range batch {
		parcels[i] = &parcel{key: d.Record, delivery: d}
	}
	fates := s.send(ctx, parcels)
	var received, missed []*delivery
	unreached := false
	for _, d := range batch {
		fate := fates[d.Record]
		if fate.err == nil {
			received = append(received, d)
			s.Delivered(s.Now().Sub(d.Committed))
			continue
		}
		missed = append(missed, d)
		unreached = unreached || fate.unreachable
		if connect.CodeOf(fate.err) == connect.CodeResourceExhausted {
			s.lane.rest(fate.rest) // the target asks for less
		}
	}
	s.Queue.Bypassed(s.Target, len(received))
	if unreached && ctx.Err() == nil {
		s.Queue.Unreachable(s.Target, nil)
	}
	all.settle(s, received, missed)
}
