package region

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lifeboat-secrets/lifeboat/internal/audit"
	"github.com/lifeboat-secrets/lifeboat/internal/authn"
	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/event"
	"github.com/lifeboat-secrets/lifeboat/internal/formatgate"
	"github.com/lifeboat-secrets/lifeboat/internal/keycache"
	"github.com/lifeboat-secrets/lifeboat/internal/keyring"
	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	"github.com/lifeboat-secrets/lifeboat/internal/link"
	"github.com/lifeboat-secrets/lifeboat/internal/logring"
	"github.com/lifeboat-secrets/lifeboat/internal/ownership"
	"github.com/lifeboat-secrets/lifeboat/internal/pipeline"
	"github.com/lifeboat-secrets/lifeboat/internal/pki"
	"github.com/lifeboat-secrets/lifeboat/internal/queue"
	"github.com/lifeboat-secrets/lifeboat/internal/replica"
	"github.com/lifeboat-secrets/lifeboat/internal/replication"
	"github.com/lifeboat-secrets/lifeboat/internal/rotation"
	"github.com/lifeboat-secrets/lifeboat/internal/router"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
	"github.com/lifeboat-secrets/lifeboat/internal/throttle"
	"github.com/lifeboat-secrets/lifeboat/internal/tracing"
)

// Process is one running process of a region.
type Process struct {
	config  *config.Config
	release string
	log     *slog.Logger
	// recent are the last lines of log.
	recent    *logring.Ring
	startedAt time.Time
	noFsync   bool
	// certificatesEvery is how often certificate files are looked at; 0 means the
	// default.
	certificatesEvery time.Duration

	serverCert, peerCert *pki.Reloader

	audit   *audit.Log
	kms     kms.Wrapper
	keyring *keyring.Keyring
	// keyCache is nil unless configured.
	keyCache   *keycache.Cache
	now        func() time.Time // the clock of data keys
	clockAhead time.Duration
	// queueCap bounds the messages that wait for a peer; 0 means the default.
	queueCap int

	store     *lateStore
	gate      *formatgate.Gate
	local     *replica.Local
	events    *event.Hub
	authn     *authn.Authenticator
	authz     *authz.Authorizer
	pipeline  *pipeline.Pipeline     // nil without the role control
	outbound  *replication.Outbound  // nil without the role control
	survivors *replication.Survivors // nil without the role control
	keeper    *ownership.Keeper      // nil without the role control
	// asked is set once the peers were asked whether one has taken the region over.
	asked         atomic.Bool
	queue         atomic.Pointer[queue.Queue]
	replicated    *replicationMetrics
	service       *service.Service
	limiter       *throttle.Limiter
	requests      *requestMetrics
	times         *times
	tracer        *tracing.Tracer // nil if requests are not traced
	sweeps        *prometheus.CounterVec
	rotationSteps *prometheus.CounterVec
	rotation      *rotation.Worker // nil without the role control
	tombstones    *tombstoneMetrics
	handedOver    *newHomeMetrics
	collector     *replication.Collector
	forward       *router.Forwarder // nil if nothing is forwarded
	links         *link.Links       // nil without the role control

	keysOf issuers

	serving    serving
	currency   currency
	handler    http.Handler
	listener   net.Listener
	admin      net.Listener
	breakGlass atomic.Bool
	enrolled   atomic.Bool  // the local copy is known to hold this host's record
	reportedAt atomic.Int64 // when a report was last taken, in nanoseconds
	killed     atomic.Bool
	retries    retries
	keyWork    keyWork
	reload     chan struct{} // tells the pipeline that the local store is another one
	seenLife   string        // incarnation of the region's record that was applied last
	resyncs    uint64        // of the local store, of which the watches know

	// drains stop the listeners, closers undo start-up, last first.
	drains  []func() error
	closers []func() error
	cancel  context.CancelFunc
	running sync.WaitGroup
	fatal   chan error
}

// Options of a process beside its configuration.
type Options struct {
	Config *config.Config
	// Release is the version that the process shows to operators and peers.
	Release string
	Logger  *slog.Logger
	// UnsafeNoFsync has an embedded store not wait for the disk: what it
	// acknowledged survives the process, not the machine. Only for tests.
	UnsafeNoFsync bool
	// CertificatesEvery is how often, at most, it is looked whether certificate files
	// have changed; default pki.DefaultCheckInterval.
	CertificatesEvery time.Duration
	// Now is the clock of the lifetimes of data keys; nil means time.Now.
	Now func() time.Time
	// ClockAhead is how far this process's time of day is ahead of that of the machine.
	// Only for tests.
	ClockAhead time.Duration
	// QueueCap bounds the messages that wait for a peer; default queue.DefaultCap.
	// Only for tests.
	QueueCap int
}

// Start builds and starts a process. It returns when the process accepts
// requests; the store may still be on its way up, which health shows. Close it
// after use.
func Start(ctx context.Context, o Options) (*Process, error) {
	recent := logring.New(0)
	o.Logger = slog.New(recent.Handler(o.Logger.Handler()))
	p := &Process{
		config: o.Config, release: o.Release, log: o.Logger, recent: recent, startedAt: time.Now(), events: &event.Hub{}, store: newLateStore(o.Config.Process.ID),
		noFsync: o.UnsafeNoFsync, certificatesEvery: o.CertificatesEvery, now: o.Now, clockAhead: o.ClockAhead, queueCap: o.QueueCap,
		requests: newRequestMetrics(), times: newTimes(), replicated: newReplicationMetrics(), sweeps: newSweeps(), rotationSteps: newRotationSteps(), tombstones: newTombstoneMetrics(), handedOver: newNewHomeMetrics(), retries: newRetries(), keyWork: newKeyWork(),
		reload: make(chan struct{}, 1), fatal: make(chan error, 1),
	}
	p.gate = formatgate.New(formatgate.Options{
		Store: p.store, Process: o.Config.Process.ID, Release: o.Release, Logger: o.Logger.With("part", "formats"), Now: p.clock,
	})
	runCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p.cancel = cancel
	for _, step := range p.steps() {
		if err := step.start(runCtx); err != nil {
			return nil, errors.Join(fmt.Errorf("start %s: %w", step.name, err), p.Close())
		}
	}
	p.log.Info("ready", "region", p.config.Region.Name, "process", p.config.Process.ID, "address", p.Address())
	return p, nil
}

// clock is the time of day.
func (p *Process) clock() time.Time { return time.Now().Add(p.clockAhead) }

type step struct {
	name  string
	start func(context.Context) error
}

// steps is the order of start-up. A process that only runs a member of the store
// has no front door and no local store.
func (p *Process) steps() []step {
	if !p.isControl() && !p.isHost() {
		return []step{
			{"data directory", p.startDataDir},
			{"store", p.startStore},
			{"admin listener", p.startAdmin},
		}
	}
	return []step{
		{"data directory", p.startDataDir},
		{"certificates", p.startCertificates},
		{"audit log", p.startAudit},
		{"traces", p.startTraces},
		{"keys", p.startKeys},
		{"local store", p.startLocalStore},
		{"store", p.startStore},
		{"service", p.startService},
		{"links", p.startLinks},
		{"replication", p.startReplication},
		{"ownership", p.startOwnership},
		{"pipeline", p.startPipeline},
		{"issuers", p.startIssuers},
		{"accesses", p.startAccesses},
		{"front door", p.startFrontDoor},
		{"peer listener", p.startPeerListener},
		{"region listener", p.startRegionListener},
		{"admin listener", p.startAdmin},
		{"control socket", p.startControlSocket},
		{"key check", p.startKeyCheck},
		{"key cache", p.startKeyCache},
	}
}

// Fatal receives an error that the process cannot recover from.
func (p *Process) Fatal() <-chan error { return p.fatal }

// Address is where the public front door listens; empty if there is none.
func (p *Process) Address() string {
	if p.listener == nil {
		return ""
	}
	return p.listener.Addr().String()
}

// AdminAddress is where metrics and profiles are served; empty if nowhere.
func (p *Process) AdminAddress() string {
	if p.admin == nil {
		return ""
	}
	return p.admin.Addr().String()
}

// Reopen opens the audit files again, after they have been renamed.
func (p *Process) Reopen() error {
	if p.audit == nil {
		return nil
	}
	return p.audit.Reopen()
}

// Close stops the process: it lets requests in progress end, for at most ten
// seconds, and then undoes start-up in reverse.
func (p *Process) Close() error {
	errs := p.drainAll()
	for i := len(p.closers) - 1; i >= 0; i-- {
		errs = append(errs, p.closers[i]())
	}
	p.closers = nil
	p.cancel()
	p.running.Wait()
	return errors.Join(errs...)
}

// Kill stops the process as Close does but breaks connections and requests in
// progress off at once.
func (p *Process) Kill() error {
	p.killed.Store(true)
	return p.Close()
}

// drainAll lets the requests of all listeners end at the same time.
func (p *Process) drainAll() []error {
	errs := make([]error, len(p.drains))
	var wg sync.WaitGroup
	for i, drain := range p.drains {
		wg.Go(func() { errs[i] = drain() })
	}
	wg.Wait()
	p.drains = nil
	return errs
}

// records is the store for whoever changes records.
func (p *Process) records() gatedStore { return gatedStore{p.store, p.gate} }

func (p *Process) onClose(f func() error) { p.closers = append(p.closers, f) }

// run runs a part for as long as the process lives. Parts end before anything
// that was started earlier is closed.
func (p *Process) run(ctx context.Context, name string, part func(context.Context) error) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	p.running.Add(1)
	go func() {
		defer p.running.Done()
		defer close(done)
		if err := part(ctx); err != nil && ctx.Err() == nil {
			p.log.Error("part of the process failed", "part", name, "error", err)
			p.fail(fmt.Errorf("%s: %w", name, err))
		}
	}()
	p.onClose(func() error {
		cancel()
		<-done
		return nil
	})
}

func (p *Process) fail(err error) {
	select {
	case p.fatal <- err:
	default:
	}
}

func (p *Process) startDataDir(context.Context) error {
	return os.MkdirAll(p.config.Process.DataDir, 0o700)
}

func (p *Process) path(name string) string { return filepath.Join(p.config.Process.DataDir, name) }
