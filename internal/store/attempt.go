package store

import (
	"context"
	"sync/atomic"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/stats"
)

// attempt records whether a mutation was handed to the network, so that a
// failure can be told apart: never sent, or outcome unknown.
type attempt struct {
	// tracked is set once a client made by Dial has begun a call for it, be it
	// only to log in; a client that does not report what it sends proves nothing.
	tracked atomic.Bool
	sent    atomic.Bool
}

type (
	attemptKey struct{} // the attempt, in the context of all its calls
	txnKey     struct{} // the attempt, in the context of the transaction itself
)

func withAttempt(ctx context.Context) (context.Context, *attempt) {
	a := new(attempt)
	return context.WithValue(ctx, attemptKey{}, a), a
}

func (a *attempt) provablyNotSent() bool { return a.tracked.Load() && !a.sent.Load() }

// attemptStats is the gRPC stats handler that fills in attempts.
type attemptStats struct{}

// TagRPC notes that a call for an attempt has begun.
func (attemptStats) TagRPC(ctx context.Context, info *stats.RPCTagInfo) context.Context {
	a, ok := ctx.Value(attemptKey{}).(*attempt)
	if !ok {
		return ctx
	}
	a.tracked.Store(true)
	if info.FullMethodName != etcdserverpb.KV_Txn_FullMethodName {
		return ctx
	}
	return context.WithValue(ctx, txnKey{}, a)
}

// HandleRPC notes that a stream was opened for the transaction. gRPC reports
// that before it queues the message itself, so an attempt without it was not
// sent.
func (attemptStats) HandleRPC(ctx context.Context, s stats.RPCStats) {
	if _, ok := s.(*stats.OutHeader); !ok {
		return
	}
	if a, ok := ctx.Value(txnKey{}).(*attempt); ok {
		a.sent.Store(true)
	}
}

// TagConn implements stats.Handler.
func (attemptStats) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements stats.Handler.
func (attemptStats) HandleConn(context.Context, stats.ConnStats) {}
