package record

import (
	"bytes"
	"errors"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// The records of which every read decodes some are decoded by hand, because the
// protobuf library makes an allocation for every field: a secret with one
// version is 50 allocations that way and 8 this way. What may be decoded and
// what comes of it is the same; a fuzz test compares the two.

var errWire = errors.New("malformed protobuf")

// source is an encoded message of which the decoded form keeps parts.
type source struct {
	wire []byte
	// text and raw are copies, made once: the wire is valid only as long as the
	// view it came from. raw is made when the first field of bytes is met.
	text string
	raw  []byte
}

// cursor walks over the fields of a message.
type cursor struct {
	*source
	at, end int
	// tag is the number and the wire type of the field at hand.
	tag uint64
	err error
}

// The wire types of tags, as in field<<3 | wireType.
const (
	wireVarint = uint64(protowire.VarintType)
	wireBytes  = uint64(protowire.BytesType)
)

// over returns a cursor over a message. The source is where the caller has room
// for it: next to the decoded record, which keeps its text alive anyway.
func (s *source) over(wire []byte) cursor {
	*s = source{wire: wire, text: string(wire)}
	return cursor{source: s, end: len(wire)}
}

// next moves to the next field and reports whether there is one.
func (c *cursor) next() bool {
	if c.err != nil || c.at >= c.end {
		return false
	}
	number, kind, n := protowire.ConsumeTag(c.wire[c.at:c.end])
	if n < 0 || number > protowire.MaxValidNumber {
		c.err = errWire
		return false
	}
	c.at += n
	c.tag = protowire.EncodeTag(number, kind)
	return true
}

// span consumes a field of bytes and returns where it is.
func (c *cursor) span() (start, end int) {
	size, n := protowire.ConsumeVarint(c.wire[c.at:c.end])
	if n < 0 || size > uint64(c.end-c.at-n) {
		c.err = errWire
		return 0, 0
	}
	start = c.at + n
	c.at = start + int(size)
	return start, c.at
}

func (c *cursor) string() string {
	start, end := c.span()
	s := c.text[start:end]
	if !utf8.ValidString(s) {
		c.err = errWire
	}
	return s
}

func (c *cursor) bytes() []byte {
	start, end := c.span()
	if c.raw == nil {
		c.raw = bytes.Clone(c.wire)
	}
	return c.raw[start:end:end]
}

// likely returns how many fields as long as the one at hand may be left.
func (c *cursor) likely() int {
	start, end := (&cursor{source: c.source, at: c.at, end: c.end}).span()
	return 1 + (c.end-end)/(end-start+1)
}

func (c *cursor) uint() uint64 {
	v, n := protowire.ConsumeVarint(c.wire[c.at:c.end])
	if n < 0 {
		c.err = errWire
		return 0
	}
	c.at += n
	return v
}

// message consumes a field that is a message and returns a cursor over it, whose
// error the caller passes on with close.
func (c *cursor) message() cursor {
	start, end := c.span()
	return cursor{source: c.source, at: start, end: end}
}

func (c *cursor) close(inner *cursor) {
	if inner.err != nil {
		c.err = inner.err
	}
}

// skip passes over a field that is not known.
func (c *cursor) skip() {
	number, kind := protowire.DecodeTag(c.tag)
	n := protowire.ConsumeFieldValue(number, kind, c.wire[c.at:c.end])
	if n < 0 {
		c.err = errWire
		return
	}
	c.at += n
}

// entry consumes an entry of a map of strings.
func (c *cursor) entry() (key, value string) {
	m := c.message()
	for m.next() {
		switch m.tag {
		case 1<<3 | wireBytes:
			key = m.string()
		case 2<<3 | wireBytes:
			value = m.string()
		default:
			m.skip()
		}
	}
	c.close(&m)
	return key, value
}
