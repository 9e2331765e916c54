package secret

import (
	"errors"
	"fmt"
)

// Code classifies an error for callers; each wire dialect maps it in the one
// table of package frontdoor.
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
	CodeTokenReused        Code = "request_token_reused" // same token, other payload: use a new token
	CodeLimit              Code = "limit_exceeded"       // a documented limit on stored data
	CodeThrottled          Code = "throttled"            // slow down, then retry
	CodeNotHome            Code = "not_home"             // mutate in the named home region
	CodeDetached           Code = "detached"             // the replica is a secret of its own: leave it alone
	CodeUnknownIncarnation Code = "unknown_incarnation"  // the revision token is of another life of the region
	CodeNotReached         Code = "revision_not_reached" // retry, or ask another host or the home region
	CodeSuperseded         Code = "write_superseded"     // the write lost to a takeover: look at the conflicts, or read without the token
	CodeResumeGone         Code = "resume_gone"          // list anew, then watch without a token
	CodeExpired            Code = "expired"              // the secret or version is past its expiry
	CodeUnavailable        Code = "unavailable"          // retry with the same request token
	CodeOutcomeUnknown     Code = "outcome_unknown"      // may have committed; retry with the same request token
	CodeStoreFull          Code = "store_full"           // the operator must make room
	CodeAuditUnavailable   Code = "audit_unavailable"    // refused because it could not be audited
	CodeKeyUnavailable     Code = "key_unavailable"      // the key service does not answer or fails: retry
	CodeWrongKey           Code = "wrong_key"            // it answers, but lacks the master key or may not use it
	CodeKeyInUse           Code = "key_in_use"           // something that is named still needs the key
	CodeTampered           Code = "tampered"             // sealed data fails its check
	CodeUnknownFormat      Code = "unknown_format"       // written by a newer release: upgrade
	CodeCorrupt            Code = "corrupt"              // stored data fails its checksum or cannot be decoded
	CodeInternal           Code = "internal"             // a bug
)

// Codes returns all codes.
func Codes() []Code {
	return []Code{
		CodeInvalid, CodeUnauthenticated, CodeDenied, CodeNotFound, CodeExists,
		CodeStale, CodeWrongState, CodeTokenReused, CodeLimit, CodeThrottled,
		CodeNotHome, CodeDetached, CodeUnknownIncarnation, CodeNotReached, CodeSuperseded, CodeResumeGone, CodeExpired,
		CodeUnavailable, CodeOutcomeUnknown, CodeStoreFull, CodeAuditUnavailable, CodeKeyUnavailable,
		CodeWrongKey, CodeKeyInUse, CodeTampered, CodeUnknownFormat, CodeCorrupt, CodeInternal,
	}
}

// Error is the one error type that crosses package borders when a caller can
// act on it. It never contains a value of a secret.
type Error struct {
	Code Code
	// Field names the offending input in the words of the API, if one is.
	Field string
	// Message says what is wrong, with the limit where there is one.
	Message string
	// Hint says what to do, for people; may be empty.
	Hint string
	// Home is the region that mutates the record that the error is about: always set
	// with CodeNotHome. With CodeNotFound of a secret it is the home of its vault, which
	// knows for sure.
	Home RegionName
	// Err is the cause, for logs; it is not sent to clients.
	Err error
}

// Error returns the message, preceded by the field and followed by the cause.
func (e *Error) Error() string {
	s := e.Message
	if e.Field != "" {
		s = e.Field + ": " + s
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is makes errors.Is(err, &Error{Code: c}) match by code alone.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && t.Message == "" && t.Field == ""
}

// Errorf returns an *Error without a cause.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Wrap returns an *Error with a cause.
func Wrap(code Code, cause error, message string) *Error {
	return &Error{Code: code, Message: message, Err: cause}
}

// Invalid returns a CodeInvalid error for a field.
func Invalid(field, format string, args ...any) *Error {
	return &Error{Code: CodeInvalid, Field: field, Message: fmt.Sprintf(format, args...)}
}

// WithHint returns e with a hint.
func (e *Error) WithHint(hint string) *Error {
	e.Hint = hint
	return e
}

// CodeOf returns the code of the first *Error in err's chain, CodeInternal if
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

// HasCode reports whether err is or wraps an *Error of that code.
func HasCode(err error, code Code) bool { return err != nil && CodeOf(err) == code }
