package replica_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/replica"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func TestCopyOfAStoppedHost(t *testing.T) {
	m := initialised()
	h := start(t, options(t, m))
	for i := range 10 {
		m.put(name(i), ref(i))
	}
	h.wait(m.head())
	if _, err := replica.OpenCopy(h.opts.Path); !secret.HasCode(err, secret.CodeUnavailable) {
		t.Fatalf("while the host runs: %v", err)
	}
	h.end()
	before, err := os.ReadFile(h.opts.Path)
	if err != nil {
		t.Fatal(err)
	}
	c, err := replica.OpenCopy(h.opts.Path)
	if err != nil {
		t.Fatal(err)
	}
	if p := c.Position(); p.Applied != m.head() || p.Incarnation != "inc-1" || p.LastContact.IsZero() {
		t.Errorf("position %+v", p)
	}
	revision, _ := c.Revision(t.Context())
	var got []record.Stored
	for start, more := record.Key(""), true; more; {
		page, err := c.PageAt(t.Context(), start, "", 3, revision)
		if err != nil || len(page.Records) > 3 {
			t.Fatal(len(page.Records), err)
		}
		got = append(got, page.Records...)
		start, more = page.Records[len(page.Records)-1].Key+"\x00", page.More
	}
	want := m.copyOf()
	if len(got) != len(want) {
		t.Errorf("%d records, want %d", len(got), len(want))
	}
	for _, r := range got {
		if string(r.Value) != string(want[r.Key].Value) || r.Revision != want[r.Key].Revision {
			t.Errorf("%s differs", r.Key)
		}
	}
	if page, err := c.PageAt(t.Context(), name(3), name(5), 10, revision); err != nil || len(page.Records) != 2 || page.More {
		t.Errorf("a range: %+v, %v", page, err)
	}
	if _, err := c.PageAt(t.Context(), "", "", 1, revision-1); !secret.HasCode(err, secret.CodeInvalid) {
		t.Errorf("another revision: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.PageAt(ended, "", "", 1, revision); !secret.HasCode(err, secret.CodeUnavailable) {
		t.Errorf("after the end: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if after, _ := os.ReadFile(h.opts.Path); string(after) != string(before) {
		t.Error("the file was changed")
	}
}

func TestNoCopy(t *testing.T) {
	dir := t.TempDir()
	if _, err := replica.OpenCopy(filepath.Join(dir, "none")); !secret.HasCode(err, secret.CodeInvalid) {
		t.Errorf("no file: %v", err)
	}
	damaged := filepath.Join(dir, "damaged")
	if err := os.WriteFile(damaged, make([]byte, 1<<16), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := replica.OpenCopy(damaged); !secret.HasCode(err, secret.CodeCorrupt) {
		t.Errorf("a damaged file: %v", err)
	}
	m := newMemory() // a store without a region
	h := start(t, options(t, m))
	h.wait(m.put(name(1), ref(1)))
	h.end()
	if _, err := replica.OpenCopy(h.opts.Path); !secret.HasCode(err, secret.CodeWrongState) {
		t.Errorf("no region: %v", err)
	}
}
