//go:build !linux

package chaos_test

import "testing"

// disk is a file system of its own.
type disk struct {
	wasFull bool
}

// mountDisk returns none: only Linux can mount what is needed.
func mountDisk(t *testing.T, _ string) *disk {
	t.Log("NO DISK WILL BE FULL: only Linux can show that")
	return nil
}

func (*disk) fill() error { return nil }
func (*disk) free() error { return nil }
