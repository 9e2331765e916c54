package event_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/event"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
)

func change(vault string, revision int64) record.Change {
	id := fmt.Sprintf("%026d", revision)
	return record.Change{Stored: record.Stored{
		Key: record.OutboxKey(id), Value: record.Events.Encode(&recordpb.Event{Id: id, Vault: vault, Type: "created"}), Revision: revision,
	}}
}

// drain returns the revisions of what waits for a subscription.
func drain(s *event.Subscription) (revisions []int64, open bool) {
	for {
		select {
		case e, ok := <-s.Events:
			if !ok {
				return revisions, false
			}
			revisions = append(revisions, e.Revision)
		default:
			return revisions, true
		}
	}
}

func TestAVaultsEventsComeInOrder(t *testing.T) {
	hub := new(event.Hub)
	hub.Changed([]record.Change{change("v", 1), change("v", 2)})
	s, other := hub.Subscribe("v"), hub.Subscribe("w")
	defer s.Close()
	defer other.Close()
	hub.Changed([]record.Change{change("v", 3), change("w", 4)})
	deleted := change("v", 5)
	deleted.Deleted = true
	foreign := record.Change{Stored: record.Stored{Key: record.SecretPrefix + "x", Value: []byte("no event"), Revision: 6}}
	broken := change("v", 7)
	broken.Value = []byte("broken")
	hub.Changed([]record.Change{deleted, foreign, broken, change("v", 8)})
	if got, open := drain(s); fmt.Sprint(got) != "[3 8]" || !open {
		t.Errorf("got %v, open %t", got, open)
	}
	if got, _ := drain(other); fmt.Sprint(got) != "[4]" {
		t.Errorf("the other vault got %v", got)
	}
	if late := hub.Subscribe("v"); late.Start < 8 {
		t.Errorf("a late subscription starts at %d", late.Start)
	}
}

func TestASlowWatcherIsCutOffAndHoldsUpNobody(t *testing.T) {
	hub := new(event.Hub)
	slow, fast := hub.Subscribe("v"), hub.Subscribe("v")
	defer fast.Close()
	seen := int64(0)
	for revision := int64(1); revision <= 3000; revision++ {
		hub.Changed([]record.Change{change("v", revision)})
		if got, open := drain(fast); len(got) != 1 || !open {
			t.Fatalf("the fast one got %v at %d", got, revision)
		}
		seen++
	}
	got, open := drain(slow)
	if open || !slow.Overflow() || fast.Overflow() {
		t.Fatalf("the slow one is open %t, cut off %t", open, slow.Overflow())
	}
	for i, revision := range got {
		if revision != int64(i+1) {
			t.Fatalf("what the slow one got before has a hole: %v", got)
		}
	}
	slow.Close()
	slow.Close()
}

func TestEventsThatComeAgainEndTheWatches(t *testing.T) {
	hub := new(event.Hub)
	s := hub.Subscribe("v")
	hub.Changed([]record.Change{change("v", 10)})
	hub.Changed([]record.Change{change("v", 4)})
	if got, open := drain(s); fmt.Sprint(got) != "[10]" || open || !s.Overflow() {
		t.Errorf("got %v, open %t", got, open)
	}
}

func TestEventsThatCommittedTogetherComeInTheOrderOfTheirIDs(t *testing.T) {
	hub := new(event.Hub)
	s := hub.Subscribe("v")
	together := []record.Change{change("v", 3), change("v", 1), change("v", 2)}
	for i := range together {
		together[i].Revision = 7
	}
	hub.Changed(append(together, change("v", 8)))
	for _, want := range []string{"1", "2", "3", "8"} {
		if e := <-s.Events; e.GetId() != fmt.Sprintf("%026s", want) {
			t.Errorf("got %s, want %s", e.GetId(), want)
		}
	}
	one := change("v", 20)
	one.Revision = 30
	hub.Changed([]record.Change{one})
	earlier := change("v", 19)
	earlier.Revision = 30
	hub.Changed([]record.Change{earlier})
	if got, open := drain(s); fmt.Sprint(got) != "[30]" || open || !s.Overflow() {
		t.Errorf("of a revision that is shown in parts, against its order, came %v, open %t", got, open)
	}
}

func TestAResetEndsTheWatchesAndCountsAnew(t *testing.T) {
	hub := new(event.Hub)
	before := hub.Subscribe("v")
	hub.Changed([]record.Change{change("v", 1000)})
	hub.Reset()
	if got, open := drain(before); fmt.Sprint(got) != "[1000]" || open || !before.Overflow() {
		t.Errorf("got %v, open %t", got, open)
	}
	after := hub.Subscribe("v")
	defer after.Close()
	if after.Start != 0 {
		t.Errorf("a subscription in the new life starts at %d", after.Start)
	}
	hub.Changed([]record.Change{change("v", 3)})
	if got, open := drain(after); fmt.Sprint(got) != "[3]" || !open {
		t.Errorf("in the new life got %v, open %t", got, open)
	}
}

func TestSubscriptionsComeAndGoUnderLoad(t *testing.T) {
	hub := new(event.Hub)
	var running sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		running.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				s := hub.Subscribe("v")
				last := s.Start
				for range 3 {
					select {
					case e := <-s.Events:
						if e.Revision <= last {
							t.Errorf("%d after %d", e.Revision, last)
						}
						last = e.Revision
					case <-stop:
					}
				}
				s.Close()
			}
		})
	}
	for revision := int64(1); revision <= 5000; revision++ {
		hub.Changed([]record.Change{change("v", revision)})
	}
	close(stop)
	running.Wait()
}
