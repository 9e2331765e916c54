//go:build faultpoints

package replica_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/replica"
)

// pill is the record whose application kills the process.
var pill = record.SecretNameKey("v", "pill")

// deleted is a record that is created and deleted before the pill.
var deleted = record.SecretNameKey("v", "deleted")

// poisoned is the same store in every process: some records, then the pill among
// others if fed is set.
func poisoned(fed bool) *memory {
	m := initialised()
	for i := range 20 {
		m.put(name(i), ref(i))
	}
	if fed {
		m.put(deleted, ref(1))
		m.delete(deleted)
		m.commit(record.Write{Key: name(100), Value: ref(100)}, record.Write{Key: pill, Value: ref(1)}, record.Write{Key: name(101), Value: ref(101)})
		m.put(name(102), ref(102))
	}
	return m
}

// TestPoisonChild is the process that is killed. It does nothing by itself.
func TestPoisonChild(t *testing.T) {
	path := os.Getenv("LIFEBOAT_TEST_PATH")
	if path == "" {
		return
	}
	m := poisoned(os.Getenv("LIFEBOAT_TEST_FED") != "")
	opts := options(t, m)
	opts.Path = path
	opts.OnApply = func(changes []record.Change) {
		for _, ch := range changes {
			if ch.Key == deleted && !ch.Deleted {
				fmt.Println("applied " + deleted)
			}
		}
	}
	h := start(t, opts)
	h.until("caught up", func(p replica.Position) bool { return p.Applied == m.head() && p.Synced && !p.Resyncing })
	for _, q := range h.Quarantined() {
		fmt.Printf("quarantined %s at %d suspected %v\n", q.Record, q.Revision, q.Suspected)
	}
	if os.Getenv("LIFEBOAT_FAULTPOINTS") == "" {
		if err := h.Retry(within(t), pill); err != nil {
			t.Error(err)
		}
		h.mustEqual(m)
		h.mustHold()
		return
	}
	h.mustLack(pill)
	h.mustHave(name(100), ref(100))
	h.mustHave(name(101), ref(101))
	h.mustHave(name(102), ref(102))
}

// child runs TestPoisonChild and reports whether it was killed.
func child(t *testing.T, path string, env ...string) (output string, killed bool) {
	t.Helper()
	cmd := exec.CommandContext(within(t), os.Args[0], "-test.run=^TestPoisonChild$")
	cmd.Env = append(append(os.Environ(), "LIFEBOAT_TEST_PATH="+path), env...)
	out, err := cmd.CombinedOutput()
	if err == nil {
		return string(out), false
	}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signal() == syscall.SIGKILL {
		return string(out), true
	}
	t.Fatalf("child: %v\n%s", err, out)
	return "", false
}

func TestPoisonPillIsQuarantined(t *testing.T) {
	for _, c := range []struct {
		by, point string
		// kills is one more where the record is only known once it is alone.
		kills int
	}{
		{"page", "replica.apply", 2}, {"feed", "replica.apply", 2},
		{"page", "replica.commit", 3}, {"feed", "replica.commit", 3},
	} {
		t.Run(c.by+" "+c.point, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "local.db")
			if c.by == "feed" {
				// First a copy of the store as it was before the pill.
				h := start(t, replica.Options{Path: path, Source: poisoned(false), NoSync: true})
				h.until("synced", func(p replica.Position) bool { return p.Synced && !p.Resyncing })
				h.end()
			}
			fed, armed := "LIFEBOAT_TEST_FED=1", "LIFEBOAT_FAULTPOINTS="+c.point+"=crash:"+string(pill)
			for i := range c.kills {
				if out, killed := child(t, path, fed, armed); !killed {
					t.Fatalf("start %d survives the pill:\n%s", i+1, out)
				}
			}
			for range 2 { // the second time from the file alone
				out, killed := child(t, path, fed, armed)
				if strings.Contains(out, "applied "+string(deleted)) {
					t.Errorf("a deleted record came back:\n%s", out)
				}
				if killed || !strings.Contains(out, fmt.Sprintf("quarantined %s at 24 suspected true", pill)) {
					t.Fatalf("third start, killed %v:\n%s", killed, out)
				}
			}
			if out, killed := child(t, path, fed); killed || strings.Contains(out, "FAIL") {
				t.Fatalf("retry of a cured pill:\n%s", out)
			}
		})
	}
}
