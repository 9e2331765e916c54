// Package importfile reads the files that secrets are imported from: dotenv
// files, JSON objects and manifests of Kubernetes Secrets. A file is taken whole or refused whole. Errors are
// secret.CodeInvalid, name the line, and never quote the file, because what
// stands in the wrong place may be a value.
package importfile

import (
	"bytes"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// MaxFileBytes bounds a file.
const MaxFileBytes = 16 << 20

// Entry is a secret to import.
type Entry struct {
	// Name passes secret.CheckName and is unique in its file.
	Name string
	// Value passes secret.CheckValue.
	Value secret.Plaintext
	// Line is where the entry begins, from 1.
	Line int
	// ContentType and Tags are those that the file gives.
	ContentType string
	Tags        map[string]string
}

// read returns the text of a file without its byte order mark.
func read(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxFileBytes+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the import file: %w", err)
	case len(b) > MaxFileBytes:
		return nil, secret.Invalid("file", "is larger than %d bytes, the limit", MaxFileBytes)
	}
	if valid := validPrefix(b); valid < len(b) {
		return nil, invalid(1+bytes.Count(b[:valid], []byte("\n")), "is not UTF-8 text")
	}
	return bytes.TrimPrefix(b, []byte("\ufeff")), nil
}

// validPrefix returns the length of the part of b that is valid UTF-8.
func validPrefix(b []byte) int {
	n := 0
	for n < len(b) {
		c, size := utf8.DecodeRune(b[n:])
		if c == utf8.RuneError && size == 1 {
			return n
		}
		n += size
	}
	return n
}

func invalid(line int, format string, args ...any) *secret.Error {
	return secret.Invalid(fmt.Sprintf("line %d", line), format, args...)
}

// entries collects what a parser finds.
type entries struct {
	list  []Entry
	lines map[string]int
}

func (e *entries) add(name string, value []byte, line int) error {
	if secret.CheckName("name", name) != nil {
		// The cause would quote a character of the file.
		return invalid(line, "the name is not valid: allowed are 1 to %d letters, digits and /_+=.@!-, not in the form of an ID", secret.MaxNameBytes)
	}
	if first, ok := e.lines[name]; ok {
		return invalid(line, "the name was given on line %d already", first)
	}
	plain := secret.NewPlaintext(value)
	if err := secret.CheckValue("value", plain); err != nil {
		return invalid(line, "the %s", err)
	}
	if e.lines == nil {
		e.lines = make(map[string]int)
	}
	e.lines[name] = line
	e.list = append(e.list, Entry{Name: name, Value: plain, Line: line})
	return nil
}
