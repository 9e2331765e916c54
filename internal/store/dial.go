package store

import (
	"context"
	"crypto/tls"
	"log/slog"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const (
	// keepaliveTime is gRPC's least; keepaliveTimeout is also how long data may
	// stay unacknowledged on a connection (TCP_USER_TIMEOUT) before it is dropped.
	keepaliveTime    = 10 * time.Second
	keepaliveTimeout = 3 * time.Second
	// reconnectMost bounds the pause between attempts to connect.
	reconnectMost = 2 * time.Second
)

// DialOptions say how to reach an etcd cluster.
type DialOptions struct {
	// Endpoints are the members' client addresses, host:port.
	Endpoints []string
	// TLS secures the connections; nil means none, which is refused unless all
	// endpoints are loopback addresses.
	TLS *tls.Config
	// Username and Password log in to a cluster that has authentication on; both
	// or neither.
	Username string
	Password secret.Plaintext
	// Logger receives etcd's warnings; nil discards them.
	Logger *slog.Logger
}

// Dial returns a client of an external etcd cluster, or of one embedded in other
// processes. It does not wait for the cluster and does not fail because it is
// down or refuses the password: operations then do. A cut connection is noticed
// within three seconds when something is sent on it. The client is used until
// the caller closes it; ctx only bounds the call itself. Errors: CodeInvalid.
func Dial(ctx context.Context, o DialOptions) (*clientv3.Client, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	scheme := "http://"
	if o.TLS != nil {
		scheme = "https://"
	}
	endpoints := make([]string, len(o.Endpoints))
	for i, e := range o.Endpoints {
		endpoints[i] = scheme + e
	}
	login := &lazyLogin{user: o.Username != ""}
	client, err := clientv3.New(clientv3.Config{
		Context:              context.WithoutCancel(ctx),
		Endpoints:            endpoints,
		TLS:                  o.TLS,
		Username:             o.Username,
		Password:             string(o.Password.Reveal()),
		DialKeepAliveTime:    keepaliveTime,
		DialKeepAliveTimeout: keepaliveTimeout,
		Logger:               etcdLogger(o.Logger, new(atomic.Bool)),
		DialOptions: []grpc.DialOption{
			grpc.WithStatsHandler(attemptStats{}),
			grpc.WithChainUnaryInterceptor(login.intercept),
			grpc.WithConnectParams(connectParams()),
		},
	})
	if err != nil {
		return nil, secret.Wrap(secret.CodeInvalid, err, "the store's client cannot be made")
	}
	login.made.Store(true)
	return client, nil
}

func connectParams() grpc.ConnectParams {
	b := backoff.DefaultConfig
	b.BaseDelay, b.MaxDelay = 100*time.Millisecond, reconnectMost
	return grpc.ConnectParams{Backoff: b, MinConnectTimeout: keepaliveTimeout}
}

func (o DialOptions) validate() error {
	if len(o.Endpoints) == 0 {
		return secret.Invalid("endpoints", "at least one is needed")
	}
	for _, e := range o.Endpoints {
		host, err := splitAddress("endpoints", e)
		if err != nil {
			return err
		}
		if o.TLS == nil && !loopback(host) {
			return secret.Invalid("tls", "is required because endpoint %s is not on this machine", e)
		}
	}
	if (o.Username == "") != (o.Password.Len() == 0) {
		return secret.Invalid("username", "and password belong together")
	}
	return nil
}
