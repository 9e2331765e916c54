package native

import (
	"fmt"
	"regexp"
	"sync"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// strictProto is the binary codec; it refuses unknown fields and enum values.
type strictProto struct{}

func (strictProto) Name() string { return "proto" }

func (strictProto) Marshal(m any) ([]byte, error) {
	msg, err := message(m)
	if err != nil {
		return nil, err
	}
	return proto.Marshal(msg)
}

func (strictProto) Unmarshal(b []byte, m any) error {
	msg, err := message(m)
	if err != nil {
		return err
	}
	if err := proto.Unmarshal(b, msg); err != nil {
		undecodable(msg, secret.Invalid("", "the message is malformed"))
	} else if e := refuseUnknown(msg.ProtoReflect()); e != nil {
		undecodable(msg, e)
	}
	return nil
}

// strictJSON is the JSON codec; it refuses unknown fields and enum values.
type strictJSON struct{ name string }

func (c strictJSON) Name() string { return c.name }

func (strictJSON) Marshal(m any) ([]byte, error) {
	msg, err := message(m)
	if err != nil {
		return nil, err
	}
	return protojson.Marshal(msg)
}

func (strictJSON) Unmarshal(b []byte, m any) error {
	msg, err := message(m)
	if err != nil {
		return err
	}
	if len(b) == 0 {
		undecodable(msg, secret.Invalid("body", "is empty; send {} for a request without fields"))
	} else if err := (protojson.UnmarshalOptions{}).Unmarshal(b, msg); err != nil {
		undecodable(msg, withoutContent(err))
	} else if e := refuseUnknown(msg.ProtoReflect()); e != nil {
		undecodable(msg, e)
	}
	return nil
}

func message(m any) (proto.Message, error) {
	msg, ok := m.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T is not a protobuf message", m)
	}
	return msg, nil
}

// refuseUnknown walks a message and refuses fields and enum values that this
// release does not know.
func refuseUnknown(m protoreflect.Message) (err *secret.Error) {
	if unknown := m.GetUnknown(); len(unknown) > 0 {
		number, _, _ := protowire.ConsumeTag(unknown)
		return secret.Invalid("", "%s has a field that this release does not know, number %d", m.Descriptor().FullName(), number)
	}
	for _, f := range openFields(m.Descriptor()) {
		if !m.Has(f) {
			continue
		}
		switch v := m.Get(f); {
		case f.IsMap():
			v.Map().Range(func(_ protoreflect.MapKey, e protoreflect.Value) bool {
				err = refuseUnknown(e.Message())
				return err == nil
			})
		case f.IsList():
			err = refuseUnknownList(f, v.List())
		case f.Message() != nil:
			err = refuseUnknown(v.Message())
		default:
			err = refuseUnknownEnum(f, v.Enum())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// openFieldsOf holds the fields of each type of message that can hold something unknown:
// to walk over all that a request has costs several times as much.
var openFieldsOf sync.Map // protoreflect.MessageDescriptor to []protoreflect.FieldDescriptor

func openFields(d protoreflect.MessageDescriptor) (fields []protoreflect.FieldDescriptor) {
	if known, ok := openFieldsOf.Load(d); ok {
		return known.([]protoreflect.FieldDescriptor)
	}
	for i := range d.Fields().Len() {
		switch f := d.Fields().Get(i); {
		case f.IsMap() && f.MapValue().Message() == nil:
		case f.Message() != nil, f.Enum() != nil:
			fields = append(fields, f)
		}
	}
	openFieldsOf.Store(d, fields)
	return fields
}

func refuseUnknownList(f protoreflect.FieldDescriptor, list protoreflect.List) *secret.Error {
	for i := range list.Len() {
		switch {
		case f.Message() != nil:
			if err := refuseUnknown(list.Get(i).Message()); err != nil {
				return err
			}
		case f.Enum() != nil:
			if err := refuseUnknownEnum(f, list.Get(i).Enum()); err != nil {
				return err
			}
		}
	}
	return nil
}

func refuseUnknownEnum(f protoreflect.FieldDescriptor, n protoreflect.EnumNumber) *secret.Error {
	if f.Enum().Values().ByNumber(n) == nil {
		return secret.Invalid(string(f.Name()), "%d is not a value that this release knows", n)
	}
	return nil
}

// The errors of the JSON decoder that say which field is wrong. They are matched
// from their start, since what follows may be content.
var (
	jsonPosition = regexp.MustCompile(`^proto:[\s\x{a0}]*(?:syntax error )?(\(line \d+:\d+\)): `)
	jsonField    = regexp.MustCompile(`^(unknown|duplicate) field "([A-Za-z0-9_]{1,64})"$`)
	jsonValue    = regexp.MustCompile(`^invalid value for [a-z0-9]+ field ([A-Za-z0-9_]{1,64}): `)
)

// withoutContent keeps of a JSON error where and what, never the content: that
// may be a secret value.
func withoutContent(err error) *secret.Error {
	s := err.Error()
	at := jsonPosition.FindStringSubmatch(s)
	if at == nil {
		return secret.Invalid("", "the message is malformed: syntax error")
	}
	rest, where := s[len(at[0]):], at[1]
	if f := jsonField.FindStringSubmatch(rest); f != nil {
		return secret.Invalid(f[2], "is %s field %s", map[string]string{"unknown": "an unknown", "duplicate": "a duplicate"}[f[1]], where)
	}
	if f := jsonValue.FindStringSubmatch(rest); f != nil {
		return secret.Invalid(f[1], "has an invalid value %s", where)
	}
	return secret.Invalid("", "the message is malformed: syntax error %s", where)
}
