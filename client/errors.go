package client

import (
	"context"
	"errors"
	"strconv"
	"time"

	"connectrpc.com/connect"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
)

// Code classifies an error. The codes are documented with the native API.
type Code string

// The codes. Each comment says what the caller can do.
const (
	CodeInvalid            Code = "invalid_argument"     // correct the named field
	CodeUnauthenticated    Code = "unauthenticated"      // present a valid credential
	CodeDenied             Code = "permission_denied"    // ask for a policy
	CodeNotFound           Code = "not_found"            // name something that exists
	CodeExists             Code = "already_exists"       // choose another name
	CodeStale              Code = "stale_expectation"    // read again, then decide
	CodeWrongState         Code = "wrong_state"          // e.g. restore the secret first
	CodeTokenReused        Code = "request_token_reused" // same request token, other payload
	CodeLimit              Code = "limit_exceeded"       // a documented limit on stored data
	CodeThrottled          Code = "throttled"            // slow down
	CodeNotHome            Code = "not_home"             // mutate in the named home region
	CodeDetached           Code = "detached"             // the replica is a secret of its own: leave it alone
	CodeUnknownIncarnation Code = "unknown_incarnation"  // the revision token is of another life of the region
	CodeNotReached         Code = "revision_not_reached" // ask another host or the home region
	CodeSuperseded         Code = "write_superseded"     // the write lost to a takeover: read without the token
	CodeResumeGone         Code = "resume_gone"          // list anew, then watch without a token
	CodeExpired            Code = "expired"              // the secret or version is past its expiry
	CodeUnavailable        Code = "unavailable"          // try again later
	CodeOutcomeUnknown     Code = "outcome_unknown"      // may have been done; read to find out
	CodeStoreFull          Code = "store_full"           // the operator must make room
	CodeAuditUnavailable   Code = "audit_unavailable"    // refused because it could not be audited
	CodeKeyUnavailable     Code = "key_unavailable"      // the key service does not answer or fails
	CodeWrongKey           Code = "wrong_key"            // it answers, but lacks the master key or may not use it
	CodeKeyInUse           Code = "key_in_use"           // something that is named still needs the key
	CodeTampered           Code = "tampered"             // sealed data fails its check
	CodeUnknownFormat      Code = "unknown_format"       // written by a newer release: upgrade
	CodeCorrupt            Code = "corrupt"              // stored data fails its checksum or cannot be decoded
	CodeInternal           Code = "internal"             // a bug

	// CodeUnreachable means that no answer came from the region.
	CodeUnreachable Code = "unreachable"
	// CodeCanceled means that the caller's context ended, or the call's timeout.
	CodeCanceled Code = "canceled"
)

// Error is a refusal of the region, or what kept a call from reaching it. It
// never contains a value of a secret.
type Error struct {
	Code Code
	// Field names the offending field of the request, if one is.
	Field string
	// Message says what is wrong.
	Message string
	// Hint says what to do, for people; may be empty.
	Hint string
	// RequestID is the request's ID in the audit log; empty if none was given.
	RequestID string
	// RetryAfter is how long the region asks to wait before the next attempt; 0 if
	// it does not say.
	RetryAfter time.Duration
	// Home is the region that mutates what the error is about: known with CodeNotHome,
	// and with CodeNotFound of a secret.
	Home string
	// Region is that of the configuration which was asked.
	Region string
	// Err is the cause.
	Err error

	// unsent is set if the request provably did not leave.
	unsent bool
	// told is set if it was the region that answered, not something in front of it.
	told bool
	// moving is set if nothing was done because the home of what the request is about
	// was on its way from one region to another.
	moving bool
	// final is set if no other attempt and no other region can help.
	final bool
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// CodeOf returns the code of the first *Error in err's chain; CodeInternal if
// there is none, and "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return CodeInternal
}

// errorOf makes an *Error of what a connect client returned.
func errorOf(ctx context.Context, err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	wire, ok := errors.AsType[*connect.Error](err)
	if !ok {
		return &Error{Code: CodeInternal, Message: err.Error(), Err: err}
	}
	e := &Error{Message: wire.Message(), Err: err, RequestID: wire.Meta().Get("Lifeboat-Request-Id")}
	if seconds, parseErr := strconv.ParseUint(wire.Meta().Get("Retry-After"), 10, 16); parseErr == nil {
		e.RetryAfter = time.Duration(seconds) * time.Second
	}
	for _, detail := range wire.Details() {
		value, detailErr := detail.Value()
		if info, ok := value.(*lifeboatv1.ErrorInfo); detailErr == nil && ok {
			e.Code, e.Field, e.Hint, e.RequestID = Code(info.GetCode()), info.GetField(), info.GetHint(), info.GetRequestId()
			e.Home, e.told = info.GetHomeRegion(), true
			return e
		}
	}
	switch {
	case ctx.Err() != nil:
		e.Code = CodeCanceled
	case !connect.IsWireError(err) && noAnswer[wire.Code()]:
		e.Code, e.Hint = CodeUnreachable, "check the address, that a host of the region listens there, and the authorities (CA file) that you trust"
	case wire.Code() == connect.CodeCanceled, wire.Code() == connect.CodeDeadlineExceeded:
		e.Code = CodeCanceled
	default:
		e.Code = codeOfWire(wire.Code())
	}
	return e
}

// noAnswer are the codes that connect gives to failures of the network: a connection
// that was reset is one that is cancelled to it, one that timed out past its deadline.
var noAnswer = map[connect.Code]bool{
	connect.CodeUnavailable: true, connect.CodeUnknown: true, connect.CodeInternal: true, connect.CodeCanceled: true, connect.CodeDeadlineExceeded: true,
}

// codeOfWire is for answers without an ErrorInfo, e.g. of a proxy.
func codeOfWire(code connect.Code) Code {
	switch code {
	case connect.CodeInvalidArgument:
		return CodeInvalid
	case connect.CodeUnauthenticated:
		return CodeUnauthenticated
	case connect.CodePermissionDenied:
		return CodeDenied
	case connect.CodeNotFound, connect.CodeUnimplemented:
		return CodeNotFound
	case connect.CodeAlreadyExists:
		return CodeExists
	case connect.CodeResourceExhausted:
		return CodeThrottled
	case connect.CodeUnavailable:
		return CodeUnavailable
	default:
		return CodeInternal
	}
}
