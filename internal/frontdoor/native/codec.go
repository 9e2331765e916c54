package native

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
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
		return errors.New("the message is malformed")
	}
	return refuseUnknown(msg.ProtoReflect())
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
		return errors.New("the body is empty; send {} for a request without fields")
	}
	if err := (protojson.UnmarshalOptions{}).Unmarshal(b, msg); err != nil {
		return fmt.Errorf("the message is malformed: %s", withoutContent(err))
	}
	return refuseUnknown(msg.ProtoReflect())
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
func refuseUnknown(m protoreflect.Message) error {
	if len(m.GetUnknown()) > 0 {
		return fmt.Errorf("%s has a field that this release does not know", m.Descriptor().FullName())
	}
	var err error
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap():
			if f.MapValue().Message() != nil {
				v.Map().Range(func(_ protoreflect.MapKey, e protoreflect.Value) bool {
					err = refuseUnknown(e.Message())
					return err == nil
				})
			}
		case f.IsList():
			err = refuseUnknownList(f, v.List())
		case f.Message() != nil:
			err = refuseUnknown(v.Message())
		case f.Enum() != nil:
			err = refuseUnknownEnum(f, v.Enum())
		}
		return err == nil
	})
	return err
}

func refuseUnknownList(f protoreflect.FieldDescriptor, list protoreflect.List) error {
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

func refuseUnknownEnum(f protoreflect.FieldDescriptor, n protoreflect.EnumNumber) error {
	if f.Enum().Values().ByNumber(n) == nil {
		return fmt.Errorf("%s: %d is not a value that this release knows", f.FullName(), n)
	}
	return nil
}

// withoutContent keeps of a JSON error where and what, never the content: that
// may be a secret value.
func withoutContent(err error) string {
	s := err.Error()
	if i := strings.Index(s, "(line "); i >= 0 {
		s = s[i:]
	}
	if strings.Contains(s, "unknown field") || strings.Contains(s, "duplicate field") {
		return s
	}
	if head, _, ok := strings.Cut(s, ": invalid value for"); ok {
		field := s[len(head):]
		if i := strings.Index(field, " field "); i >= 0 {
			name, _, _ := strings.Cut(field[i+len(" field "):], ":")
			return head + ": invalid value for field " + name
		}
		return head + ": invalid value"
	}
	position, _, _ := strings.Cut(s, "):")
	if strings.HasPrefix(position, "(line ") {
		return position + "): syntax error"
	}
	return "syntax error"
}
