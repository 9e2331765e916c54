package queue_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/queue"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// A dead target costs what its records cost, however often they change.
func TestADeadTargetStaysBounded(t *testing.T) {
	s, p := follow(t, queue.Options{Cap: 100})
	for n := range 10_000 {
		p.enqueue(t, key(n%90), west)
	}
	if n := len(s.keys("", "")); n != 90 {
		t.Fatalf("%d records for 10,000 mutations of 90 records", n)
	}
	for n := range 10_000 {
		p.enqueue(t, key(n), west)
	}
	if n := len(s.keys(record.MessagePrefix, record.PrefixEnd(record.MessagePrefix))); n != 100 {
		t.Errorf("%d messages, the cap is 100", n)
	}
	mark := p.Status(west).Resynchronisation
	if mark.GetGeneration() != 1 || mark.GetReason() == "" {
		t.Errorf("mark: %v", mark)
	}
	revision := s.revision
	for n := range 100 {
		p.enqueue(t, key(5000+n), west)
	}
	if len(s.log) > 20_001 || s.revision != revision+100 {
		t.Error("a target that is marked is marked again")
	}
	p.enqueue(t, key(5), west) // there is a message for it
	if s.message(t, west, key(5)).GetCommittedAt() == s.message(t, west, key(5)).GetSince() {
		t.Error("a message at the cap was not put again")
	}
}

// A transaction writes each record once, also where several that it enqueues find
// the queue at its cap.
func TestSeveralRecordsInOneTransaction(t *testing.T) {
	_, p := follow(t, queue.Options{Cap: 2})
	var txn record.Txn
	for n := range 5 {
		p.Enqueue(&txn, []secret.RegionName{west, "south"}, key(n), time.Now())
	}
	written := map[record.Key]bool{}
	for _, w := range txn.Writes {
		if written[w.Key] {
			t.Errorf("%s is written twice", w.Key)
		}
		written[w.Key] = true
	}
	if len(written) != 6 || !written[record.ResynchronisationKey(west)] {
		t.Errorf("writes %v", written)
	}
}

// The cap holds although the feed has not told of what was enqueued.
func TestTheCapHoldsBeforeTheFeedTells(t *testing.T) {
	s := newShard()
	p := s.start(t, queue.Options{Cap: 100})
	for n := range 1000 {
		p.enqueue(t, key(n), west)
	}
	if n := len(s.keys(record.MessagePrefix, record.PrefixEnd(record.MessagePrefix))); n != 100 {
		t.Errorf("%d messages, the cap is 100", n)
	}
	p.hear(len(s.log))
	if got := len(p.Take(west, 1000)); got != 100 {
		t.Errorf("took %d", got)
	}
}

func TestResynchronisation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := follow(t, queue.Options{Cap: 1})
		ctx := t.Context()
		if _, err := p.BeginResynchronise(ctx, west); !secret.HasCode(err, secret.CodeNotFound) {
			t.Errorf("begun without a mark: %v", err)
		}
		waited := make(chan error)
		go func() { waited <- p.WaitResynchronise(ctx, west) }()
		p.enqueue(t, key(1), west)
		must(t, p.Pause(ctx, west, queue.Pause{Until: time.Now().Add(time.Hour)}))
		p.enqueue(t, key(2), west)
		synctest.Wait()
		select {
		case err := <-waited:
			t.Fatalf("a paused queue resynchronises: %v", err)
		default:
		}
		must(t, <-waited)

		first, err := p.BeginResynchronise(ctx, west)
		must(t, err)
		must(t, p.WaitResynchronise(ctx, west)) // it is not over
		p.enqueue(t, key(3), west)              // after it was compared, for all that is known
		if err := p.EndResynchronise(ctx, west, first); !secret.HasCode(err, secret.CodeStale) {
			t.Fatalf("what overflowed meanwhile is forgotten: %v", err)
		}
		if mark := p.Status(west).Resynchronisation; mark.GetGeneration() != 2 || mark.GetBegunAt() != 0 {
			t.Errorf("mark: %v", mark)
		}
		second, err := p.BeginResynchronise(ctx, west)
		must(t, err)
		must(t, p.EndResynchronise(ctx, west, second))
		if s.has(record.ResynchronisationKey(west)) || p.Status(west).Resynchronisation != nil {
			t.Error("the mark stays")
		}
	})
}

// A process whose feed is behind relies on a mark that has begun meanwhile.
func TestAMarkThatBeganMeanwhileIsNotReliedOn(t *testing.T) {
	s := newShard()
	p := s.start(t, queue.Options{Cap: 1})
	must(t, p.Resynchronise(t.Context(), west, "test"))
	p.enqueue(t, key(1), west)
	p.hear(9)
	_, err := p.BeginResynchronise(t.Context(), west)
	must(t, err)
	var txn record.Txn
	p.Enqueue(&txn, []secret.RegionName{west}, key(2), time.Now())
	if _, err := s.Commit(t.Context(), txn); !secret.HasCode(err, secret.CodeStale) {
		t.Fatalf("nothing tells west of the second record: %v", err)
	}
	p.hear(9)
	p.enqueue(t, key(2), west)
	p.hear(9)
	if mark := p.Status(west).Resynchronisation; mark.GetGeneration() != 2 {
		t.Errorf("mark: %v", mark)
	}
}
