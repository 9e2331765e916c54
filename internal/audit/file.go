package audit

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"time"
)

// handle is what the log needs of an open file.
type handle interface {
	io.WriteCloser
	Sync() error
}

// opener opens a path for appending; torn says that it ends in a part of a line.
type opener func(path string, mode os.FileMode) (h handle, torn bool, err error)

func openFile(path string, mode os.FileMode) (handle, bool, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, mode)
	if err != nil {
		return nil, false, err
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, false, err
	}
	if info.IsDir() {
		_ = f.Close()
		return nil, false, fmt.Errorf("%s is a directory", path)
	}
	return f, info.Mode().IsRegular() && !endsWhole(path, info.Size()), nil
}

// endsWhole reports whether the last byte of a file is a newline. When in doubt
// it is not: the price is an empty line.
func endsWhole(path string, size int64) bool {
	if size == 0 {
		return true
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	var last [1]byte
	_, err = f.ReadAt(last[:], size-1)
	return err == nil && last[0] == '\n'
}

// file is one path of the log. Its owner serialises all calls.
type file struct {
	path     string
	h        handle
	torn     bool // ends in a part of a line
	failing  bool
	failedAt time.Time
	unsynced bool
}

// write appends lines, each of which ends in a newline, and returns how many bytes of
// whole lines the file has taken.
func (f *file) write(lines []byte) (taken int, err error) {
	out, before := lines, 0
	if f.torn {
		out, before = append([]byte{'\n'}, lines...), 1
	}
	n, err := f.h.Write(out)
	if err == nil && n < len(out) {
		err = io.ErrShortWrite
	}
	if n == 0 {
		return 0, err
	}
	f.unsynced = true
	written := max(0, n-before)
	f.torn = written > 0 && lines[written-1] != '\n'
	if f.torn && lines[written] == '\n' {
		return written + 1, err // the next write adds what is missing
	}
	return bytes.LastIndexByte(lines[:written], '\n') + 1, err
}

// resting reports whether f failed so recently that others come first.
func (f *file) resting() bool {
	return f.failing && time.Since(f.failedAt) < probeInterval
}
