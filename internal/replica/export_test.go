package replica

import (
	"context"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
)

// For the tests of the decoders.
var (
	EncodeValue = func(key []byte, generation uint32, revision int64, value []byte) []byte {
		return encodeValue(key, localValue{generation: generation, revision: revision, value: value})
	}
	DecodeValue = func(key, b []byte) (uint32, int64, []byte, error) {
		v, err := decodeValue(key, b)
		return v.generation, v.revision, v.value, err
	}
	EncodeMark = func(key, page string, revision, through int64) []byte {
		return appendMark(nil, mark{phase: applyingPage, key: record.Key(key), page: record.Key(page), revision: revision, through: through})
	}
	ReencodeMark = func(b []byte) ([]byte, error) {
		m, err := decodeMark(b)
		return appendMark(nil, m), err
	}
)

// Scrub checks the file once, calling rest between its steps.
func (l *Local) Scrub(ctx context.Context, rest func(time.Duration)) error { return l.scrub(ctx, rest) }

// FindDamaged has the file rebuilt.
func (l *Local) FindDamaged() { _ = l.found(l.file.Load(), "a test says so") }
