package native

import (
	"context"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// A message that cannot be decoded becomes an empty one that says why in its
// unknown fields, which a decoded message never has: the protocol library gives
// the error of a codec no details, an interceptor's error keeps them.
const (
	undecodableField  protowire.Number = 1
	undecodableReason protowire.Number = 2
)

// undecodable empties a message and leaves in it which field is wrong and why.
func undecodable(msg proto.Message, e *secret.Error) {
	proto.Reset(msg)
	var b []byte
	b = protowire.AppendTag(b, undecodableField, protowire.BytesType)
	b = protowire.AppendString(b, e.Field)
	b = protowire.AppendTag(b, undecodableReason, protowire.BytesType)
	b = protowire.AppendString(b, e.Message)
	msg.ProtoReflect().SetUnknown(protoreflect.RawFields(b))
}

// whyUndecodable returns nil for a message that was decoded.
func whyUndecodable(m any) error {
	msg, ok := m.(proto.Message)
	if !ok {
		return nil
	}
	b := msg.ProtoReflect().GetUnknown()
	if len(b) == 0 {
		return nil
	}
	e := secret.Invalid("", "the message is malformed")
	for len(b) > 0 {
		number, _, n := protowire.ConsumeTag(b)
		if n < 0 {
			return e
		}
		b = b[n:]
		text, n := protowire.ConsumeString(b)
		if n < 0 {
			return e
		}
		b = b[n:]
		switch number {
		case undecodableField:
			e.Field = text
		case undecodableReason:
			e.Message = text
		}
	}
	return e
}

// decoded is the interceptor that refuses messages that could not be decoded.
type decoded struct{ dialect }

// WrapUnary implements connect.Interceptor.
func (d decoded) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
		if err := whyUndecodable(r.Any()); err != nil {
			_, err := refuse[struct{}](ctx, d.dialect, action(r.Spec()), err)
			return nil, err
		}
		return next(ctx, r)
	}
}

// WrapStreamingHandler implements connect.Interceptor.
func (d decoded) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		return next(ctx, decodedConn{StreamingHandlerConn: conn, dialect: d.dialect, ctx: ctx})
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (decoded) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

type decodedConn struct {
	connect.StreamingHandlerConn
	dialect dialect
	ctx     context.Context //nolint:containedctx // the stream's own
}

// Receive implements connect.StreamingHandlerConn.
func (c decodedConn) Receive(m any) error {
	if err := c.StreamingHandlerConn.Receive(m); err != nil {
		return err
	}
	if err := whyUndecodable(m); err != nil {
		_, err := refuse[struct{}](c.ctx, c.dialect, action(c.Spec()), err)
		return err
	}
	return nil
}

// action is what the audit log calls a procedure.
func action(s connect.Spec) string {
	for i := len(s.Procedure) - 1; i >= 0; i-- {
		if s.Procedure[i] == '/' {
			return s.Procedure[i+1:]
		}
	}
	return s.Procedure
}
