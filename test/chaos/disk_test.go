package chaos_test

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/skiptest"
)

// diskBytes is how large the file system of a region is.
const diskBytes = 1 << 30

// disk is a file system of its own.
type disk struct {
	dir     string
	wasFull bool
}

// mountDisk mounts a file system in memory on an empty directory, which it makes.
// Without the right to do so there is none, where skiptest allows that.
func mountDisk(t *testing.T, dir string) *disk {
	t.Helper()
	must(t, os.Mkdir(dir, 0o700))
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", diskBytes)); err != nil {
		if skiptest.Privileged() {
			t.Fatalf("mount a file system: %v", err)
		}
		t.Logf("NO DISK WILL BE FULL: only who may mount file systems, such as root, can show that: %v", err)
		return nil
	}
	t.Cleanup(func() { must(t, syscall.Unmount(dir, 0)) })
	return &disk{dir: dir}
}

// fill leaves no room: the file system becomes as small as what is in it.
func (d *disk) fill() error {
	for {
		var s syscall.Statfs_t
		if err := syscall.Statfs(d.dir, &s); err != nil {
			return err
		}
		used := (s.Blocks - s.Bfree) * uint64(s.Bsize) //nolint:gosec // a size
		if err := d.resize(used); !errors.Is(err, syscall.EINVAL) {
			return err // else more has been written meanwhile
		}
	}
}

// free gives the room back.
func (d *disk) free() error { return d.resize(diskBytes) }

func (d *disk) resize(bytes uint64) error {
	return syscall.Mount("tmpfs", d.dir, "tmpfs", syscall.MS_REMOUNT, fmt.Sprintf("size=%d", bytes))
}
