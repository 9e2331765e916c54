package replica

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
)

// What was marked last is found by the next process, however the last one ended,
// also a mark that is longer than what is mapped.
func TestMarkOutlivesTheProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "applying")
	m, _, err := openMarker(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.close() })
	if m.mapped == nil {
		t.Error("the mark is not mapped")
	}
	for _, key := range []string{"secret/a", "secret/" + strings.Repeat("b", 2*mappedMark), "secret/c", ""} {
		want := mark{phase: applyingBatch, key: record.Key(key), revision: 7, through: 9}
		if err := m.set(want); err != nil {
			t.Fatal(err)
		}
		next, got, err := openMarker(path) // m is not closed, as after a kill
		if err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
		if err := next.close(); err != nil {
			t.Error(err)
		}
	}
}

// A file that cannot be mapped is written to.
func TestMarkIsWrittenWhereItCannotBeMapped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "applying")
	m, _, err := openMarker(path)
	if err != nil {
		t.Fatal(err)
	}
	m.mapped = nil
	want := mark{phase: applyingPage, key: "secret/a", page: "secret/"}
	if err := m.set(want); err != nil {
		t.Fatal(err)
	}
	if err := m.close(); err != nil {
		t.Fatal(err)
	}
	next, got, err := openMarker(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = next.close() }()
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
