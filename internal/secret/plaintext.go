package secret

import (
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// Plaintext is the clear content of a value, a description, custom metadata or
// a credential. It prints as [redacted] in fmt, slog, JSON and every encoder
// that honours encoding.TextMarshaler; only Reveal hands out the bytes. Below
// package service everything is Sealed.
type Plaintext struct{ bytes []byte }

// NewPlaintext wraps b, which the caller must not use any more.
func NewPlaintext(b []byte) Plaintext { return Plaintext{bytes: b} }

// Reveal returns the bytes themselves, not a copy.
func (p Plaintext) Reveal() []byte { return p.bytes }

// Len returns the number of bytes.
func (p Plaintext) Len() int { return len(p.bytes) }

// Equal compares in time that depends only on the lengths.
func (p Plaintext) Equal(q Plaintext) bool {
	return subtle.ConstantTimeCompare(p.bytes, q.bytes) == 1
}

// Format prints [redacted] for every verb.
func (p Plaintext) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// String returns [redacted].
func (p Plaintext) String() string { return redacted }

// LogValue returns [redacted].
func (p Plaintext) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns [redacted].
func (p Plaintext) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Sealed is content encrypted by package keyring; its header names the data
// key. Empty means that there is no content.
type Sealed []byte

// MAC is a keyed digest of content, made once at the home region under a key
// that the regions share. Equal MACs of one vault mean equal content.
type MAC []byte

// Equal compares in constant time.
func (m MAC) Equal(o MAC) bool { return subtle.ConstantTimeCompare(m, o) == 1 }
