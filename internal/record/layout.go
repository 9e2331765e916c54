package record

import (
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// layout says what the fields of a message look like, so that it can be checked
// without being decoded. It is indexed by the fields' numbers.
type layout []fieldLayout

type fieldLayout struct {
	known bool
	kind  protowire.Type
	text  bool
	// message is that of a nested message or of the entries of a map.
	message *layout
}

// mostFields bounds the number of a field that a layout knows.
const mostFields = 256

// newLayout returns the layout of a message.
func newLayout(d protoreflect.MessageDescriptor) *layout {
	return layouts{}.of(d)
}

// layouts are those of messages that refer to each other.
type layouts map[protoreflect.FullName]*layout

func (known layouts) of(d protoreflect.MessageDescriptor) *layout {
	if l := known[d.FullName()]; l != nil {
		return l
	}
	l := new(layout)
	known[d.FullName()] = l
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		n := int(f.Number())
		if n >= mostFields {
			continue
		}
		for len(*l) <= n {
			*l = append(*l, fieldLayout{})
		}
		entry := fieldLayout{known: true, kind: wireType(f.Kind()), text: f.Kind() == protoreflect.StringKind}
		if f.Message() != nil {
			entry.message = known.of(f.Message())
		}
		(*l)[n] = entry
	}
	return l
}

func wireType(k protoreflect.Kind) protowire.Type {
	switch k {
	case protoreflect.StringKind, protoreflect.BytesKind, protoreflect.MessageKind:
		return protowire.BytesType
	case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind, protoreflect.FloatKind:
		return protowire.Fixed32Type
	case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind, protoreflect.DoubleKind:
		return protowire.Fixed64Type
	case protoreflect.GroupKind:
		return protowire.StartGroupType
	}
	return protowire.VarintType
}

// deepest bounds how deep messages may be in each other.
const deepest = 16

// fits reports whether b is certainly an encoded message of the layout without
// anything that the layout does not know. If not the protobuf library decides.
func (l *layout) fits(b []byte, depth int) bool {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 || int(number) >= len(*l) {
			return false
		}
		f := &(*l)[number]
		if !f.known || kind != f.kind || kind == protowire.StartGroupType {
			return false
		}
		b = b[n:]
		if kind == protowire.BytesType {
			value, n := protowire.ConsumeBytes(b)
			if n < 0 || f.text && !utf8.Valid(value) {
				return false
			}
			if f.message != nil && (depth == 0 || !f.message.fits(value, depth-1)) {
				return false
			}
			b = b[n:]
			continue
		}
		if n = protowire.ConsumeFieldValue(number, kind, b); n < 0 {
			return false
		}
		b = b[n:]
	}
	return true
}
