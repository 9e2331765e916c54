package frontdoor

import (
	"net/http"

	"connectrpc.com/connect"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Status is what a code of an error becomes on the wire.
type Status struct {
	// Native is the code of the Connect and gRPC protocols.
	Native connect.Code
	// HTTP is the status of plain HTTP dialects.
	HTTP int
}

// table maps every code. A test proves that none is missing.
var table = map[secret.Code]Status{
	secret.CodeInvalid:            {connect.CodeInvalidArgument, http.StatusBadRequest},
	secret.CodeUnauthenticated:    {connect.CodeUnauthenticated, http.StatusUnauthorized},
	secret.CodeDenied:             {connect.CodePermissionDenied, http.StatusForbidden},
	secret.CodeNotFound:           {connect.CodeNotFound, http.StatusNotFound},
	secret.CodeExists:             {connect.CodeAlreadyExists, http.StatusConflict},
	secret.CodeStale:              {connect.CodeFailedPrecondition, http.StatusConflict},
	secret.CodeWrongState:         {connect.CodeFailedPrecondition, http.StatusConflict},
	secret.CodeTokenReused:        {connect.CodeAlreadyExists, http.StatusConflict},
	secret.CodeLimit:              {connect.CodeResourceExhausted, http.StatusBadRequest},
	secret.CodeThrottled:          {connect.CodeResourceExhausted, http.StatusTooManyRequests},
	secret.CodeNotHome:            {connect.CodeFailedPrecondition, http.StatusMisdirectedRequest},
	secret.CodeUnknownIncarnation: {connect.CodeFailedPrecondition, http.StatusConflict},
	secret.CodeNotReached:         {connect.CodeUnavailable, http.StatusServiceUnavailable},
	secret.CodeResumeGone:         {connect.CodeOutOfRange, http.StatusGone},
	secret.CodeExpired:            {connect.CodeFailedPrecondition, http.StatusGone},
	secret.CodeUnavailable:        {connect.CodeUnavailable, http.StatusServiceUnavailable},
	secret.CodeOutcomeUnknown:     {connect.CodeUnavailable, http.StatusServiceUnavailable},
	secret.CodeStoreFull:          {connect.CodeResourceExhausted, http.StatusInsufficientStorage},
	secret.CodeAuditUnavailable:   {connect.CodeUnavailable, http.StatusServiceUnavailable},
	secret.CodeKeyUnavailable:     {connect.CodeUnavailable, http.StatusServiceUnavailable},
	secret.CodeWrongKey:           {connect.CodeFailedPrecondition, http.StatusInternalServerError},
	secret.CodeKeyInUse:           {connect.CodeFailedPrecondition, http.StatusConflict},
	secret.CodeTampered:           {connect.CodeDataLoss, http.StatusInternalServerError},
	secret.CodeUnknownFormat:      {connect.CodeInternal, http.StatusInternalServerError},
	secret.CodeCorrupt:            {connect.CodeDataLoss, http.StatusInternalServerError},
	secret.CodeInternal:           {connect.CodeInternal, http.StatusInternalServerError},
}

// StatusOf returns what an error becomes on the wire; an untyped error is
// CodeInternal.
func StatusOf(err error) Status {
	if s, ok := table[secret.CodeOf(err)]; ok {
		return s
	}
	return table[secret.CodeInternal]
}
