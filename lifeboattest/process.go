package lifeboattest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"

	"github.com/lifeboat-secrets/lifeboat/internal/faultproxy"
	"github.com/lifeboat-secrets/lifeboat/internal/region"
)

// Process is one process of a region.
type Process struct {
	// ID is control-1, or host-1 and so on.
	ID string

	region *Region
	ports  ports
	// store and control are a host's links to control-1.
	store, control *faultproxy.Proxy

	mu      sync.Mutex
	running *region.Process
	log     *os.File
}

var errNotRunning = errors.New("the process does not run")

// URL of the public front door; it stays the same over restarts.
func (p *Process) URL() string { return "https://" + p.ports.public }

// AdminURL is where metrics and health are served.
func (p *Process) AdminURL() string { return "http://" + p.ports.admin }

// Dir is the data directory.
func (p *Process) Dir() string { return filepath.Join(p.region.dir, p.ID) }

// SocketPath names the control socket.
func (p *Process) SocketPath() string { return filepath.Join(p.Dir(), region.SocketName) }

// LogFile is where the process writes its log for operators.
func (p *Process) LogFile() string { return filepath.Join(p.Dir(), "log") }

// AuditFile is where the process writes its audit log.
func (p *Process) AuditFile() string { return filepath.Join(p.Dir(), "audit.log") }

// Running is the process itself, nil while it does not run. The type is
// internal: this is for the module's own tests.
func (p *Process) Running() *region.Process {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.running
}

// Start starts a process that was stopped or killed, and returns when it accepts
// requests. WaitReady waits until it can answer them.
func (p *Process) Start(ctx context.Context) error {
	if p.Running() != nil {
		return fmt.Errorf("start %s: it runs already", p.ID)
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return p.start(ctx)
}

func (p *Process) start(ctx context.Context) error {
	if err := p.prepare(); err != nil {
		return fmt.Errorf("prepare %s: %w", p.ID, err)
	}
	log, err := os.OpenFile(p.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	handlers := slog.NewMultiHandler(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}), p.region.options.Logger.Handler())
	running, err := region.Start(ctx, region.Options{
		Config: p.config(), Release: "test", Logger: slog.New(handlers).With("process", p.ID),
		UnsafeNoFsync: !p.region.options.Fsync, CertificatesEvery: p.region.options.CertificatesEvery, Now: p.region.options.Now, ClockAhead: p.region.options.ClockAhead[p.region.Name()], QueueCap: p.region.options.QueueCap,
	})
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w", p.ID, err), log.Close())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running, p.log = running, log
	return nil
}

// Stop stops the process in order.
func (p *Process) Stop() error { return p.end((*region.Process).Close) }

// Kill stops the process and breaks its connections and requests off at once. It
// still closes its files; what a power failure does, only a process of its own
// can show.
func (p *Process) Kill() error { return p.end((*region.Process).Kill) }

// Restart stops the process, starts it again and waits until it is ready.
func (p *Process) Restart(ctx context.Context) error {
	if err := p.Stop(); err != nil {
		return err
	}
	if err := p.Start(ctx); err != nil {
		return err
	}
	return p.WaitReady(ctx)
}

func (p *Process) end(how func(*region.Process) error) error {
	p.mu.Lock()
	running, log := p.running, p.log
	p.running, p.log = nil, nil
	p.mu.Unlock()
	if running == nil {
		return fmt.Errorf("end %s: %w", p.ID, errNotRunning)
	}
	if err := errors.Join(how(running), log.Close()); err != nil {
		return fmt.Errorf("end %s: %w", p.ID, err)
	}
	return nil
}

func (p *Process) close() error {
	var errs []error
	if p.Running() != nil {
		errs = append(errs, p.Kill())
	}
	for _, link := range []*faultproxy.Proxy{p.store, p.control} {
		if link != nil {
			errs = append(errs, link.Close())
		}
	}
	return errors.Join(errs...)
}

// WaitReady waits until the process can do its main job: a host to answer reads,
// control-1 to commit as well.
func (p *Process) WaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	client := p.region.http(p)
	err := until(ctx, func() error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL()+"/readyz", nil)
		if err != nil {
			return err
		}
		answer, err := client.Do(request)
		if err != nil {
			return err
		}
		defer func() { _ = answer.Body.Close() }()
		body, err := io.ReadAll(answer.Body)
		if err == nil && answer.StatusCode != http.StatusOK {
			err = fmt.Errorf("readyz answers %s: %s", answer.Status, body)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("%s is not ready: %w", p.ID, err)
	}
	return nil
}
