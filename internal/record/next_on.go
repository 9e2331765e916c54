//go:build nextformat

package record

import (
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// nextField is the number of a field of secrets that only this build knows. It
// is not in record.proto, because the release before must not know it.
const nextField protowire.Number = 1000

// next returns the kind with a field more, which takes format 2.
func next(k Kind[secret.Secret]) Kind[secret.Secret] {
	encode, decode, wire, appendWire := k.encode, k.decode, k.wire, k.appendWire
	k.reads = 2
	k.lowest = func(s *secret.Secret) byte {
		if s.Next.Mutations > 0 {
			return 2
		}
		return 1
	}
	k.encode = func(s *secret.Secret) proto.Message {
		m := encode(s)
		if s.Next.Mutations > 0 {
			b := protowire.AppendTag(nil, nextField, protowire.VarintType)
			m.ProtoReflect().SetUnknown(protowire.AppendVarint(b, s.Next.Mutations))
		}
		return m
	}
	k.decode = func(m proto.Message) *secret.Secret {
		s := decode(m)
		s.Next.Mutations, _ = takeNext(m.ProtoReflect().GetUnknown())
		return s
	}
	k.wire = func(b []byte) (*secret.Secret, error) {
		s, err := wire(b)
		if err == nil {
			s.Next.Mutations, _ = takeNext(b)
		}
		return s, err
	}
	k.appendWire = func(b []byte, s *secret.Secret) []byte {
		m := message(appendWire(b, s))
		m.uint(nextField, s.Next.Mutations)
		return m
	}
	k.known = func(m proto.Message) {
		_, rest := takeNext(m.ProtoReflect().GetUnknown())
		m.ProtoReflect().SetUnknown(rest)
	}
	return k
}

// takeNext returns the value of the field in an encoded message, and the message
// without it.
func takeNext(b []byte) (mutations uint64, rest []byte) {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return mutations, append(rest, b...)
		}
		size := protowire.ConsumeFieldValue(number, kind, b[n:])
		if size < 0 {
			return mutations, append(rest, b...)
		}
		if number == nextField && kind == protowire.VarintType {
			mutations, _ = protowire.ConsumeVarint(b[n:])
		} else {
			rest = append(rest, b[:n+size]...)
		}
		b = b[n+size:]
	}
	return mutations, rest
}
