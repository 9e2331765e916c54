package audit_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/audit"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/skiptest"
)

// TestAFullDisk fills a real one: lines are refused, and when there is room again
// none of a committed mutation is missing or torn.
func TestAFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		skiptest.Forbidden(t, "mounting a small file system", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 32<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "audit.log")
	log, err := audit.Open(audit.Options{Paths: []string{path}, Region: "east", Process: "one"})
	if err != nil {
		t.Fatal(err)
	}
	entry := func(n int) *audit.Entry {
		return &audit.Entry{Time: time.Unix(0, 0), RequestID: fmt.Sprint(n), Action: "PutSecretVersion", Committed: true}
	}
	lines := 0
	for err == nil {
		lines++
		err = log.Write(entry(lines))
	}
	if !secret.HasCode(err, secret.CodeAuditUnavailable) || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("line %d: %v", lines, err)
	}
	if err := log.Ready(); !secret.HasCode(err, secret.CodeAuditUnavailable) {
		t.Errorf("on a full disk it is ready: %v", err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	for limit := time.Now().Add(time.Minute); log.Ready() != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("with room it does not recover")
		}
	}
	lines++
	if err := log.Write(entry(lines)); err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	written, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	whole := 0
	for line := range strings.Lines(string(written)) {
		var e struct{ Request string }
		if json.Unmarshal([]byte(line), &e) == nil && e.Request != "" {
			if whole++; e.Request != fmt.Sprint(whole) {
				t.Fatalf("line %d is of request %s", whole, e.Request)
			}
		}
	}
	if whole != lines {
		t.Errorf("%d whole lines, want %d", whole, lines)
	}
}
