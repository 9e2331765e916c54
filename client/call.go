package client

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"

	"connectrpc.com/connect"
	"github.com/cenkalti/backoff/v5"
	"github.com/oklog/ulid/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Waits between attempts grow from the first to the last, with jitter.
const (
	firstRetryAfter = 50 * time.Millisecond
	lastRetryAfter  = 2 * time.Second
)

// repeat says when a call may be tried again.
type repeat int

const (
	// once: only after an answer that proves that nothing was done.
	once repeat = iota
	// idempotent: also when it is not known what was done.
	idempotent
)

// method is a call of the generated clients.
type method[Q, A any] func(context.Context, *connect.Request[Q]) (*connect.Response[A], error)

// message is a pointer to a request.
type message[Q any] interface {
	*Q
	proto.Message
}

// read calls a method that changes nothing.
func read[Q, A any, P message[Q]](ctx context.Context, c *Client, f method[Q, A], in P) (*A, error) {
	return call(ctx, c, f, (*Q)(in), idempotent)
}

// mutate calls a method that changes something. If its request can carry a
// request token, every attempt carries the same.
func mutate[Q, A any, P message[Q]](ctx context.Context, c *Client, f method[Q, A], in P) (*A, error) {
	m := in.ProtoReflect()
	field := m.Descriptor().Fields().ByName("request_token")
	if field == nil {
		return call(ctx, c, f, (*Q)(in), once)
	}
	if m.Get(field).String() == "" {
		// The caller's message stays as it is, or its next use would be a replay.
		in = proto.CloneOf(in)
		in.ProtoReflect().Set(field, protoreflect.ValueOfString(ulid.Make().String()))
	}
	return call(ctx, c, f, (*Q)(in), idempotent)
}

func call[Q, A any](ctx context.Context, c *Client, f method[Q, A], in *Q, mode repeat) (*A, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	waits := backoff.NewExponentialBackOff()
	waits.InitialInterval, waits.MaxInterval = firstRetryAfter, lastRetryAfter
	pause := &pauses{BackOff: waits}
	var last error
	renewed := false
	attempt := func() (*A, error) {
		request := connect.NewRequest(in)
		if err := c.authorize(ctx, request.Header()); err != nil {
			return nil, backoff.Permanent(err)
		}
		response, err := f(ctx, request)
		if err == nil {
			return response.Msg, nil
		}
		e := errorOf(ctx, err)
		if e.Code != CodeCanceled || last == nil {
			last = e
		}
		if !renewed && c.expired(e, request.Header()) { // it was refused before anything was done
			renewed = true
			return nil, e
		}
		if !mayRepeat(e, mode) {
			return nil, backoff.Permanent(e)
		}
		pause.least = e.RetryAfter
		return nil, e
	}
	answer, err := backoff.Retry(ctx, attempt, backoff.WithBackOff(pause), backoff.WithMaxElapsedTime(0), backoff.WithMaxTries(maxTries))
	if err == nil {
		return answer, nil
	}
	// What the region said tells more than that time ran out while waiting.
	if e, ok := errors.AsType[*Error](err); last != nil && (!ok || e.Code == CodeCanceled) {
		err = last
	}
	if p, ok := errors.AsType[*backoff.PermanentError](err); ok {
		err = p.Unwrap()
	}
	return nil, err
}

// pauses are at least as long as the region asked for.
type pauses struct {
	backoff.BackOff
	least time.Duration
}

// NextBackOff implements backoff.BackOff.
func (p *pauses) NextBackOff() time.Duration { return max(p.BackOff.NextBackOff(), p.least) }

// maxTries bounds attempts: about five seconds of waiting in all.
const maxTries = 8

// mayRepeat reports whether another attempt can help and cannot harm.
func mayRepeat(e *Error, mode repeat) bool {
	switch e.Code {
	case CodeThrottled: // refused before anything was done
		return true
	case CodeUnavailable, CodeOutcomeUnknown, CodeNotReached, CodeKeyUnavailable:
		return mode == idempotent
	case CodeUnreachable:
		return temporary(e) && (mode == idempotent || notSent(e))
	}
	return false
}

// notSent reports whether the connection was never made.
func notSent(err error) bool {
	e, ok := errors.AsType[*net.OpError](err)
	return ok && e.Op == "dial"
}

// temporary reports whether what failed may pass; a certificate that is not
// trusted will not be the next time either.
func temporary(err error) bool {
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	_, alert := errors.AsType[tls.AlertError](err)
	return !untrusted && !alert
}
