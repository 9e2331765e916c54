package queue_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/queue"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func key(n int) record.Key { return record.Key(fmt.Sprintf("secret/V/%06d", n)) }

// enqueue clears a mutation of a record that committed just now.
func (p *process) enqueue(t testing.TB, key record.Key, targets ...secret.RegionName) {
	t.Helper()
	var txn record.Txn
	p.Enqueue(&txn, targets, key, time.Now())
	if _, err := p.shard.Commit(t.Context(), txn); err != nil {
		t.Fatal(err)
	}
}

// taken are the records of what can be taken from west.
func (p *process) taken(most int) (messages []queue.Message, keys []record.Key) {
	messages = p.Take(west, most)
	for _, m := range messages {
		keys = append(keys, m.Record)
	}
	return messages, keys
}

func (p *process) mustTake(t testing.TB, want ...record.Key) []queue.Message {
	t.Helper()
	messages, got := p.taken(100)
	if !slices.Equal(got, want) {
		t.Fatalf("took %v, want %v", got, want)
	}
	return messages
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestOldestFirstAndOnceInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := follow(t, queue.Options{})
		for _, n := range []int{3, 1, 2} {
			p.enqueue(t, key(n), west, "south")
			time.Sleep(time.Second)
		}
		first := p.mustTake(t, key(3), key(1), key(2))
		p.mustTake(t)
		if got := p.Status(west); got.Depth != 3 || got.InFlight != 3 || got.Age != 3*time.Second {
			t.Errorf("%+v", got)
		}
		must(t, p.Done(t.Context(), west, first[:2]))
		if s.message(t, west, key(3)) != nil || s.message(t, west, key(2)) == nil || s.message(t, "south", key(3)) == nil {
			t.Error("other messages are gone than those that are done")
		}
		p.Release(west, first[2:], 0)
		p.mustTake(t, key(2))
		if got := p.Status("south"); got.Depth != 3 || got.InFlight != 0 {
			t.Errorf("south: %+v", got)
		}
	})
}

func TestARecordIsCoalesced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := follow(t, queue.Options{})
		began := time.Now()
		p.enqueue(t, key(1), west)
		for range 1000 {
			time.Sleep(time.Second)
			p.enqueue(t, key(1), west)
		}
		m := p.mustTake(t, key(1))[0]
		if !m.Since.Equal(began) || !m.CommittedAt.Equal(time.Now()) || len(s.records) != 1 {
			t.Errorf("%+v, %d records", m, len(s.records))
		}
		// What is put again while it is in flight stays, and is not taken twice.
		p.enqueue(t, key(1), west)
		p.mustTake(t)
		must(t, p.Done(t.Context(), west, []queue.Message{m}))
		if s.message(t, west, key(1)) == nil {
			t.Fatal("a mutation after the delivery began is lost")
		}
		must(t, p.Done(t.Context(), west, p.mustTake(t, key(1))))
		if got := p.Status(west); got.Depth != 0 || len(s.records) != 0 || got.InFlight != 0 {
			t.Errorf("%+v", got)
		}
	})
}

// The feed may be behind what this process itself has written.
func TestAFeedThatIsLate(t *testing.T) {
	s := newShard()
	p := s.start(t, queue.Options{})
	p.enqueue(t, key(1), west)
	p.mustTake(t)
	p.hear(1)
	m := p.mustTake(t, key(1))
	p.enqueue(t, key(1), west)
	must(t, p.Done(t.Context(), west, m)) // the feed has not told of the second one
	p.mustTake(t)
	p.hear(9)
	m = p.mustTake(t, key(1))
	must(t, p.Done(t.Context(), west, m))
	p.enqueue(t, key(1), west)
	p.hear(9) // deleted and put
	p.mustTake(t, key(1))
}

func TestFailuresBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := follow(t, queue.Options{})
		p.enqueue(t, key(1), west)
		last := time.Duration(0)
		for n := range 15 {
			messages := p.mustTake(t, key(1))
			long := strings.Repeat("é", 400)
			must(t, p.Failed(t.Context(), west, []queue.Failure{{Message: messages[0], Code: secret.CodeUnknownFormat, Reason: long}}))
			p.mustTake(t)
			m := s.message(t, west, key(1))
			if int(m.GetAttempts()) != n+1 || m.GetFailureCode() != string(secret.CodeUnknownFormat) || len(m.GetFailureReason()) != 512 {
				t.Fatalf("%v", m)
			}
			began := time.Now()
			must(t, p.Wait(t.Context(), west))
			waited := time.Since(began)
			if low := min(250*time.Millisecond<<n, 3*time.Minute); waited < low || waited > min(4*low, 5*time.Minute) {
				t.Errorf("waited %v after failure %d", waited, n+1)
			}
			last = waited
		}
		if last < 3*time.Minute {
			t.Errorf("the last wait was %v", last)
		}
		if got := p.Status(west); got.Failed != 1 || got.Depth != 1 {
			t.Errorf("%+v", got)
		}
		// A new mutation is tried at once.
		must(t, p.Failed(t.Context(), west, []queue.Failure{{Message: p.mustTake(t, key(1))[0]}}))
		p.enqueue(t, key(1), west)
		if got := p.Status(west); got.Failed != 0 {
			t.Errorf("%+v", got)
		}
		must(t, p.Done(t.Context(), west, p.mustTake(t, key(1))))
	})
}

// Messages that keep failing take turns with the others.
func TestFailingMessagesDoNotHoldUpOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := follow(t, queue.Options{})
		for n := range 100 {
			p.enqueue(t, key(n), west)
		}
		good := 0
		for range 100 {
			time.Sleep(time.Second)
			p.enqueue(t, key(1000+good), west)
			for _, m := range p.Take(west, 20) {
				if m.Record == key(1000+good) {
					good++
					must(t, p.Done(t.Context(), west, []queue.Message{m}))
				} else {
					must(t, p.Failed(t.Context(), west, []queue.Failure{{Message: m}}))
				}
			}
		}
		if good < 70 {
			t.Errorf("of one message a second %d were delivered in 100 s", good)
		}
	})
}

func TestATargetThatIsNotReachedIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := follow(t, queue.Options{})
		p.enqueue(t, key(1), west, "south")
		p.enqueue(t, key(2), west)
		revision := s.revision
		var waits []time.Duration
		for range 12 {
			messages := p.Take(west, 1)
			waits = append(waits, p.Unreachable(west, messages))
			if again := p.Unreachable(west, nil); again > waits[len(waits)-1] {
				t.Errorf("one outage counts twice: %v after %v", again, waits)
			}
			p.mustTake(t)
			if len(p.Take("south", 1)) == 1 {
				p.Release("south", []queue.Message{{Record: key(1), Revision: 1}}, 0)
			} else {
				t.Fatal("south waits for west")
			}
			must(t, p.Wait(t.Context(), west))
		}
		if last := waits[11]; last < 15*time.Second || last > 30*time.Second || waits[0] > time.Second {
			t.Errorf("waits %v", waits)
		}
		if s.revision != revision {
			t.Error("something was written for messages that were not tried")
		}
		p.Unreachable(west, p.Take(west, 1))
		p.mustTake(t)
		p.Reached(west)
		must(t, p.Done(t.Context(), west, p.Take(west, 1)))
		if got := p.Status(west); got.Unreachable != 0 || !got.NextTryAt.IsZero() {
			t.Errorf("%+v", got)
		}
	})
}

func TestPauseAndResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := follow(t, queue.Options{})
		p.enqueue(t, key(1), west)
		if err := p.Pause(t.Context(), west, queue.Pause{Until: time.Now().Add(-time.Second)}); !secret.HasCode(err, secret.CodeInvalid) {
			t.Errorf("a pause until a time that is past: %v", err)
		}
		must(t, p.Pause(t.Context(), west, queue.Pause{Until: time.Now().Add(time.Hour), By: "ana", Reason: "maintenance"}))
		p.mustTake(t)
		p.enqueue(t, key(2), west)
		if got := p.Status(west); !got.Paused || got.PausedBy != "ana" || got.PauseReason != "maintenance" || got.Depth != 2 {
			t.Errorf("%+v", got)
		}
		began := time.Now()
		must(t, p.Wait(t.Context(), west))
		if waited := time.Since(began); waited != time.Hour {
			t.Errorf("resumed after %v", waited)
		}
		if got := p.Status(west); got.Paused {
			t.Errorf("%+v", got)
		}
		p.Release(west, p.mustTake(t, key(1), key(2)), 0)

		must(t, p.Pause(t.Context(), west, queue.Pause{}))
		resumed := make(chan error)
		go func() { resumed <- p.Wait(t.Context(), west) }()
		time.Sleep(1000 * time.Hour)
		select {
		case err := <-resumed:
			t.Fatalf("resumed by itself: %v", err)
		default:
		}
		must(t, p.Resume(t.Context(), west))
		must(t, <-resumed)
		p.mustTake(t, key(1), key(2))
	})
}

func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := follow(t, queue.Options{})
		fail := func(messages ...queue.Message) {
			for range 10 {
				for _, m := range messages {
					must(t, p.Failed(t.Context(), west, []queue.Failure{{Message: m, Code: secret.CodeDenied, Reason: "no"}}))
				}
				time.Sleep(5 * time.Minute)
				messages = p.Take(west, 10)
			}
			for _, m := range messages {
				must(t, p.Failed(t.Context(), west, []queue.Failure{{Message: m, Code: secret.CodeDenied, Reason: "no"}}))
			}
			p.mustTake(t)
		}
		for n := range 3 {
			p.enqueue(t, key(n), west)
		}
		fail(p.mustTake(t, key(0), key(1), key(2))...)
		p.Unreachable(west, nil)
		must(t, p.Retry(t.Context(), west, key(1)))
		fail(p.mustTake(t, key(1))...)
		if err := p.Retry(t.Context(), west, key(7)); !secret.HasCode(err, secret.CodeNotFound) {
			t.Errorf("retry of what does not wait: %v", err)
		}
		p.Unreachable(west, nil)
		must(t, p.RetryAll(t.Context(), west))
		if got := p.Take(west, 10); len(got) != 3 {
			t.Errorf("took %v after a retry of all", got)
		}
		must(t, p.RetryAll(t.Context(), west))
	})
}

func TestFailuresAreListed(t *testing.T) {
	_, p := follow(t, queue.Options{})
	for n := range 50 {
		p.enqueue(t, key(n), west, "westend")
	}
	for _, m := range p.Take(west, 50) {
		if m.Record >= key(20) {
			must(t, p.Failed(t.Context(), west, []queue.Failure{{Message: m, Code: secret.CodeDenied, Reason: "no"}}))
		}
	}
	var got []string
	after, pages := record.Key(""), 0
	for more := true; more; pages++ {
		err := p.View(func(v record.View) error {
			page, last, rest, err := p.Failures(v, west, after, 7)
			for _, m := range page {
				got = append(got, m.GetRecord()+" "+m.GetFailureCode()+" "+m.GetFailureReason())
			}
			after, more = last, rest
			return err
		})
		must(t, err)
	}
	if len(got) != 30 || got[0] != string(key(20))+" permission_denied no" || pages != 5 {
		t.Errorf("%d failures in %d pages: %v", len(got), pages, got)
	}
}

func TestAStoreThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := follow(t, queue.Options{})
		for n := range 2 {
			p.enqueue(t, key(n), west)
		}
		messages := p.mustTake(t, key(0), key(1))
		s.down = secret.Errorf(secret.CodeUnavailable, "down")
		if err := p.Done(t.Context(), west, messages[:1]); !errors.Is(err, s.down) {
			t.Error(err)
		}
		if err := p.Failed(t.Context(), west, []queue.Failure{{Message: messages[1]}}); !errors.Is(err, s.down) {
			t.Error(err)
		}
		p.mustTake(t)
		for _, err := range []error{
			p.Pause(t.Context(), west, queue.Pause{}), p.Resume(t.Context(), west), p.RetryAll(t.Context(), west), p.Retry(t.Context(), west, key(0)),
			p.Resynchronise(t.Context(), west, ""), p.Forget(t.Context(), west), p.Load(),
		} {
			if !errors.Is(err, s.down) {
				t.Error(err)
			}
		}
		s.down = nil
		must(t, p.Wait(t.Context(), west))
		time.Sleep(time.Second)
		if got, _ := p.taken(9); len(got) != 2 {
			t.Errorf("took %v once the store is back", got)
		}
	})
}

func TestWaitEndsWithItsContext(t *testing.T) {
	_, p := follow(t, queue.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 2 {
		if err := p.Wait(ctx, west); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if err := p.WaitResynchronise(ctx, west); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		p.enqueue(t, key(1), west) // also if there is something
		must(t, p.Resynchronise(t.Context(), west, "test"))
	}
}

// Nothing is handed out before it is known what there is.
func TestLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := follow(t, queue.Options{})
		for n := range 3 {
			p.enqueue(t, key(n), west)
		}
		must(t, p.Pause(t.Context(), "south", queue.Pause{Reason: "x"}))
		must(t, p.Resynchronise(t.Context(), "north", "new"))
		late := queue.New(queue.Options{Store: s, Local: p})
		late.Changed(s.log)
		if got := late.Take(west, 9); len(got) != 0 {
			t.Errorf("took %v before Load", got)
		}
		must(t, late.Load())
		if got := late.Take(west, 9); len(got) != 3 {
			t.Errorf("took %v after Load", got)
		}
		// What is in flight stays so, what is gone is forgotten.
		delete(p.local, record.MessageKey(west, key(1)))
		must(t, late.Load())
		if got := late.Take(west, 9); len(got) != 0 {
			t.Errorf("took %v twice", got)
		}
		if got := late.Status(west); got.Depth != 2 || got.InFlight != 2 {
			t.Errorf("%+v", got)
		}
		if got := late.Status("south"); !got.Paused {
			t.Errorf("%+v", got)
		}
		if got := late.Status("north"); got.Resynchronisation.GetReason() != "new" {
			t.Errorf("%+v", got)
		}
		if got := late.Targets(); !slices.Equal(got, []secret.RegionName{"north", "south", "west"}) {
			t.Errorf("targets %v", got)
		}
	})
}

func TestThroughput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := follow(t, queue.Options{})
		for n := range 120 {
			p.enqueue(t, key(n), west)
			must(t, p.Done(t.Context(), west, p.Take(west, 1)))
			time.Sleep(500 * time.Millisecond)
		}
		if got := p.Status(west).Throughput; got < 1.9 || got > 2.1 {
			t.Errorf("%v messages a second", got)
		}
		time.Sleep(30 * time.Second)
		if got := p.Status(west).Throughput; got < 0.9 || got > 1.1 {
			t.Errorf("%v messages a second after half a minute of none", got)
		}
		time.Sleep(40 * time.Second)
		if got := p.Status(west).Throughput; got != 0 {
			t.Errorf("%v messages a second after more than a minute of none", got)
		}
	})
}

func TestForget(t *testing.T) {
	s, p := follow(t, queue.Options{})
	for n := range 2500 {
		p.enqueue(t, key(n), west)
	}
	p.enqueue(t, key(1), "westend")
	must(t, p.Pause(t.Context(), west, queue.Pause{}))
	must(t, p.Resynchronise(t.Context(), west, "x"))
	must(t, p.Forget(t.Context(), west))
	if got := s.keys("", ""); len(got) != 1 || s.message(t, "westend", key(1)) == nil {
		t.Errorf("left: %v", got)
	}
	if got := p.Status(west); got.Depth != 0 || got.Paused || got.Resynchronisation != nil {
		t.Errorf("%+v", got)
	}
	if s.largest > 1000 {
		t.Errorf("%d records were deleted at once", s.largest)
	}
}
