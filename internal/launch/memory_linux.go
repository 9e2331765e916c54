package launch

import "golang.org/x/sys/unix"

// inMemory reports whether files below a directory are kept in memory only.
func inMemory(dir string) bool {
	var s unix.Statfs_t
	if unix.Statfs(dir, &s) != nil {
		return false
	}
	kind := int64(s.Type) //nolint:unconvert // another type on some architectures
	return kind == unix.TMPFS_MAGIC || kind == unix.RAMFS_MAGIC
}
