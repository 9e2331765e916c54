//go:build !linux

package launch

// inMemory reports whether files below a directory are kept in memory only, which
// only Linux tells.
func inMemory(string) bool { return false }
