package aws

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/router"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// wireType is the API's type of an error that this package makes; it is the cause
// of a secret.Error, whose message is the API's.
type wireType string

func (t wireType) Error() string { return string(t) }

// faultf returns an error of the API.
func faultf(code secret.Code, of wireType, format string, args ...any) error {
	e := secret.Errorf(code, format, args...)
	e.Err = of
	return e
}

// The texts that AWS answers.
const (
	textNotFound = "Secrets Manager can't find the specified secret."
	textDeleted  = "You can't perform this operation on the secret because it was marked for deletion."
	textPending  = "You can't create this secret because a secret with this name is already scheduled for deletion."
	textReplica  = "Operation not permitted on a replica secret. Call must be made in primary secret's region."
	textNoToken  = "You must provide a ClientRequestToken value. We recommend a UUID-type value."
	textToken    = "ClientRequestToken must be 32-64 characters long."
	textName     = "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!"
	textStage    = "You provided a VersionStage that is not associated to the provided VersionId."
	textBoth     = "You can't specify both a binary secret value and a string secret value in the same secret."
	textNeither  = "You must provide either SecretString or SecretBinary."
)

func invalidParameter(format string, args ...any) error {
	return faultf(secret.CodeInvalid, "InvalidParameterException", format, args...)
}

func invalidRequest(format string, args ...any) error {
	return faultf(secret.CodeInvalid, "InvalidRequestException", format, args...)
}

// broken is how the API says that a member breaks a constraint.
func broken(value, member, constraint string, args ...any) error {
	return faultf(secret.CodeInvalid, "ValidationException",
		"1 validation error detected: Value "+value+" at '"+member+"' failed to satisfy constraint: Member must "+constraint, args...)
}

// typeOf returns the type of an error, and its text: never its cause.
func (d *Dialect) typeOf(err error) (of, text string) {
	e, ok := errors.AsType[*secret.Error](err)
	if !ok {
		return d.TypeOf(err), "internal error"
	}
	if of, ok := errors.AsType[wireType](err); ok {
		return string(of), e.Message
	}
	of, text = d.TypeOf(err), e.Message
	switch {
	case e.Code == secret.CodeNotFound && (e.Field == "secret" || e.Field == "vault"):
		return of, textNotFound
	case e.Code == secret.CodeNotHome:
		return of, textReplica
	case e.Field != "":
		text = e.Field + ": " + text
	}
	if e.Hint != "" {
		text += " (" + e.Hint + ")"
	}
	return of, text
}

// failure is the body of an error.
type failure struct {
	Type    string `json:"__type"`
	Message string
}

// WriteError implements frontdoor.Protocol.
func (d *Dialect) WriteError(w http.ResponseWriter, r *http.Request, err error) {
	ctx := r.Context()
	of, text := d.typeOf(err)
	status := http.StatusBadRequest
	if of == "InternalServiceError" {
		status = http.StatusInternalServerError
	}
	if limited, ok := errors.AsType[interface {
		error
		RetryAfter() time.Duration
	}](err); ok {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(limited.RetryAfter().Seconds()))))
	}
	if request := service.RequestFrom(ctx); request != nil && request.ForwardedBy != "" && secret.HasCode(err, secret.CodeUnavailable) {
		w.Header().Set(router.HeaderNotDone, "unavailable") // the host may ask another process
	}
	body, encodeErr := encode(nil, failure{Type: of, Message: text})
	if encodeErr != nil { // text that is not UTF-8
		body = []byte(`{"__type":"` + of + `","Message":""}`)
	}
	d.write(w, r, status, body)
}

func (d *Dialect) write(w http.ResponseWriter, r *http.Request, status int, body []byte) {
	h := w.Header()
	h["Content-Type"] = []string{contentType}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	if request := service.RequestFrom(r.Context()); request != nil {
		h["X-Amzn-Requestid"] = []string{request.ID}
	}
	w.WriteHeader(status)
	_, _ = w.Write(body) //nolint:gosec // JSON by its content type; an error means that the client is gone
}
