package chaos_test

import (
	"context"
	"errors"

	"connectrpc.com/connect"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Codes of outcomes that no process of the region answered.
const (
	// noAnswer is for a connection that could not be made or broke.
	noAnswer secret.Code = "no answer"
	// outOfTime is for a request that the test gave up.
	outOfTime secret.Code = "out of time"
)

// codeOf returns the code that the region answered with.
func codeOf(err error) secret.Code {
	if err == nil {
		return ""
	}
	wire, ok := errors.AsType[*connect.Error](err)
	if !ok {
		return secret.CodeInternal
	}
	for _, detail := range wire.Details() {
		if value, err := detail.Value(); err == nil {
			if info, ok := value.(*lifeboatv1.ErrorInfo); ok {
				return secret.Code(info.GetCode())
			}
		}
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || wire.Code() == connect.CodeDeadlineExceeded || wire.Code() == connect.CodeCanceled {
		return outOfTime
	}
	if connect.IsWireError(err) {
		return "untyped: " + secret.Code(wire.Error())
	}
	return noAnswer
}
