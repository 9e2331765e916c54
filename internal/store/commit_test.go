package store_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/store"
)

func TestCommitIsConditional(t *testing.T) {
	t.Parallel()
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
	second := mustCommit(t, s, put("a", "2", first))
	var removal record.Txn
	removal.Require("a", second)
	removal.Delete("a")
	mustCommit(t, s, removal)
	if _, ok, err := s.View(context.Background()).Get("a"); ok || err != nil {
		t.Fatalf("deleted record: %v, %v", ok, err)
	}
}

func TestEmptyValueIsARecord(t *testing.T) {
	t.Parallel()
	s := open(t, start(t, store.EmbeddedOptions{}).Client())
	mustCommit(t, s, put("a", "", 0))
	if r := mustGet(t, s, "a"); r.Value == nil {
		t.Error("an empty value reads as nil")
	}
}

func TestCommitRefusesWhatTheStoreWouldNot(t *testing.T) {
	t.Parallel()
	s := open(t, start(t, store.EmbeddedOptions{}).Client())
	var tooMany, tooLarge, twice, reserved, most record.Txn
	for n := range store.MaxOps + 1 {
		tooMany.Put(numbered(n), []byte("x"))
	}
	for n := range 30 {
		tooLarge.Put(numbered(n), make([]byte, secret.MaxValueBytes))
	}
	twice.Put("a", []byte("1"))
	twice.Delete("a")
	reserved.Put("\x00lease/a", []byte("1"))
	for n := range store.MaxOps {
		most.Require(numbered(n), 0)
		most.Put(numbered(n), []byte("x"))
	}
	for _, c := range []struct {
		name string
		txn  record.Txn
		code secret.Code
	}{
		{"too many operations", tooMany, secret.CodeLimit},
		{"too large", tooLarge, secret.CodeLimit},
		{"a key twice", twice, secret.CodeInternal},
		{"a reserved key", reserved, secret.CodeInternal},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := s.Commit(context.Background(), c.txn)
			wantCode(t, err, c.code)
		})
	}
	if keys := scanKeys(t, s, "", ""); len(keys) != 0 {
		t.Errorf("refused transactions left %v", keys)
	}
	mustCommit(t, s, most)
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := s.Commit(ended, put("a", "1", 0))
	wantCode(t, err, secret.CodeUnavailable)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v hides its cause", err)
	}
}

func TestCommitEach(t *testing.T) {
	t.Parallel()
	s := open(t, start(t, store.EmbeddedOptions{}).Client())
	existing := mustCommit(t, s, put("existing", "1", 0))
	var txns []record.Txn
	for n := range 300 { // more than one transaction of the store holds
		txns = append(txns, put(numbered(n), "x", 0))
	}
	txns[7] = put("existing", "2", 0)
	txns[8] = put("existing", "2", existing)
	txns[9] = put("existing", "3", existing) // the one before has made it stale
	var tooMany record.Txn
	for n := range store.MaxOps + 1 {
		tooMany.Delete(numbered(n))
	}
	txns[100] = tooMany
	var large record.Txn
	for n := range store.MaxOps {
		large.Put(record.Key(fmt.Sprintf("large/%d", n)), []byte("x"))
	}
	txns[200] = large

	results, revision, err := s.CommitEach(context.Background(), txns)
	if err != nil {
		t.Fatal(err)
	}
	highest := int64(0)
	for n, r := range results {
		highest = max(highest, r.Revision)
		switch n {
		case 7, 9:
			wantCode(t, r.Err, secret.CodeStale)
		case 100:
			wantCode(t, r.Err, secret.CodeLimit)
		default:
			if r.Err != nil {
				t.Errorf("%d: %v", n, r.Err)
			}
			if got := mustGet(t, s, txns[n].Writes[0].Key); got.Revision != r.Revision {
				t.Errorf("%d: stored at %d, reported %d", n, got.Revision, r.Revision)
			}
		}
	}
	if r := mustGet(t, s, "existing"); string(r.Value) != "2" {
		t.Errorf("existing is %s", r.Value)
	}
	if revision != highest || revision > existing+10 {
		t.Errorf("revision %d, highest of a transaction %d, before %d", revision, highest, existing)
	}
}

func TestScanAndPage(t *testing.T) {
	t.Parallel()
	client := start(t, store.EmbeddedOptions{}).Client()
	s := open(t, client)
	mustCommit(t, store.Open(store.Options{Client: client, Prefix: "lifeboat/bas"}), put("zz", "1", 0))
	mustCommit(t, store.Open(store.Options{Client: client, Prefix: "lifeboat/base0"}), put("zz", "1", 0))
	var txns []record.Txn
	for n := range 600 { // several pages
		txns = append(txns, put(numbered(n), "x", 0))
	}
	_, revision, err := s.CommitEach(context.Background(), txns)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		start, end  record.Key
		first, last int
	}{
		{"", "", 0, 599},
		{record.SecretPrefix, record.PrefixEnd(record.SecretPrefix), 0, 599},
		{numbered(10), numbered(13), 10, 12},
		{numbered(598), "", 598, 599},
		{numbered(13), numbered(10), 0, -1},
		{"t", "", 0, -1},
	} {
		keys := scanKeys(t, s, c.start, c.end)
		if len(keys) != c.last-c.first+1 {
			t.Errorf("scan %q to %q: %d records", c.start, c.end, len(keys))
		}
		for i, key := range keys {
			if key != numbered(c.first+i) {
				t.Fatalf("scan %q to %q: record %d is %s", c.start, c.end, i, key)
			}
		}
	}
	page, err := s.Page(context.Background(), numbered(5), "", 10)
	if err != nil || len(page.Records) != 10 || !page.More || page.Revision != revision {
		t.Errorf("page: %d records, more %v, revision %d of %d, %v", len(page.Records), page.More, page.Revision, revision, err)
	}
	seen := 0
	err = s.View(context.Background()).Scan("", "", func(record.Stored) bool { seen++; return seen < 3 })
	if err != nil || seen != 3 {
		t.Errorf("a stopped scan saw %d: %v", seen, err)
	}
	_, err = s.Page(context.Background(), "", "", 0)
	wantCode(t, err, secret.CodeInvalid)
}

func TestDeleteRange(t *testing.T) {
	t.Parallel()
	s := open(t, start(t, store.EmbeddedOptions{}).Client())
	var txns []record.Txn
	for n := range 200 {
		txns = append(txns, put(numbered(n), "x", 0))
	}
	_, before, err := s.CommitEach(context.Background(), txns)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		start, end record.Key
		want       int64
	}{{numbered(10), numbered(150), 140}, {numbered(10), numbered(150), 0}, {numbered(5), numbered(5), 0}, {numbered(199), "", 1}} {
		got, err := s.DeleteRange(context.Background(), c.start, c.end)
		if err != nil || got != c.want {
			t.Errorf("deleted %d from %q to %q, want %d: %v", got, c.start, c.end, c.want, err)
		}
	}
	if keys := scanKeys(t, s, "", ""); len(keys) != 59 {
		t.Errorf("%d records are left", len(keys))
	}
	if changes := follow(t, s, before).reach(t, before+2); len(changes) != 141 || !changes[0].Deleted {
		t.Errorf("the feed shows %d changes", len(changes))
	}
}
