package replica_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/replica"
	"github.com/lifeboat-secrets/lifeboat/internal/skiptest"
)

// smallDisk returns the directory of a file system of a few MiB, if this process
// may mount one.
func smallDisk(t *testing.T, mib int) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", mib)); err != nil {
		skiptest.Forbidden(t, "mounting a small file system", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fillDisk takes all the room there is; the returned function gives it back.
func fillDisk(t *testing.T, dir string) (empty func()) {
	t.Helper()
	path := filepath.Join(dir, "filler")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	}
}

// A host whose disk is full goes on serving what it has, also after a restart, and
// catches up when there is room again.
func TestAFullDisk(t *testing.T) {
	m := newMemory()
	opts := options(t, m)
	dir := smallDisk(t, 24)
	opts.Path = filepath.Join(dir, "local.db")
	h := start(t, opts)
	h.wait(m.put(name(1), ref(1)))
	empty := fillDisk(t, dir)

	key := record.Key(record.SecretNamePrefix + "v/large")
	last := int64(0)
	for n := range 40 { // more than the free pages of the file hold
		last = m.put(record.Key(fmt.Sprintf("%s%d", key, n)), append([]byte{1}, bytes.Repeat([]byte{'x'}, 32<<10)...))
	}
	h.until("without room", func(p replica.Position) bool { return errors.Is(p.Err, syscall.ENOSPC) })
	h.mustHave(name(1), ref(1))
	if p := h.Position(); !p.Synced || p.Rebuilds > 0 {
		t.Errorf("on a full disk: %+v", p)
	}
	h = h.reopen()
	h.mustHave(name(1), ref(1))
	h.until("without room after a restart", func(p replica.Position) bool { return errors.Is(p.Err, syscall.ENOSPC) })
	h.mustHave(name(1), ref(1))

	empty()
	h.wait(last)
	if p := h.Position(); p.Rebuilds > 0 {
		t.Errorf("it was rebuilt: %+v", p)
	}
	h.mustEqual(m)
}

// A host whose file has reached the limit of its process goes on serving what it has, and
// catches up when there is none.
func TestAFileThatMayNotGrow(t *testing.T) {
	for _, noSync := range []bool{true, false} {
		t.Run(fmt.Sprint("without fsync: ", noSync), func(t *testing.T) {
			m := newMemory()
			opts := options(t, m)
			opts.NoSync = noSync
			h := start(t, opts)
			h.wait(m.put(name(1), ref(1)))
			unlimited := limitFiles(t, 24<<20)
			last := int64(0)
			for n := range 1200 {
				key := record.Key(fmt.Sprintf("%sv/large%d", record.SecretNamePrefix, n))
				last = m.put(key, append([]byte{1}, bytes.Repeat([]byte{'x'}, 32<<10)...))
			}
			h.until("beyond the limit", func(p replica.Position) bool { return p.Err != nil })
			h.mustHave(name(1), ref(1))
			if p := h.Position(); !p.Synced || p.Rebuilds > 0 {
				t.Errorf("beyond the limit: %+v", p)
			}
			unlimited()
			h.wait(last)
			if p := h.Position(); p.Rebuilds > 0 {
				t.Errorf("it was rebuilt: %+v", p)
			}
			h.mustEqual(m)
		})
	}
}

// limitFiles has this process write no larger files; the returned function ends that.
func limitFiles(t *testing.T, size uint64) (end func()) {
	t.Helper()
	var before syscall.Rlimit
	if err := syscall.Getrlimit(unix.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(unix.RLIMIT_FSIZE, &syscall.Rlimit{Cur: size, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	end = func() {
		if err := syscall.Setrlimit(unix.RLIMIT_FSIZE, &before); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(end)
	return end
}
