package store_test

import (
	"context"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/store"
)

// CommitEach does exactly what Commit one after the other would do, however the
// transactions depend on each other.
func TestCommitEachIsSequential(t *testing.T) {
	t.Parallel()
	client := start(t, store.EmbeddedOptions{}).Client()
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		round++
		one := store.Open(store.Options{Client: client, Prefix: fmt.Sprintf("one/%d/", round)})
		each := store.Open(store.Options{Client: client, Prefix: fmt.Sprintf("each/%d/", round)})
		txns := rapid.SliceOfN(rapid.Custom(drawTxn), 1, 12).Draw(rt, "txns")
		fence := rapid.SampledFrom([]int64{0, 0, 7}).Draw(rt, "fence") // there is none
		for i := range txns {
			txns[i].Require("fence", fence)
		}
		results, _, err := each.CommitEach(context.Background(), txns)
		if err != nil {
			rt.Fatal(err)
		}
		for i, txn := range txns {
			_, err := one.Commit(context.Background(), txn)
			if secret.CodeOf(err) != secret.CodeOf(results[i].Err) {
				rt.Fatalf("transaction %d: %v alone, %v together", i, err, results[i].Err)
			}
		}
		if a, b := contents(rt, one), contents(rt, each); a != b {
			rt.Fatalf("one by one: %s, together: %s", a, b)
		}
	})
}

// A transaction of a batch whose condition does not hold leaves the others alone, in
// this batch and in those that follow, be it that they have more writes together than
// one transaction of the store may have.
func TestCommitEachAfterAFailedCondition(t *testing.T) {
	t.Parallel()
	s := open(t, start(t, store.EmbeddedOptions{}).Client())
	n := 0
	batch := func(size int) []record.Txn {
		txns := make([]record.Txn, size)
		for i := range txns {
			for range 3 {
				n++
				txns[i].Require(numbered(n), 0)
				txns[i].Put(numbered(n), []byte("x"))
			}
		}
		return txns
	}
	for _, c := range []struct{ size, stale int }{{4, -1}, {4, 2}, {4, -1}, {60, -1}, {60, 7}, {4, -1}} {
		txns := batch(c.size)
		if c.stale >= 0 {
			txns[c.stale].Require("missing", 77)
		}
		results, _, err := s.CommitEach(context.Background(), txns)
		if err != nil {
			t.Fatal(err)
		}
		for i, txn := range txns {
			_, found, err := s.View(context.Background()).Get(txn.Writes[2].Key)
			if err != nil {
				t.Fatal(err)
			}
			if stale := secret.HasCode(results[i].Err, secret.CodeStale); stale != (i == c.stale) || found == stale {
				t.Errorf("batch %+v, transaction %d: error %v, written: %v", c, i, results[i].Err, found)
			}
		}
	}
}

// drawTxn draws a transaction on four keys, conditional on their absence.
func drawTxn(t *rapid.T) record.Txn {
	var txn record.Txn
	keys := []record.Key{"a", "b", "c", "d"}
	for _, key := range rapid.SliceOfNDistinct(rapid.SampledFrom(keys), 0, 3, rapid.ID).Draw(t, "conditions") {
		txn.Require(key, 0)
	}
	for _, key := range rapid.SliceOfNDistinct(rapid.SampledFrom(keys), 0, 3, rapid.ID).Draw(t, "writes") {
		if rapid.Bool().Draw(t, "delete") {
			txn.Delete(key)
			continue
		}
		txn.Put(key, []byte(rapid.StringMatching("[a-z]{1,3}").Draw(t, "value")))
	}
	return txn
}

func contents(t *rapid.T, s *store.Shard) string {
	all := ""
	err := s.View(context.Background()).Scan("", "", func(r record.Stored) bool {
		all += fmt.Sprintf("%s=%s ", r.Key, r.Value)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
