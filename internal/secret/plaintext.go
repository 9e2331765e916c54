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
// package service everything is Sealed. The zero value is empty.
type Plaintext struct {
	_ [0]func() // == would compare pointers: refuse it at compile time
	// content is behind two pointers because fmt prints the unexported fields of
	// a struct without calling their methods, and may follow one pointer: so it
	// finds an address, not bytes.
	content **[]byte
}

// NewPlaintext wraps b, which the caller must not use any more.
func NewPlaintext(b []byte) Plaintext {
	c := &b
	return Plaintext{content: &c}
}

// Reveal returns the bytes themselves, not a copy.
func (p Plaintext) Reveal() []byte {
	if p.content == nil {
		return nil
	}
	return **p.content
}

// Len returns the number of bytes.
func (p Plaintext) Len() int { return len(p.Reveal()) }

// Equal compares in time that depends only on the lengths.
func (p Plaintext) Equal(q Plaintext) bool {
	return subtle.ConstantTimeCompare(p.Reveal(), q.Reveal()) == 1
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
