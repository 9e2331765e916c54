package native

import (
	"context"
	"errors"
	"io"
	"math"
	"strconv"
	"time"

	"connectrpc.com/connect"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/router"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

func (d dialect) fail(ctx context.Context, err error) error { return Error(ctx, err, d.StatusOf) }

// Error turns an error of a use case into one of the protocol, with an ErrorInfo.
// Causes stay here: they are for the log.
func Error(ctx context.Context, err error, statusOf func(error) connect.Code) error {
	info := &lifeboatv1.ErrorInfo{Code: string(secret.CodeOf(err))}
	if r := service.RequestFrom(ctx); r != nil {
		info.RequestId = r.ID
	}
	if e, ok := errors.AsType[*secret.Error](err); ok {
		info.Field, info.Hint, info.HomeRegion = e.Field, e.Hint, homeOf(err)
	} else if ctx.Err() != nil || errors.Is(err, io.ErrClosedPipe) {
		return connect.NewError(connect.CodeCanceled, errors.New("the request was cancelled"))
	}
	wire := connect.NewError(statusOf(err), errors.New(publicMessage(err)))
	if limited, ok := errors.AsType[interface {
		error
		RetryAfter() time.Duration
	}](err); ok {
		wire.Meta().Set("Retry-After", strconv.Itoa(int(math.Ceil(limited.RetryAfter().Seconds()))))
	}
	if r := service.RequestFrom(ctx); r != nil && r.ForwardedBy != "" && info.GetCode() == string(secret.CodeUnavailable) {
		wire.Meta().Set(router.HeaderNotDone, "unavailable") // the host may ask another process
	}
	if detail, detailErr := connect.NewErrorDetail(info); detailErr == nil {
		wire.AddDetail(detail)
	}
	return wire
}

// homeOf returns the region that an error names as the home of what it is about.
func homeOf(err error) string {
	if e, ok := errors.AsType[*secret.Error](err); ok {
		return string(e.Home)
	}
	return ""
}

// publicMessage is what a client may see of an error: its message, not its cause.
func publicMessage(err error) string {
	e, ok := errors.AsType[*secret.Error](err)
	switch {
	case !ok:
		return "internal error"
	case e.Field != "":
		return e.Field + ": " + e.Message
	}
	return e.Message
}
