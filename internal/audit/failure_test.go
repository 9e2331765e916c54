package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// disk is one file on a disk that fills up.
type disk struct {
	mu     sync.Mutex
	data   bytes.Buffer
	room   int // bytes it still takes; negative: no limit
	writes int
	syncs  int
	bad    error // what Sync returns
	closed bool
}

func (d *disk) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.writes++
	if d.room < 0 || len(p) <= d.room {
		if d.room >= 0 {
			d.room -= len(p)
		}
		return d.data.Write(p)
	}
	n, _ := d.data.Write(p[:d.room])
	d.room = 0
	return n, syscall.ENOSPC
}

func (d *disk) Sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.syncs++
	return d.bad
}

func (d *disk) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	return nil
}

func (d *disk) setRoom(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.room = n
}

func (d *disk) spoil(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bad = err
}

func (d *disk) synced() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.syncs
}

// requests lists the requests (or, for other lines, the actions) of the whole
// lines, and counts the others.
func (d *disk) requests() (whole []string, broken int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for raw := range bytes.Lines(d.data.Bytes()) {
		var m struct{ Request, Action string }
		switch err := json.Unmarshal(raw, &m); {
		case err != nil:
			broken++
		case m.Request != "":
			whole = append(whole, m.Request)
		default:
			whole = append(whole, m.Action)
		}
	}
	return whole, broken
}

func onDisks(t *testing.T, o Options, disks ...*disk) *Log {
	t.Helper()
	o.Region, o.Process = "east", "east-1"
	byPath := map[string]*disk{}
	for i, d := range disks {
		path := string(rune('a' + i))
		o.Paths = append(o.Paths, path)
		byPath[path] = d
	}
	l, err := open(o, func(path string, _ os.FileMode) (handle, bool, error) { return byPath[path], false, nil })
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func write(t *testing.T, l *Log, request string, committed, taken bool) {
	t.Helper()
	e := testEntry()
	e.RequestID, e.Committed = request, committed
	err := l.Write(e)
	if taken && err != nil || !taken && !secret.HasCode(err, secret.CodeAuditUnavailable) {
		t.Fatalf("Write of %s: %v", request, err)
	}
}

func expect(t *testing.T, d *disk, broken int, want ...string) {
	t.Helper()
	got, n := d.requests()
	if strings.Join(got, " ") != strings.Join(want, " ") || n != broken {
		t.Errorf("lines %q and %d broken; want %q and %d", got, n, want, broken)
	}
}

func TestCommittedLinesAreKeptAndComeFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{room: -1}
		l := onDisks(t, Options{}, d)
		write(t, l, "one", false, true)
		d.setRoom(0)
		write(t, l, "two", true, false)
		write(t, l, "three", false, false)
		write(t, l, "four", true, false)
		if err := l.Ready(); !secret.HasCode(err, secret.CodeAuditUnavailable) {
			t.Fatalf("Ready with lines waiting: %v", err)
		}
		if s := l.Stats(); s.Backlog != 2 || s.Refused != 1 || s.WriteErrors != 1 {
			t.Errorf("stats %+v", s)
		}
		d.setRoom(-1)
		time.Sleep(probeInterval)
		write(t, l, "five", false, true)
		if err := l.Ready(); err != nil {
			t.Fatal(err)
		}
		expect(t, d, 0, "one", "two", "four", "audit:Gap", "five")
		if !strings.Contains(d.data.String(), `"name":"1 lines of refused requests and 0 of committed mutations are missing"`) {
			t.Error("the gap is not counted")
		}
		if err := l.Close(); err != nil || !d.closed {
			t.Errorf("Close: %v", err)
		}
	})
}

func TestReadyRecoversByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{}
		l := onDisks(t, Options{}, d)
		write(t, l, "one", true, false)
		before := d.writes
		for range 100 { // ten seconds
			time.Sleep(probeInterval / 10)
			if err := l.Ready(); err == nil {
				t.Fatal("ready on a full disk")
			}
		}
		if n := d.writes - before; n < 9 || n > 11 {
			t.Errorf("%d probes in ten seconds", n)
		}
		d.setRoom(-1)
		time.Sleep(probeInterval)
		if err := l.Ready(); err != nil {
			t.Fatal(err)
		}
		expect(t, d, 0, "one")
		_ = l.Close()
	})
}

func TestRecoveryThatStopsHalfWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{}
		l := onDisks(t, Options{}, d)
		write(t, l, "one", true, false)
		write(t, l, "two", true, false)
		write(t, l, "three", true, false)
		d.setRoom(2*MaxLineBytes - 600) // one line and a part
		time.Sleep(probeInterval)
		if err := l.Ready(); err == nil {
			t.Fatal("ready with lines waiting")
		}
		d.setRoom(-1)
		time.Sleep(probeInterval)
		if err := l.Ready(); err != nil {
			t.Fatal(err)
		}
		got, broken := d.requests()
		if strings.Join(got, " ") != "one two three" || broken != 1 {
			t.Errorf("lines %q, %d broken", got, broken)
		}
		_ = l.Close()
	})
}

// TestEveryCutPoint stops a write after each possible number of bytes: the next
// line is whole and the one that was cut short is in the fallback, unless nothing but
// its newline was missing.
func TestEveryCutPoint(t *testing.T) {
	c := encoder{}
	e := testEntry()
	e.RequestID = "cut"
	size := len(c.encode(identity("east", "east-1"), e))
	for room := range size {
		first, second := &disk{room: room}, &disk{room: -1}
		l := onDisks(t, Options{}, first, second)
		write(t, l, "cut", false, true)
		first.setRoom(-1)
		l.files[0].failedAt = time.Time{} // as if a second had passed
		write(t, l, "next", false, true)
		if got, _ := first.requests(); len(got) == 0 || got[len(got)-1] != "next" {
			t.Fatalf("after %d of %d bytes: %q", room, size, first.data.String())
		}
		if room < size-1 {
			expect(t, second, 0, "cut")
		} else {
			expect(t, second, 0)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBacklogIsBounded(t *testing.T) {
	d := &disk{}
	l := onDisks(t, Options{}, d)
	for range MaxBacklog + 7 {
		write(t, l, "w", true, false)
	}
	if s := l.Stats(); s.Backlog != MaxBacklog || s.Lost != 7 {
		t.Errorf("stats %+v", s)
	}
	d.setRoom(-1)
	if err := l.Close(); err != nil { // Close tries at once
		t.Fatal(err)
	}
	if got, _ := d.requests(); len(got) != MaxBacklog+1 || got[MaxBacklog] != "audit:Gap" {
		t.Errorf("%d lines, the last %q", len(got), got[len(got)-1])
	}
}

func TestCloseWithAFullDisk(t *testing.T) {
	l := onDisks(t, Options{}, &disk{})
	write(t, l, "one", true, false)
	if err := l.Close(); !secret.HasCode(err, secret.CodeAuditUnavailable) {
		t.Errorf("Close with lines waiting: %v", err)
	}
	write(t, l, "two", true, false)
	if err := l.Ready(); !secret.HasCode(err, secret.CodeAuditUnavailable) {
		t.Errorf("Ready after Close: %v", err)
	}
	if err := l.Reopen(); !secret.HasCode(err, secret.CodeAuditUnavailable) {
		t.Errorf("Reopen after Close: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func TestSyncInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := &disk{room: -1}, &disk{room: -1}
		l := onDisks(t, Options{Sync: SyncInterval}, first, second)
		time.Sleep(10 * syncInterval)
		if n := first.synced(); n != 0 {
			t.Errorf("%d syncs of nothing", n)
		}
		write(t, l, "one", false, true)
		time.Sleep(2 * syncInterval)
		if first.synced() != 1 || second.synced() != 0 {
			t.Errorf("%d and %d syncs", first.synced(), second.synced())
		}
		first.spoil(syscall.EIO)
		write(t, l, "two", false, true)
		time.Sleep(3 * syncInterval / 2)
		if s := l.Stats(); s.SyncErrors == 0 {
			t.Errorf("stats %+v", s)
		}
		write(t, l, "three", false, true) // not to a file that loses what it takes
		expect(t, second, 0, "three")
		if err := l.Close(); !errors.Is(err, syscall.EIO) {
			t.Errorf("Close: %v", err)
		}
	})
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	ok := filepath.Join(dir, "audit.log")
	for _, tt := range []struct {
		name string
		o    Options
		code secret.Code
	}{
		{"no path", Options{}, secret.CodeInvalid},
		{"three paths", Options{Paths: []string{ok, ok + "2", ok + "3"}}, secret.CodeInvalid},
		{"empty path", Options{Paths: []string{ok, ""}}, secret.CodeInvalid},
		{"same path", Options{Paths: []string{ok, ok}}, secret.CodeInvalid},
		{"unknown sync", Options{Paths: []string{ok}, Sync: "always"}, secret.CodeInvalid},
		{"long names", Options{Paths: []string{ok}, Process: strings.Repeat("p", MaxIdentityBytes+1)}, secret.CodeInvalid},
		{"no directory", Options{Paths: []string{filepath.Join(dir, "none", "audit.log")}}, secret.CodeAuditUnavailable},
		{"a directory", Options{Paths: []string{ok, dir}}, secret.CodeAuditUnavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Open(tt.o); !secret.HasCode(err, tt.code) {
				t.Errorf("error %v, want %s", err, tt.code)
			}
		})
	}
}

func TestOpenAfterACrashInTheMiddleOfALine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	if err := os.WriteFile(path, []byte(`{"time":"2026`), 0o600); err != nil {
		t.Fatal(err)
	}
	l := openTest(t, Options{Paths: []string{path}})
	write(t, l, "one", false, true)
	write(t, l, "two", false, true)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	d := &disk{room: -1}
	_, _ = io.Copy(d, bytes.NewReader(data))
	expect(t, d, 1, "one", "two")
}
