package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"
	"go.etcd.io/etcd/server/v3/proxy/grpcproxy/adapter"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// DefaultQuotaBytes is the most an embedded store holds unless configured: room
// for about two million secrets with their history.
const DefaultQuotaBytes = 8 << 30

// TLSFiles name PEM files. The CA is the one that the other side's certificate
// must come from; both sides always present one.
type TLSFiles struct{ Cert, Key, CA string }

func (f TLSFiles) empty() bool { return f == TLSFiles{} }

// EmbeddedOptions configure an etcd server in this process.
type EmbeddedOptions struct {
	// Name is this member's, unique in the cluster.
	Name string
	// Dir holds the data; it is created. One process at a time may use it.
	Dir string
	// ListenClient is the host:port for clients over the network; empty means
	// none but Client.
	ListenClient string
	// ListenPeer is the host:port for the cluster's other members; it may be
	// empty for a single member.
	ListenPeer string
	// InitialCluster maps the members' names to their peer host:port, this
	// member's included; empty means a single member.
	InitialCluster map[string]string
	// ClientTLS and PeerTLS require mutual TLS of clients and members. They may be
	// empty only where the address is a loopback one. A member's certificate must
	// be for the host of a member of InitialCluster. Renewed certificates are
	// picked up from the files, a renewed CA is not.
	ClientTLS, PeerTLS TLSFiles
	// QuotaBytes is the size of the database at which writes are refused; 0 means
	// DefaultQuotaBytes.
	QuotaBytes int64
	// Logger receives etcd's warnings; nil discards them.
	Logger *slog.Logger
	// UnsafeNoFsync trades durability for speed. Only for tests.
	UnsafeNoFsync bool
}

// Embedded is an etcd server that runs in this process.
type Embedded struct {
	server  *embed.Etcd
	client  *clientv3.Client
	streams *streams
	lock    *fileutil.LockedFile
	life    *lifecycle
	close   sync.Once
	err     error
}

// StartEmbedded starts a server and waits until it takes part in its cluster,
// which needs a majority of the members; ctx bounds that.
//
// Errors: CodeInvalid names the option; CodeUnavailable if the directory or an
// address is taken or ctx ended first; CodeCorrupt if the data cannot be used.
// Once started, a failure of the disk ends the process, since going on could
// break what was promised.
func StartEmbedded(ctx context.Context, o EmbeddedOptions) (*Embedded, error) {
	life := new(lifecycle)
	cfg, err := o.config(etcdLogger(o.Logger, &life.closing, zap.WithFatalHook(life), zap.WithPanicHook(life)))
	if err != nil {
		return nil, err
	}
	streams := newStreams()
	cfg.GRPCAdditionalServerOptions = []grpc.ServerOption{grpc.ChainStreamInterceptor(streams.intercept)}
	lock, err := lockDir(o.Dir)
	if err != nil {
		return nil, err
	}
	server, err := start(cfg)
	if err != nil {
		streams.close()
		return nil, errors.Join(err, lock.Close())
	}
	life.started.Store(true)
	if err := ready(ctx, server); err != nil {
		life.closing.Store(true)
		streams.close()
		server.Close()
		return nil, errors.Join(err, lock.Close())
	}
	client := v3client.New(server.Server)
	client.Maintenance = inProcessMaintenance{client.Maintenance, server.Server}
	client.KV = inProcessKV{client.KV, adapter.KvServerToKvClient(v3rpc.NewQuotaKVServer(server.Server))}
	return &Embedded{server: server, client: client, lock: lock, life: life, streams: streams}, nil
}

// Client returns a client that calls the server without a network. It lives as
// long as the server; the caller does not close it.
func (e *Embedded) Client() *clientv3.Client { return e.client }

// Err yields an error if a listener of the running server fails.
func (e *Embedded) Err() <-chan error { return e.server.Err() }

// Done is closed when the server has stopped, also by itself: it was removed from
// its cluster, or cannot go on.
func (e *Embedded) Done() <-chan struct{} { return e.server.Server.StopNotify() }

// Close stops the server. Operations that are under way fail.
func (e *Embedded) Close() error {
	e.close.Do(func() {
		e.life.closing.Store(true)
		e.streams.close()
		if err := e.client.Close(); err != nil && !errors.Is(err, context.Canceled) {
			e.err = err
		}
		e.server.Close()
		e.err = errors.Join(e.err, e.lock.Close())
	})
	return e.err
}

// lockDir makes sure that no other process uses dir; etcd itself would wait for
// the other one without end.
func lockDir(dir string) (*fileutil.LockedFile, error) {
	if err := os.MkdirAll(dir, fileutil.PrivateDirMode); err != nil {
		return nil, secret.Wrap(secret.CodeInvalid, err, "the store's directory cannot be made")
	}
	lock, err := fileutil.TryLockFile(filepath.Join(dir, "lock"), os.O_WRONLY|os.O_CREATE, fileutil.PrivateFileMode)
	if errors.Is(err, fileutil.ErrLocked) {
		return nil, secret.Wrap(secret.CodeUnavailable, err, "another process uses the store's directory "+dir)
	}
	if err != nil {
		return nil, secret.Wrap(secret.CodeInvalid, err, "the store's directory cannot be used")
	}
	return lock, nil
}

// start starts etcd and turns its ways of giving up into errors.
func start(cfg *embed.Config) (server *embed.Etcd, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, secret.Wrap(secret.CodeInvalid, err, "the store cannot be configured so")
	}
	_, absent := os.Stat(filepath.Join(cfg.Dir, "member"))
	defer func() {
		if p := recover(); p != nil {
			err = secret.Errorf(secret.CodeCorrupt, "the store's data cannot be used: %v", p)
		}
	}()
	server, err = embed.StartEtcd(cfg)
	if err == nil {
		return server, nil
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return nil, secret.Wrap(secret.CodeUnavailable, err, fmt.Sprintf("the store cannot listen on %v", op.Addr))
	}
	if _, ok := errors.AsType[*fs.PathError](err); ok || absent != nil {
		return nil, secret.Wrap(secret.CodeUnavailable, err, "the store does not start")
	}
	return nil, secret.Wrap(secret.CodeCorrupt, err, "the store's data cannot be used")
}

// ready waits until the member has joined its cluster.
func ready(ctx context.Context, server *embed.Etcd) error {
	select {
	case <-server.Server.ReadyNotify():
		return nil
	case err := <-server.Err():
		return secret.Wrap(secret.CodeUnavailable, err, "the store stopped while it started")
	case <-server.Server.StopNotify():
		return secret.Errorf(secret.CodeUnavailable, "the store stopped while it started")
	case <-ctx.Done():
		return secret.Wrap(secret.CodeUnavailable, ctx.Err(), "the store did not find a majority of its members in time")
	}
}

// inProcessMaintenance is the maintenance of a server in this process.
type inProcessMaintenance struct {
	clientv3.Maintenance
	server *etcdserver.EtcdServer
}

// Defragment rewrites the server's database. The one of v3client panics, because
// it reports to a health service that only a network listener has.
func (m inProcessMaintenance) Defragment(ctx context.Context, _ string) (*clientv3.DefragmentResponse, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := m.server.Defragment(); err != nil {
		return nil, err
	}
	return &clientv3.DefragmentResponse{}, nil
}

// lifecycle says how far a server is, for its logger.
type lifecycle struct{ started, closing atomic.Bool }

// OnWrite implements zapcore.CheckWriteHook: it decides what happens after etcd
// has logged that it cannot go on. While it starts the caller gets an error,
// later the process ends.
func (l *lifecycle) OnWrite(e *zapcore.CheckedEntry, fields []zapcore.Field) {
	if l.started.Load() {
		os.Exit(1)
	}
	panic(fmt.Sprint(e.Message, " ", attrs(fields)))
}
