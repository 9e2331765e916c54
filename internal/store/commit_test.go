package store_test

import (
	"context"
	"errors"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/store"
)

func TestCommitIsConditional(t *testing.T) {
	s := open(t, start(t, store.EmbeddedOptions{}).Client())
	first := mustCommit(t, s, put("a", "1", 0))
	if r := mustGet(t, s, "a"); string(r.Value) != "1" || r.Revision != first || r.Key != "a" {
		t.Fatalf("read %+v after commit at %d", r, first)
	}

	txn := put("a", "2", 0)
	txn.Require("b", 0)
	txn.Require("a", 7)
	_, err := s.Commit(context.Background(), txn)
	wantCode(t, err, secret.CodeStale)
	conflict, ok := errors.AsType[*store.ConflictError](err)
	if !ok || len(conflict.Current) != 2 {
		t.Fatalf("got %v, want the two records compared", err)
	}
	if a := conflict.Current[0]; a.Key != "a" || string(a.Value) != "1" || a.Revision != first {
		t.Errorf("current state of a: %+v", a)
	}
	if b := conflict.Current[1]; b.Key != "b" || b.Revision != 0 {
		t.Errorf("current state of b: %+v", b)
	}

	second := mustCommit(t, s, put("a", "2", conflict.Current[0].Revision))
	var removal record.Txn
	removal.Require("a", second)
	removal.Delete("a")
	mustCommit(t, s, removal)
	if _, ok, err := s.View(context.Background()).Get("a"); ok || err != nil {
		t.Fatalf("deleted record: %v, %v", ok, err)
	}
}

func TestEmptyValueIsARecord(t *testing.T) {
	s := open(t, start(t, store.EmbeddedOptions{}).Client())
	mustCommit(t, s, put("a", "", 0))
	if r := mustGet(t, s, "a"); r.Value == nil {
		t.Error("an empty value reads as nil")
	}
}
