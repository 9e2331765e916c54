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
	// AWS is the type of error of the AWS Secrets Manager API.
	AWS string
}

// table maps every code. A test proves that none is missing.
var table = map[secret.Code]Status{
	secret.CodeInvalid:            {connect.CodeInvalidArgument, http.StatusBadRequest, "InvalidParameterException"},
	secret.CodeUnauthenticated:    {connect.CodeUnauthenticated, http.StatusUnauthorized, "UnrecognizedClientException"},
	secret.CodeDenied:             {connect.CodePermissionDenied, http.StatusForbidden, "AccessDeniedException"},
	secret.CodeNotFound:           {connect.CodeNotFound, http.StatusNotFound, "ResourceNotFoundException"},
	secret.CodeExists:             {connect.CodeAlreadyExists, http.StatusConflict, "ResourceExistsException"},
	secret.CodeStale:              {connect.CodeFailedPrecondition, http.StatusConflict, "PreconditionNotMetException"},
	secret.CodeWrongState:         {connect.CodeFailedPrecondition, http.StatusConflict, "InvalidRequestException"},
	secret.CodeTokenReused:        {connect.CodeAlreadyExists, http.StatusConflict, "ResourceExistsException"},
	secret.CodeLimit:              {connect.CodeResourceExhausted, http.StatusBadRequest, "LimitExceededException"},
	secret.CodeThrottled:          {connect.CodeResourceExhausted, http.StatusTooManyRequests, "ThrottlingException"},
	secret.CodeNotHome:            {connect.CodeFailedPrecondition, http.StatusMisdirectedRequest, "InvalidParameterException"},
	secret.CodeDetached:           {connect.CodeFailedPrecondition, http.StatusConflict, "InvalidRequestException"},
	secret.CodeUnknownIncarnation: {connect.CodeFailedPrecondition, http.StatusConflict, "InvalidRequestException"},
	secret.CodeNotReached:         {connect.CodeUnavailable, http.StatusServiceUnavailable, "InternalServiceError"},
	secret.CodeSuperseded:         {connect.CodeFailedPrecondition, http.StatusConflict, "InvalidRequestException"},
	secret.CodeResumeGone:         {connect.CodeOutOfRange, http.StatusGone, "InvalidRequestException"},
	secret.CodeExpired:            {connect.CodeFailedPrecondition, http.StatusGone, "InvalidRequestException"},
	secret.CodeUnavailable:        {connect.CodeUnavailable, http.StatusServiceUnavailable, "InternalServiceError"},
	secret.CodeOutcomeUnknown:     {connect.CodeUnavailable, http.StatusServiceUnavailable, "InternalServiceError"},
	secret.CodeStoreFull:          {connect.CodeResourceExhausted, http.StatusInsufficientStorage, "InternalServiceError"},
	secret.CodeAuditUnavailable:   {connect.CodeUnavailable, http.StatusServiceUnavailable, "InternalServiceError"},
	secret.CodeKeyUnavailable:     {connect.CodeUnavailable, http.StatusServiceUnavailable, "InternalServiceError"},
	secret.CodeWrongKey:           {connect.CodeFailedPrecondition, http.StatusInternalServerError, "DecryptionFailure"},
	secret.CodeKeyInUse:           {connect.CodeFailedPrecondition, http.StatusConflict, "InvalidRequestException"},
	secret.CodeTampered:           {connect.CodeDataLoss, http.StatusInternalServerError, "DecryptionFailure"},
	secret.CodeUnknownFormat:      {connect.CodeInternal, http.StatusInternalServerError, "InternalServiceError"},
	secret.CodeCorrupt:            {connect.CodeDataLoss, http.StatusInternalServerError, "InternalServiceError"},
	secret.CodeInternal:           {connect.CodeInternal, http.StatusInternalServerError, "InternalServiceError"},
}

// StatusOf returns what an error becomes on the wire; an untyped error is
// CodeInternal.
func StatusOf(err error) Status {
	if s, ok := table[secret.CodeOf(err)]; ok {
		return s
	}
	return table[secret.CodeInternal]
}
