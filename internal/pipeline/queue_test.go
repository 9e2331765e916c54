package pipeline

import (
	"fmt"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
)

func work(key record.Key, revision int64) record.Change {
	return record.Change{Stored: record.Stored{Key: record.WorkKey(key), Value: record.WorkItems.Encode(&recordpb.WorkItem{Record: string(key)}), Revision: revision}}
}

func done(key record.Key, revision int64) record.Change {
	return record.Change{Stored: record.Stored{Key: record.WorkKey(key), Revision: revision}, Deleted: true}
}

// A process that does not own the pipeline hears of all items and takes none.
func TestTheQueueStaysInProportionToTheOpenItems(t *testing.T) {
	p := New(Options{})
	p.Changed([]record.Change{work("secret/V/stuck", 1)})
	for i := range int64(10_000) {
		key := record.Key(fmt.Sprint("secret/V/", i%10))
		p.Changed([]record.Change{work(key, 2*i+2), done(key, 2*i+3)})
	}
	if n := len(p.queue); n > 70 {
		t.Errorf("the queue holds %d entries for one open item", n)
	}
	if c := cap(p.queue); c > 1000 {
		t.Errorf("the queue has room for %d entries", c)
	}
}

// Items that a host cannot apply are not looked at in each pass.
func TestHeldItemsLeaveTheQueue(t *testing.T) {
	p := New(Options{})
	for i := range int64(1000) {
		key := record.Key(fmt.Sprint("secret/V/bad", i))
		p.Changed([]record.Change{work(key, i+1)})
		p.failed[key] = 1
	}
	p.Changed([]record.Change{work("secret/V/good", 2000), work("secret/V/later", 3000)})
	p.cleared = 2500
	for range 2 {
		if _, due := p.due(); len(due) != 1 || due[0].Record != "secret/V/good" {
			t.Fatalf("due: %v", due)
		}
	}
	if len(p.queue) != 2 {
		t.Errorf("%d entries are left in the queue", len(p.queue))
	}
	p.Changed([]record.Change{{Stored: record.Stored{Key: record.QuarantineKey("secret/V/bad7")}, Deleted: true}})
	if _, due := p.due(); len(due) != 2 || due[0].Record != "secret/V/bad7" {
		t.Errorf("due once an item's mark is gone: %v", due)
	}
}
