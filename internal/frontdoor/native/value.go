package native

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1/lifeboatv1connect"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// valueReader serves the plain POST of GetSecretValue, which is nearly all that
// a data-plane host does, without the protocol library, which costs as much as
// the read itself. Messages, codecs, use case and errors are those of
// secretHandler; every other request goes to the library.
type valueReader struct {
	secretHandler
	rest    http.Handler
	errors  *connect.ErrorWriter
	buffers sync.Pool // of *[]byte
}

func newValueReader(d dialect, rest http.Handler) *valueReader {
	v := &valueReader{secretHandler: secretHandler{d}, rest: rest, errors: connect.NewErrorWriter()}
	v.buffers.New = func() any { b := make([]byte, 0, 4<<10); return &b }
	return v
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

// plain returns the codec and the time limit of a request that valueReader can
// serve.
func plain(r *http.Request) (c codec, timeout time.Duration, ok bool) {
	if r.Method != http.MethodPost || r.URL.Path != lifeboatv1connect.SecretServiceGetSecretValueProcedure ||
		r.Header.Get("Content-Encoding") != "" {
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
func (v *valueReader) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, timeout, ok := plain(r)
	if !ok {
		v.rest.ServeHTTP(w, r)
		return
	}
	ctx := r.Context()
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	buffer := v.buffers.Get().(*[]byte)
	defer func() {
		clear((*buffer)[:cap(*buffer)]) // it held a value in the clear
		v.buffers.Put(buffer)
	}()
	answer, err := v.read(ctx, r, c, buffer)
	if err != nil {
		_ = v.errors.Write(w, r, err) // the client is gone
		return
	}
	header := w.Header()
	header["Content-Type"] = c.contentType()
	header["Content-Length"] = []string{strconv.Itoa(len(answer))}
	_, _ = w.Write(answer)
}

// read answers in the buffer.
func (v *valueReader) read(ctx context.Context, r *http.Request, c codec, buffer *[]byte) ([]byte, error) {
	body, err := appendAll((*buffer)[:0], r.Body)
	*buffer = body
	request := new(lifeboatv1.GetSecretValueRequest)
	if err != nil {
		err = secret.Invalid("body", "cannot be read to its end")
	} else if err = c.Unmarshal(body, request); err == nil {
		err = whyUndecodable(request)
	}
	if err != nil {
		_, err := refuse[struct{}](ctx, v.dialect, "GetSecretValue", err)
		return nil, err
	}
	response, err := v.getSecretValue(ctx, request)
	if err != nil {
		return nil, err
	}
	answer, err := c.MarshalAppend((*buffer)[:0], response)
	*buffer = answer
	return answer, err
}

// appendAll reads r to its end.
func appendAll(b []byte, r io.Reader) ([]byte, error) {
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
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
