package store

import (
	"context"
	"errors"
	"sync/atomic"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
)

// lazyLogin postpones the log-in that etcd's client insists on while it is being
// made until the first operation, so that a client needs no reachable store.
//
// It must come before that operation: a request without a session would be
// judged by the name in the client's certificate instead. So it is answered
// here with "invalid auth token", on which the client logs in and repeats it.
type lazyLogin struct {
	// user says that there is a user to log in as.
	user bool
	// made is set once the client has been made.
	made atomic.Bool
	// in is set once the store has answered a log-in; off if it answered that
	// authentication is not enabled, which can change.
	in, off atomic.Bool
}

func (l *lazyLogin) intercept(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if !l.user {
		return invoke(ctx, method, req, reply, cc, opts...)
	}
	if method == etcdserverpb.Auth_Authenticate_FullMethodName {
		return l.authenticate(func() error { return invoke(ctx, method, req, reply, cc, opts...) })
	}
	if !l.in.Load() {
		return rpctypes.ErrGRPCInvalidAuthToken
	}
	err := invoke(ctx, method, req, reply, cc, opts...)
	if l.off.Load() && errors.Is(rpctypes.Error(err), rpctypes.ErrPermissionDenied) {
		l.in.Store(false) // authentication has been enabled meanwhile
	}
	return err
}

func (l *lazyLogin) authenticate(invoke func() error) error {
	if !l.made.Load() {
		return rpctypes.ErrGRPCAuthNotEnabled
	}
	err := invoke()
	off := errors.Is(rpctypes.Error(err), rpctypes.ErrAuthNotEnabled)
	if err == nil || off {
		l.off.Store(off)
		l.in.Store(true)
	}
	return err
}
