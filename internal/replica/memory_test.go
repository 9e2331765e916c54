package replica_test

import (
	"fmt"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
)

// What readers make of records is kept for those who see the same state, and for
// nobody else.
func TestWhatIsKeptEndsWithTheState(t *testing.T) {
	m := newMemory()
	h := start(t, options(t, m))
	h.wait(m.put(name(1), ref(1)))
	recall := func(key record.Key) (kept any) {
		t.Helper()
		if err := h.View(func(v record.View) error {
			kept = v.(record.Memory).Recall(key)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return kept
	}
	keep := func(key record.Key, value any) {
		t.Helper()
		if err := h.View(func(v record.View) error {
			v.(record.Memory).Keep(key, value)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	keep(name(1), "one")
	if got := recall(name(1)); got != "one" {
		t.Errorf("the same state recalls %v", got)
	}
	if got := recall(name(2)); got != nil {
		t.Errorf("of another key it recalls %v", got)
	}
	keep(name(1), "changed")
	if got := recall(name(1)); got != "changed" {
		t.Errorf("what was kept last is %v", got)
	}
	for i := range 5000 { // more than there is room for
		keep(record.Key(fmt.Sprint(i)), i)
	}
	if got := recall("4999"); got != 4999 {
		t.Errorf("what was kept last is %v", got)
	}
	keep(name(1), "one")
	h.wait(m.put(name(2), ref(2)))
	if got := recall(name(1)); got != nil {
		t.Errorf("another state recalls %v", got)
	}
}
