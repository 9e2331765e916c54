package store

import (
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
)

// What a transaction that met a full store left behind decides what is reported.
func TestSettlingAFullStore(t *testing.T) {
	t.Parallel()
	conditional := record.Txn{
		Conditions: []record.Condition{{Key: "a", Revision: 5}, {Key: "fence", Revision: 2}},
		Writes:     []record.Write{{Key: "a", Value: []byte("new")}, {Key: "b", Value: []byte("b")}, {Key: "c"}},
	}
	blind := record.Txn{Writes: []record.Write{{Key: "a", Value: []byte("new")}}}
	at := func(value string, revision int64) record.Stored {
		return record.Stored{Value: []byte(value), Revision: revision}
	}
	type records = map[record.Key]record.Stored
	for _, c := range []struct {
		name   string
		txn    record.Txn
		now    records
		done   int64
		absent bool
	}{
		{"committed", conditional, records{"a": at("new", 9), "b": at("b", 9), "fence": at("f", 2)}, 9, false},
		{"committed, then the rest was deleted", conditional, records{"a": at("new", 9)}, 9, false},
		{"committed, then the rest was written again", conditional, records{"a": at("new", 9), "b": at("other", 10), "c": at("c", 11)}, 9, false},
		{"side record of before", conditional, records{"a": at("new", 9), "b": at("other", 8)}, 0, false},
		{"refused", conditional, records{"a": at("old", 5), "c": at("c", 1), "fence": at("f", 2)}, 0, true},
		{"refused, same content", conditional, records{"a": at("new", 5), "b": at("b", 5)}, 0, true},
		{"overwritten or stale", conditional, records{"a": at("other", 10), "b": at("b", 9)}, 0, false},
		{"written by two", conditional, records{"a": at("new", 9), "b": at("b", 8)}, 0, false},
		{"not deleted", conditional, records{"a": at("new", 9), "b": at("b", 9), "c": at("c", 9)}, 0, false},
		{"blind, committed", blind, records{"a": at("new", 3)}, 3, false},
		{"blind, refused", blind, records{"a": at("old", 3)}, 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			revision, done := committedAt(c.txn, c.now)
			if done != (c.done != 0) || revision != c.done && done {
				t.Errorf("committed at %d, %v", revision, done)
			}
			if absent := provablyAbsent(c.txn, c.now); absent != c.absent {
				t.Errorf("provably absent: %v", absent)
			}
		})
	}
}

func TestHistoryKeepsWhatIsAskedFor(t *testing.T) {
	t.Parallel()
	begin := time.Unix(1000, 0)
	var h history
	for n := range 10 { // a revision each second
		h.add(begin.Add(time.Duration(n)*time.Second), int64(100+n))
	}
	for _, c := range []struct {
		seconds int
		want    int64
	}{{-1, 0}, {0, 100}, {4, 104}, {4, 104}, {9, 109}, {20, 109}} {
		if got := h.before(begin.Add(time.Duration(c.seconds) * time.Second)); got != c.want {
			t.Errorf("before second %d: revision %d, want %d", c.seconds, got, c.want)
		}
	}
	h.add(begin.Add(11*time.Second), 50) // restored from a backup
	if got := h.before(begin.Add(10 * time.Second)); got != 0 {
		t.Errorf("after a restore: revision %d is still remembered", got)
	}
}
