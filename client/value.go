package client

import (
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// Value is something secret, such as a token. It prints as [redacted] in fmt,
// slog and JSON; only Reveal hands out the bytes. The zero value is empty.
type Value struct {
	// content is a function so that nothing that prints a struct's fields,
	// exported or not, finds bytes.
	content func() []byte
}

// NewValue wraps a copy of s.
func NewValue[T ~string | ~[]byte](s T) Value {
	if len(s) == 0 {
		return Value{}
	}
	b := []byte(string(s))
	return Value{content: func() []byte { return b }}
}

// Reveal returns the bytes themselves, not a copy.
func (v Value) Reveal() []byte {
	if v.content == nil {
		return nil
	}
	return v.content()
}

// Empty reports whether there is nothing.
func (v Value) Empty() bool { return len(v.Reveal()) == 0 }

// Format prints [redacted] for every verb.
func (v Value) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// String returns [redacted].
func (v Value) String() string { return redacted }

// LogValue returns [redacted].
func (v Value) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns [redacted].
func (v Value) MarshalText() ([]byte, error) { return []byte(redacted), nil }
