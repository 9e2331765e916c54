package native

import (
	"context"
	"io"
	"net/http"
	"path"
	"strconv"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1/lifeboatv1connect"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// unary serves the plain POSTs of the methods on secrets, which are nearly all
// requests, without the protocol library, which costs as much as a read itself.
// Messages, codecs, use cases and errors are those of secretHandler; every other
// request goes to the library.
type unary struct {
	dialect
	methods map[string]method
	rest    http.Handler
	errors  *connect.ErrorWriter
	buffers sync.Pool // of *[]byte
}

// maxPooled bounds the buffers that are kept for later requests.
const maxPooled = 16 << 10

// method decodes a request, carries it out, and appends the answer to out, which
// may be the request's own memory.
type method func(ctx context.Context, c codec, body, out []byte) ([]byte, error)

func newUnary(d dialect, rest http.Handler) *unary {
	h := secretHandler{d}
	u := &unary{dialect: d, rest: rest, errors: connect.NewErrorWriter(), methods: map[string]method{
		lifeboatv1connect.SecretServiceGetSecretValueProcedure:       methodOf(d, "GetSecretValue", h.getSecretValue),
		lifeboatv1connect.SecretServiceBatchGetSecretValuesProcedure: methodOf(d, "BatchGetSecretValues", bare(h.BatchGetSecretValues)),
		lifeboatv1connect.SecretServiceDescribeSecretProcedure:       methodOf(d, "DescribeSecret", bare(h.DescribeSecret)),
		lifeboatv1connect.SecretServiceListSecretsProcedure:          methodOf(d, "ListSecrets", bare(h.ListSecrets)),
		lifeboatv1connect.SecretServiceCreateSecretProcedure:         methodOf(d, "CreateSecret", bare(h.CreateSecret)),
		lifeboatv1connect.SecretServicePutSecretVersionProcedure:     methodOf(d, "PutSecretVersion", bare(h.PutSecretVersion)),
		lifeboatv1connect.SecretServiceUpdateSecretProcedure:         methodOf(d, "UpdateSecret", bare(h.UpdateSecret)),
		lifeboatv1connect.SecretServiceMoveStageProcedure:            methodOf(d, "MoveStage", bare(h.MoveStage)),
		lifeboatv1connect.SecretServiceDeleteSecretProcedure:         methodOf(d, "DeleteSecret", bare(h.DeleteSecret)),
		lifeboatv1connect.SecretServiceRestoreSecretProcedure:        methodOf(d, "RestoreSecret", bare(h.RestoreSecret)),
	}}
	u.buffers.New = func() any { b := make([]byte, 0, 4<<10); return &b }
	return u
}

// bare leaves out what the library adds to messages.
func bare[Req, Res any](call func(context.Context, *connect.Request[Req]) (*connect.Response[Res], error)) func(context.Context, *Req) (*Res, error) {
	return func(ctx context.Context, m *Req) (*Res, error) {
		answer, err := call(ctx, connect.NewRequest(m))
		if err != nil {
			return nil, err
		}
		return answer.Msg, nil
	}
}

func methodOf[Req, Res any](d dialect, name string, call func(context.Context, *Req) (*Res, error)) method {
	return func(ctx context.Context, c codec, body, out []byte) ([]byte, error) {
		request := new(Req)
		err := c.Unmarshal(body, request)
		if err == nil {
			err = whyUndecodable(request)
		}
		if err != nil {
			_, err := refuse[struct{}](ctx, d, name, err)
			return nil, err
		}
		answer, err := call(ctx, request)
		if err != nil {
			return nil, err
		}
		return c.MarshalAppend(out, answer)
	}
}

// codec is what the two encodings of a message have in common.
type codec interface {
	connect.Codec
	MarshalAppend(b []byte, m any) ([]byte, error)
	contentType() []string
}

var (
	protoContent = []string{"application/proto"}
	jsonContent  = []string{"application/json"}
)

func (strictProto) contentType() []string { return protoContent }
func (strictJSON) contentType() []string  { return jsonContent }

// plain returns the codec and the time limit of a request that unary can serve.
func plain(r *http.Request) (c codec, timeout time.Duration, ok bool) {
	if r.Method != http.MethodPost || r.Header.Get("Content-Encoding") != "" {
		return nil, 0, false
	}
	if version := r.Header.Get("Connect-Protocol-Version"); version != "" && version != "1" {
		return nil, 0, false
	}
	if limit := r.Header.Get("Connect-Timeout-Ms"); limit != "" {
		ms, err := strconv.ParseUint(limit, 10, 32)
		if err != nil {
			return nil, 0, false
		}
		timeout = max(1, time.Duration(ms)*time.Millisecond)
	}
	switch r.Header.Get("Content-Type") {
	case "application/proto":
		return strictProto{}, timeout, true
	case "application/json":
		return strictJSON{name: "json"}, timeout, true
	}
	return nil, 0, false
}

// ServeHTTP implements http.Handler.
func (u *unary) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m, known := u.methods[r.URL.Path]
	if !known {
		u.rest.ServeHTTP(w, r)
		return
	}
	c, timeout, ok := plain(r)
	if !ok {
		u.rest.ServeHTTP(w, r)
		return
	}
	ctx := r.Context()
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	buffer := u.buffers.Get().(*[]byte)
	defer func() {
		clear((*buffer)[:cap(*buffer)]) // it held a value in the clear
		if cap(*buffer) <= 2*maxPooled {
			u.buffers.Put(buffer)
		}
	}()
	answer, err := u.serve(ctx, m, r, c, buffer)
	if err != nil {
		_ = u.errors.Write(w, r, err) // the client is gone
		return
	}
	header := w.Header()
	header["Content-Type"] = c.contentType()
	header["Content-Length"] = []string{strconv.Itoa(len(answer))}
	_, _ = w.Write(answer)
}

// serve answers in the buffer.
func (u *unary) serve(ctx context.Context, m method, r *http.Request, c codec, buffer *[]byte) ([]byte, error) {
	if n := min(r.ContentLength, maxPooled); n >= int64(cap(*buffer)) {
		*buffer = make([]byte, 0, n+1) // read without leaving copies behind
	}
	body, err := appendAll((*buffer)[:0], r.Body)
	*buffer = body
	if err != nil {
		_, err := refuse[struct{}](ctx, u.dialect, path.Base(r.URL.Path), secret.Invalid("body", "cannot be read to its end"))
		return nil, err
	}
	answer, err := m(ctx, c, body, body[:0])
	if cap(answer) > cap(body) {
		clear(body)
		*buffer = answer
	}
	return answer, err
}

// appendAll reads r to its end.
func appendAll(b []byte, r io.Reader) ([]byte, error) {
	for {
		if len(b) == cap(b) {
			larger := append(b, 0)[:len(b)]
			clear(b)
			b = larger
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err == io.EOF {
			return b, nil
		}
		if err != nil {
			return b, err
		}
	}
}

// MarshalAppend implements codec.
func (strictProto) MarshalAppend(b []byte, m any) ([]byte, error) {
	msg, err := message(m)
	if err != nil {
		return nil, err
	}
	return proto.MarshalOptions{}.MarshalAppend(b, msg)
}

// MarshalAppend implements codec.
func (strictJSON) MarshalAppend(b []byte, m any) ([]byte, error) {
	msg, err := message(m)
	if err != nil {
		return nil, err
	}
	return protojson.MarshalOptions{}.MarshalAppend(b, msg)
}
