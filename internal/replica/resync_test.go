package replica_test

import (
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/replica"
)

func TestOnResync(t *testing.T) {
	m := initialised()
	opts := options(t, m)
	applied, ended := 0, make(chan int, 10)
	opts.OnApply = func(changes []record.Change) { applied += len(changes) }
	opts.OnResync = func() { ended <- applied }
	m.put(name(1), ref(1))
	h := start(t, opts)
	if n := <-ended; n != 2 {
		t.Errorf("the first copy ended after %d changes, want 2", n)
	}
	if p := h.Position(); p.Resyncing || !p.Synced {
		t.Errorf("position %+v", p)
	}
	h.wait(m.put(name(2), ref(2)))
	h.end()
	m.put(name(3), ref(3))
	h = start(t, opts) // follows the feed
	h.wait(m.head())
	h.end()
	m.delete(name(3))
	m.compact()
	h = start(t, opts)
	if n := <-ended; n != 5 {
		t.Errorf("after a compaction it ended after %d changes, want 5", n)
	}
	h.until("in step", func(p replica.Position) bool { return p.Applied == m.head() })
	h.mustEqual(m)
	h.end()
	if len(ended) != 0 {
		t.Error("called although nothing was compared")
	}
}
