package client

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http/httptrace"
	"sync/atomic"
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
	// harmless: always, since it changes nothing.
	harmless
)

// where says which regions a call may go to.
type where int

const (
	// toAny: to any region that holds what it is about, in order of preference.
	toAny where = iota
	// toHome: to the home region of what it is about.
	toHome
	// toHere: to the first region alone, since it is about the region itself.
	toHere
)

// method is a call of the generated clients.
type method[Q, A any] func(*endpoint, context.Context, *connect.Request[Q]) (*connect.Response[A], error)

// message is a pointer to a request.
type message[Q any] interface {
	*Q
	proto.Message
}

// read calls a method that changes nothing.
func read[Q, A any, P message[Q]](ctx context.Context, c *Client, f method[Q, A], in P) (*A, error) {
	return call[Q, A, P](ctx, c, f, in, toAny, harmless)
}

// readHome is read for what only the home of a record can tell.
func readHome[Q, A any, P message[Q]](ctx context.Context, c *Client, f method[Q, A], in P) (*A, error) {
	return call[Q, A, P](ctx, c, f, in, toHome, harmless)
}

// readHere is read for what is about a region itself.
func readHere[Q, A any, P message[Q]](ctx context.Context, c *Client, f method[Q, A], in P) (*A, error) {
	return call[Q, A, P](ctx, c, f, in, toHere, harmless)
}

// mutate calls a method that changes something.
func mutate[Q, A any, P message[Q]](ctx context.Context, c *Client, f method[Q, A], in P) (*A, error) {
	in, mode := withRequestToken[Q, P](in)
	return call[Q, A, P](ctx, c, f, in, toHome, mode)
}

// mutateHere is mutate for what has no home yet or is about a region itself.
func mutateHere[Q, A any, P message[Q]](ctx context.Context, c *Client, f method[Q, A], in P) (*A, error) {
	in, mode := withRequestToken[Q, P](in)
	return call[Q, A, P](ctx, c, f, in, toHere, mode)
}

// withRequestToken makes sure that every attempt of a mutation carries the same
// request token, if its request can carry one.
func withRequestToken[Q any, P message[Q]](in P) (P, repeat) {
	m := in.ProtoReflect()
	field := m.Descriptor().Fields().ByName("request_token")
	if field == nil {
		return in, once
	}
	if m.Get(field).String() == "" {
		// The caller's message stays as it is, or its next use would be a replay.
		in = proto.CloneOf(in)
		in.ProtoReflect().Set(field, protoreflect.ValueOfString(ulid.Make().String()))
	}
	return in, idempotent
}

// call makes rounds through the regions until one has answered, or it cannot help to
// go on.
func call[Q, A any, P message[Q]](ctx context.Context, c *Client, f method[Q, A], in P, to where, mode repeat) (*A, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	r := &round[A]{client: c, about: aboutOf(in), mode: mode, try: func(ctx context.Context, e *endpoint) (*A, *Error) {
		return tryAuthorized(ctx, c, e, f, (*Q)(in))
	}}
	answer, err := retry(ctx, mode, func() (*A, *Error) {
		c.probeDue()
		if to == toAny {
			return r.read(ctx)
		}
		return r.mutate(ctx, to)
	})
	if err != nil { // a nil *Error would be no nil error
		return nil, r.outcome(err)
	}
	return answer, nil
}

// retry makes attempts until one succeeds, or another one cannot help or could harm.
func retry[A any](ctx context.Context, mode repeat, attempt func() (*A, *Error)) (*A, *Error) {
	waits := backoff.NewExponentialBackOff()
	waits.InitialInterval, waits.MaxInterval = firstRetryAfter, lastRetryAfter
	pause := &pauses{BackOff: waits}
	var last *Error
	answer, err := backoff.Retry(ctx, func() (*A, error) {
		answer, e := attempt()
		if e == nil {
			return answer, nil
		}
		if e.Code != CodeCanceled || last == nil {
			last = e // what a region said tells more than that time ran out
		}
		if !mayRepeat(e, mode) {
			return nil, backoff.Permanent(e)
		}
		pause.least = e.RetryAfter
		return nil, e
	}, backoff.WithBackOff(pause), backoff.WithMaxElapsedTime(0), backoff.WithMaxTries(maxTries))
	switch {
	case err == nil:
		return answer, nil
	case last == nil: // the context had ended before
		return nil, errorOf(ctx, connect.NewError(connect.CodeCanceled, err))
	}
	return nil, last
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

// tryAuthorized makes one request, and one more if its token had ended.
func tryAuthorized[Q, A any](ctx context.Context, c *Client, e *endpoint, f method[Q, A], in *Q) (*A, *Error) {
	for renewed := false; ; renewed = true {
		request := connect.NewRequest(in)
		if err := c.authorize(ctx, request.Header()); err != nil {
			return nil, unauthorized(err)
		}
		answer, failure := try(ctx, e, f, request)
		if failure == nil || renewed || !c.expired(failure, request.Header()) { // it was refused before anything was done
			return answer, failure
		}
	}
}

// try makes one request and tells the breaker.
func try[Q, A any](ctx context.Context, e *endpoint, f method[Q, A], request *connect.Request[Q]) (*A, *Error) {
	var connected atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	response, err := f(e, traced, request)
	if err == nil {
		e.breaker.answered()
		return response.Msg, nil
	}
	failure := errorOf(ctx, err)
	failure.Region, failure.unsent = e.region.name, !connected.Load()
	switch failure.Code {
	case CodeUnreachable:
		e.breaker.broke()
	case CodeCanceled:
	default:
		e.breaker.answered()
	}
	return nil, failure
}

// unauthorized is the error of a request for which no token could be got.
func unauthorized(err error) *Error {
	made := &Error{Code: CodeInternal, Message: err.Error(), Err: err, unsent: true, final: true}
	if e, ok := errors.AsType[*Error](err); ok {
		made.Code, made.Hint, made.RequestID, made.Region = e.Code, e.Hint, e.RequestID, e.Region
	}
	return made
}

// mayRepeat reports whether another attempt can help and cannot harm.
func mayRepeat(e *Error, mode repeat) bool {
	if e.final {
		return false
	}
	switch e.Code {
	case CodeThrottled: // refused before anything was done
		return true
	case CodeUnavailable, CodeOutcomeUnknown, CodeNotReached, CodeKeyUnavailable:
		return mode != once
	case CodeUnreachable:
		return temporary(e) && (mode != once || e.unsent)
	}
	return e.moving
}

// temporary reports whether what failed may pass; a certificate that is not
// trusted will not be the next time either.
func temporary(err error) bool {
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	_, alert := errors.AsType[tls.AlertError](err)
	return !untrusted && !alert
}
