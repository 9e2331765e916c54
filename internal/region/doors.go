package region

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1/peerv1connect"
	"github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1/lifeboatv1connect"
	"github.com/lifeboat-secrets/lifeboat/internal/frontdoor"
	"github.com/lifeboat-secrets/lifeboat/internal/frontdoor/aws"
	"github.com/lifeboat-secrets/lifeboat/internal/frontdoor/native"
	"github.com/lifeboat-secrets/lifeboat/internal/pki"
	"github.com/lifeboat-secrets/lifeboat/internal/router"
)

// drainTimeout bounds how long a closing process lets requests end.
const drainTimeout = 10 * time.Second

func nativeCode(err error) connect.Code { return frontdoor.StatusOf(err).Native }

func (p *Process) startFrontDoor(ctx context.Context) error {
	limits := p.config.Limits
	api := native.Options{
		Service: p.service, Operations: operations{p}, Region: p.config.Region.Name, StatusOf: nativeCode,
		MaxMessageBytes: int(limits.MaxRequestBytes),
	}
	if p.isControl() {
		api.Replication, api.Ownership = replications{p}, ownerships{p}
	}
	dialect := native.New(api)
	options := frontdoor.Options{
		Service: p.service, Authenticator: p.authn, Dialect: dialect, MaxRequestBytes: limits.MaxRequestBytes,
		Limiter: p.limiter, Watch: native.IsWatch, Process: p.config.Process.ID,
		NativeError: func(ctx context.Context, err error) error { return native.Error(ctx, err, nativeCode) },
	}
	if !p.isControl() {
		transport := p.peerTransport()
		p.onClose(func() error {
			transport.CloseIdleConnections()
			return nil
		})
		p.forward = router.NewForwarder(router.Options{
			Addresses: p.config.Control.Addresses, Transport: transport, Logger: p.log.With("part", "router"),
		})
		readOnly := native.ReadOnly()
		options.Local, options.Forwarder = func(r *http.Request) bool { return readOnly(r.URL.Path) }, p.forward
	}
	if p.isControl() && len(p.config.Peers) > 0 {
		readOnly := native.ReadOnly()
		options.NewHome, options.Mutates = newHome{p, make(chan struct{}, maxHeld)}, func(r *http.Request) bool { return !readOnly(r.URL.Path) }
	}
	p.handler = p.withDialects(options)
	if p.tracer != nil {
		p.handler = p.tracer.Handler(p.handler)
	}
	health := http.NewServeMux()
	p.addHealth(health)
	health.Handle("/", p.handler)
	// What is not about health, nearly all, need not be looked up.
	door := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, native.PathPrefix) || aws.Matches(r) {
			p.handler.ServeHTTP(w, r)
			return
		}
		health.ServeHTTP(w, r)
	})
	secured := pki.ServerTLS(p.serverCert)
	if p.config.TLS.ClientCertificates {
		// Who signed them is for each account to say, when the request authenticates.
		secured.ClientAuth = tls.RequestClientCert
	}
	listener, err := p.serve(ctx, "front door", p.config.Listen.Address, secured, door)
	p.listener = listener
	return err
}

// startPeerListener lets the other processes of the region report progress and
// pass mutations on.
func (p *Process) startPeerListener(ctx context.Context) error {
	if p.config.Listen.PeerAddress == "" {
		return nil
	}
	mux := http.NewServeMux()
	if p.pipeline != nil {
		mux.Handle(p.pipeline.Handler(peerOf))
	}
	p.handleIssuers(mux)
	p.handleAccesses(mux)
	p.addServing(mux)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		peer, err := peerOf(r)
		if err != nil {
			http.Error(w, "the peer is unknown", http.StatusForbidden)
			return
		}
		p.handler.ServeHTTP(w, r.WithContext(frontdoor.WithPeer(r.Context(), peer)))
	})
	_, err := p.serve(ctx, "peer listener", p.config.Listen.PeerAddress, pki.PeerServerTLS(p.peerCert, p.config.Region.Name), mux)
	return err
}

// peerOf returns the ID of the process that a request on the peer listener is of.
func peerOf(r *http.Request) (string, error) {
	peer, err := pki.PeerOf(r.TLS)
	return peer.Process, err
}

// serve starts an HTTP server and has it drained when the process closes.
func (p *Process) serve(ctx context.Context, name, address string, tlsConfig *tls.Config, handler http.Handler, configure ...func(*http.Server)) (net.Listener, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	p.serveOn(ctx, name, listener, tlsConfig, handler, configure...)
	return listener, nil
}

func (p *Process) serveOn(ctx context.Context, name string, listener net.Listener, tlsConfig *tls.Config, handler http.Handler, configure ...func(*http.Server)) {
	base, cancel := context.WithCancel(ctx)
	draining, drain := context.WithCancel(context.Background())
	requests := &gate{handler: handler, draining: draining}
	server := &http.Server{
		Handler: requests, TLSConfig: tlsConfig, BaseContext: func(net.Listener) context.Context { return base },
		ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(p.log.With("part", name).Handler(), slog.LevelDebug),
	}
	for _, change := range configure {
		change(server)
	}
	done := make(chan struct{})
	p.running.Add(1)
	go func() {
		defer p.running.Done()
		defer close(done)
		var err error
		if tlsConfig != nil {
			err = server.ServeTLS(listener, "", "")
		} else {
			err = server.Serve(listener)
		}
		if !errors.Is(err, http.ErrServerClosed) {
			p.fail(err)
		}
	}()
	p.drains = append(p.drains, func() error { return p.drain(ctx, server, drain, cancel) })
	p.onClose(func() error {
		<-done
		requests.shut()
		return nil
	})
}

// drain ends a server's requests: at once if the process is killed, otherwise
// when they are answered, for at most drainTimeout.
func (p *Process) drain(ctx context.Context, server *http.Server, endStreams, cancel context.CancelFunc) error {
	defer endStreams()
	defer cancel()
	if p.killed.Load() {
		cancel()
		return server.Close()
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer stop()
	// Streams never end by themselves: they are told, once the listener is closed.
	defer time.AfterFunc(100*time.Millisecond, endStreams).Stop()
	if server.Shutdown(ctx) != nil {
		cancel()
		return server.Close()
	}
	return nil
}

// gate knows which requests are in progress, since a server that closes does not
// wait for those whose connection is gone.
type gate struct {
	handler http.Handler
	open    sync.RWMutex
	// draining ends when streams are to end.
	draining context.Context
}

// streams are the requests that go on until one side has enough.
var streams = map[string]bool{
	lifeboatv1connect.SecretServiceWatchSecretsProcedure: true,
	peerv1connect.PipelineServiceReportProgressProcedure: true,
}

// ServeHTTP implements http.Handler.
func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !g.open.TryRLock() {
		w.Header().Set(router.HeaderNotDone, "stopping")
		http.Error(w, "the process is stopping", http.StatusServiceUnavailable)
		return
	}
	defer g.open.RUnlock()
	if streams[r.URL.Path] {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(g.draining, cancel)()
		r = r.WithContext(ctx)
	}
	g.handler.ServeHTTP(w, r)
}

// shut lets no request in any more and waits until those in progress have ended.
func (g *gate) shut() { g.open.Lock() }
