package audit

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// TestRotationUnderLoad renames and reopens while requests write: each line is
// in exactly one of the files, whole.
func TestRotationUnderLoad(t *testing.T) {
	const writers, rotations = 8, 30
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.log")
	l := openTest(t, Options{Paths: []string{path}, Sync: SyncInterval})
	var (
		wg      sync.WaitGroup
		stop    atomic.Bool
		written [writers]int
	)
	progress := make(chan struct{}, 1)
	for w := range writers {
		wg.Go(func() {
			e := testEntry()
			for !stop.Load() {
				e.RequestID = fmt.Sprintf("%d-%d", w, written[w])
				if err := l.Write(e); err != nil {
					t.Error(err)
					return
				}
				written[w]++
				select {
				case progress <- struct{}{}:
				default:
				}
			}
		})
	}
	for i := range rotations {
		<-progress
		if err := os.Rename(path, fmt.Sprintf("%s.%d", path, i)); err != nil {
			t.Error(err)
		}
		if err := l.Reopen(); err != nil {
			t.Error(err)
		}
	}
	stop.Store(true)
	wg.Wait()

	seen := map[string]int{}
	names, err := filepath.Glob(path + "*")
	if err != nil || len(names) != rotations+1 {
		t.Fatalf("%d files, %v", len(names), err)
	}
	for _, name := range names {
		for _, m := range readLines(t, name) {
			seen[m["request"].(string)]++
		}
	}
	for w, n := range written {
		for i := range n {
			if id := fmt.Sprintf("%d-%d", w, i); seen[id] != 1 {
				t.Fatalf("line %s is there %d times", id, seen[id])
			}
			delete(seen, fmt.Sprintf("%d-%d", w, i))
		}
	}
	if len(seen) != 0 {
		t.Errorf("%d lines that nobody wrote", len(seen))
	}
}

func TestReopenThatFailsKeepsTheOldFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "logs"), 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "logs", "audit.log")
	l := openTest(t, Options{Paths: []string{path}})
	if err := os.Rename(filepath.Join(dir, "logs"), filepath.Join(dir, "moved")); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); !secret.HasCode(err, secret.CodeAuditUnavailable) {
		t.Fatalf("Reopen: %v", err)
	}
	if err := l.Write(testEntry()); err != nil {
		t.Fatal(err)
	}
	if n := len(readLines(t, filepath.Join(dir, "moved", "audit.log"))); n != 1 {
		t.Errorf("%d lines", n)
	}
}

// TestReopenEndsAFailure shows that new files are tried at once.
func TestReopenEndsAFailure(t *testing.T) {
	link := filepath.Join(t.TempDir(), "audit.log")
	if err := os.Symlink("/dev/full", link); err != nil {
		t.Fatal(err)
	}
	l := openTest(t, Options{Paths: []string{link}})
	write(t, l, "one", true, false)
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	if err := l.Ready(); err != nil {
		t.Fatal(err)
	}
	if lines := readLines(t, link); len(lines) != 1 || lines[0]["request"] != "one" {
		t.Errorf("lines %v", lines)
	}
}
