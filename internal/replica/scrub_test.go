package replica_test

import (
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/replica"
)

func TestScrubDoesNotDelayARebuild(t *testing.T) {
	m := initialised()
	for i := range 1000 {
		m.put(name(i), ref(i))
	}
	h := start(t, options(t, m))
	h.wait(m.head())
	rests := 0
	if err := h.Scrub(t.Context(), func(time.Duration) { rests++ }); err != nil || rests < 3 {
		t.Fatalf("a sound file: %v after %d rests", err, rests)
	}
	rests = 0
	err := h.Scrub(t.Context(), func(time.Duration) {
		rests++
		h.FindDamaged()
		h.until("rebuilt", func(p replica.Position) bool { return p.Rebuilds == 1 && p.Resyncs == 2 && p.Synced && !p.Resyncing })
	})
	if err == nil || rests != 1 {
		t.Errorf("the scrub of a file that was replaced ended with %v after %d rests", err, rests)
	}
	h.mustEqual(m)
}

func TestScrubWhileRecordsComeAndGo(t *testing.T) {
	m := initialised()
	for i := range 1000 {
		m.put(name(i), ref(i))
	}
	h := start(t, options(t, m))
	h.wait(m.head())
	next := 0
	err := h.Scrub(t.Context(), func(time.Duration) {
		m.delete(name(next))
		m.delete(name(999 - next))
		h.wait(m.put(name(2000+next), ref(1)))
		next++
	})
	if err != nil {
		t.Errorf("scrub: %v", err)
	}
	if p := h.Position(); p.Rebuilds != 0 || p.CorruptionsFound != 0 {
		t.Errorf("position %+v", p)
	}
	h.mustEqual(m)
}
