package pipeline_test

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/pipeline"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// courier is whom the pipeline offers mutations to deliver, and enqueues them with.
type courier struct {
	pipeline *pipeline.Pipeline
	// refuses, if set, says which mutations it does not bring.
	refuses func(pipeline.Mutation) bool
	// after, if set, says how long after the offer it is delivered.
	after func(pipeline.Mutation) time.Duration

	mu      sync.Mutex
	offered []pipeline.Mutation
	// enqueued are the revisions that were finished last, by record, with who had them.
	enqueued map[record.Key]pipeline.Delivery
}

func startCourier(t testing.TB) (*memory, *pipeline.Pipeline, *courier) {
	c := &courier{enqueued: map[record.Key]pipeline.Delivery{}}
	m, p := startWith(t, pipeline.Options{Deliver: c.deliver, Enqueue: c.enqueue})
	c.pipeline = p
	return m, p, c
}

func (c *courier) deliver(mutations []pipeline.Mutation) []bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	brings := make([]bool, len(mutations))
	for i, m := range mutations {
		c.offered = append(c.offered, m)
		brings[i] = c.refuses == nil || !c.refuses(m)
		if brings[i] && c.after != nil {
			time.AfterFunc(c.after(m), func() { c.pipeline.Delivered([]pipeline.Delivery{{Mutation: m}}) })
		}
	}
	return brings
}

func (c *courier) enqueue(_ record.View, _ *record.Txn, m pipeline.Mutation, received []secret.RegionName) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.enqueued[m.Record] = pipeline.Delivery{Mutation: m, Received: received}
	return nil
}

// newest returns the highest revision that was offered.
func (c *courier) newest() (newest int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.offered {
		newest = max(newest, m.Revision)
	}
	return newest
}

// last returns what was offered last, and how much was.
func (c *courier) last() (pipeline.Mutation, int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.offered) == 0 {
		return pipeline.Mutation{}, 0
	}
	return c.offered[len(c.offered)-1], len(c.offered)
}

func (c *courier) finished(key record.Key) pipeline.Delivery {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.enqueued[key]
}

func TestAMutationIsDeliveredBeforeItIsFinished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p, c := startCourier(t)
		report(t, p, "a", 0)
		revision := m.mutate(someRecord)
		settle()
		if _, n := c.last(); n > 0 {
			t.Fatal("offered although no host has applied it")
		}
		report(t, p, "a", revision)
		settle()
		offered, n := c.last()
		if n != 1 || offered.Record != someRecord || offered.Revision != revision || !m.open(someRecord) {
			t.Fatalf("%d offers, the last %+v; open: %t", n, offered, m.open(someRecord))
		}
		p.Delivered([]pipeline.Delivery{{Mutation: offered, Received: []secret.RegionName{"west"}}})
		settle()
		if got := c.finished(someRecord); m.open(someRecord) || !slices.Equal(got.Received, []secret.RegionName{"west"}) {
			t.Errorf("finished with %+v; open: %t", got, m.open(someRecord))
		}
	})
}

// Its targets get messages, which stand for whatever comes next: otherwise a record
// that never rests would never be finished.
func TestWhatReplacesAMutationUnderDeliveryIsNotDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p, c := startCourier(t)
		report(t, p, "a", m.mutate(someRecord))
		settle()
		old, _ := c.last()
		next := m.mutate(someRecord)
		report(t, p, "a", next)
		settle()
		if _, n := c.last(); n != 1 {
			t.Fatalf("%d offers", n)
		}
		if got := c.finished(someRecord); m.open(someRecord) || got.Revision != next || len(got.Received) > 0 {
			t.Fatalf("finished: %+v; open: %t", got, m.open(someRecord))
		}
		p.Delivered([]pipeline.Delivery{{Mutation: old, Received: []secret.RegionName{"west"}}})
		report(t, p, "a", m.mutate(someRecord))
		settle()
		if _, n := c.last(); n != 2 || !m.open(someRecord) {
			t.Errorf("%d offers once it rests; open: %t", n, m.open(someRecord))
		}
	})
}

func TestADeliveryThatBecomesPoisonStaysHere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p, c := startCourier(t)
		revision := m.mutate(someRecord)
		report(t, p, "a", revision)
		settle()
		offered, _ := c.last()
		report(t, p, "a", revision, someRecord)
		p.Delivered([]pipeline.Delivery{{Mutation: offered}})
		settle()
		if !m.open(someRecord) {
			t.Fatal("finished although a host cannot apply it")
		}
		for range 3 {
			report(t, p, "a", revision)
			settle()
		}
		if _, n := c.last(); n != 2 {
			t.Errorf("%d offers once the host applies it again", n)
		}
	})
}

func TestWhatIsNotDeliveredIsFinishedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p, c := startCourier(t)
		c.refuses = func(m pipeline.Mutation) bool { return m.Record != someRecord }
		m.mutate("secret/V/other")
		report(t, p, "a", m.mutate(someRecord))
		settle()
		if !m.open(someRecord) || m.open("secret/V/other") {
			t.Errorf("open: %t, and of what is not delivered: %t", m.open(someRecord), m.open("secret/V/other"))
		}
		if err := p.Load(); err != nil { // another copy of the shard: what is under way is not known
			t.Fatal(err)
		}
		report(t, p, "a", m.latest())
		settle()
		if _, n := c.last(); n != 3 {
			t.Errorf("%d offers", n)
		}
	})
}
