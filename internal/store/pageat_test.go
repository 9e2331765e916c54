package store_test

import (
	"errors"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/store"
)

// Pages at one revision show what was there then, whatever happens meanwhile.
func TestPageAt(t *testing.T) {
	t.Parallel()
	client := start(t, store.EmbeddedOptions{}).Client()
	s := open(t, client)
	for n := range 5 {
		mustCommit(t, s, put(numbered(n), "old", 0))
	}
	then := mustGet(t, s, numbered(4)).Revision
	first, err := s.PageAt(t.Context(), "", "", 3, then)
	if err != nil || len(first.Records) != 3 || !first.More || first.Revision != then {
		t.Fatalf("first page: %+v, %v", first, err)
	}
	var meanwhile record.Txn
	meanwhile.Delete(numbered(3))
	meanwhile.Put(numbered(4), []byte("new"))
	meanwhile.Put(numbered(5), []byte("new"))
	now := mustCommit(t, s, meanwhile)
	rest, err := s.PageAt(t.Context(), first.Records[2].Key+"\x00", "", 10, then)
	if err != nil || len(rest.Records) != 2 || rest.More || rest.Records[0].Key != numbered(3) || string(rest.Records[1].Value) != "old" {
		t.Fatalf("second page: %+v, %v", rest, err)
	}
	if empty, err := s.PageAt(t.Context(), "b", "a", 10, then); err != nil || len(empty.Records) != 0 || empty.More {
		t.Errorf("empty range: %+v, %v", empty, err)
	}
	if _, err := s.PageAt(t.Context(), "", "", 0, then); !secret.HasCode(err, secret.CodeInvalid) {
		t.Errorf("limit 0: %v", err)
	}
	_, err = s.PageAt(t.Context(), "", "", 1, now+1)
	wantCode(t, err, secret.CodeUnavailable)
	if !errors.Is(err, store.ErrAhead) {
		t.Errorf("a revision to come: %v", err)
	}
	if _, err := client.Compact(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	_, err = s.PageAt(t.Context(), "", "", 1, then)
	wantCode(t, err, secret.CodeUnavailable)
	if !errors.Is(err, store.ErrCompacted) {
		t.Errorf("a revision dropped: %v", err)
	}
}
