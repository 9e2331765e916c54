package region

import (
	"os"

	"golang.org/x/sys/unix"
)

// inMemory reports whether a file lies in a file system that is gone when the
// machine restarts.
func inMemory(f *os.File) bool {
	var s unix.Statfs_t
	if unix.Fstatfs(int(f.Fd()), &s) != nil {
		return false
	}
	return s.Type == unix.TMPFS_MAGIC || s.Type == unix.RAMFS_MAGIC
}

// writable returns why this user may not write to a directory.
func writable(path string) error {
	if err := unix.Access(path, unix.W_OK|unix.X_OK); err != nil {
		return &os.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}
