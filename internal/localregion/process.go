package localregion

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/region"
)

// Process is one process of a local region. Its methods are for one goroutine.
type Process struct {
	// ID is control-1, or host-1 and so on; store-1 if it has only the store.
	ID string

	region  *Region
	ports   ports
	start   starter
	running running
}

// running is a started process.
type running interface {
	// stop ends it in order.
	stop() error
	// kill ends it at once, as a power failure would.
	kill() error
	// signal sends it a signal.
	signal(s os.Signal) error
	// done receives why it ended by itself, if it did.
	done() <-chan error
}

// starter starts a process.
type starter func(ctx context.Context, p *Process) (running, error)

var errNotRunning = errors.New("the process does not run")

// Address is host:port of its front door.
func (p *Process) Address() string { return local(p.ports.Public) }

// URL of its front door, for clients.
func (p *Process) URL() string { return "https://" + p.Address() }

// AdminURL is where it shows metrics and health.
func (p *Process) AdminURL() string { return "http://" + local(p.ports.Admin) }

// ConfigPath names its configuration, as `lifeboat server` takes it.
func (p *Process) ConfigPath() string { return filepath.Join(p.region.options.Dir, p.ID+".yaml") }

// LogPath names the log of a child process.
func (p *Process) LogPath() string { return filepath.Join(p.region.options.Dir, p.ID+".log") }

// SocketPath names its control socket.
func (p *Process) SocketPath() string { return filepath.Join(p.dir(), region.SocketName) }

func (p *Process) dir() string { return filepath.Join(p.region.options.Dir, p.ID) }

// Running reports whether it was started and neither stopped nor killed.
func (p *Process) Running() bool { return p.running != nil }

// Start starts it the way its region was started. WaitReady waits until it
// serves.
func (p *Process) Start(ctx context.Context) error {
	if p.running != nil {
		return fmt.Errorf("%s runs already", p.ID)
	}
	if p.start == nil {
		return fmt.Errorf("start the region before %s", p.ID)
	}
	running, err := p.start(ctx, p)
	if err != nil {
		return fmt.Errorf("start %s: %w", p.ID, err)
	}
	p.running = running
	return nil
}

// Stop ends it in order and waits for that.
func (p *Process) Stop() error { return p.end(running.stop) }

// Kill ends it at once, as kill -9 does, and waits for that. Only children can
// be killed.
func (p *Process) Kill() error { return p.end(running.kill) }

// Signal sends it a signal, such as SIGSTOP. Only children take signals.
func (p *Process) Signal(s os.Signal) error {
	if p.running == nil {
		return fmt.Errorf("signal %s: %w", p.ID, errNotRunning)
	}
	if err := p.running.signal(s); err != nil {
		return fmt.Errorf("signal %s: %w", p.ID, err)
	}
	return nil
}

func (p *Process) end(how func(running) error) error {
	if p.running == nil {
		return fmt.Errorf("end %s: %w", p.ID, errNotRunning)
	}
	if err := how(p.running); err != nil {
		return fmt.Errorf("end %s: %w", p.ID, err)
	}
	p.running = nil
	return nil
}

// WaitReady waits until the process can do its main job: a host to answer reads,
// the control process to commit as well.
func (p *Process) WaitReady(ctx context.Context) error {
	if p.running == nil {
		return fmt.Errorf("wait for %s: %w", p.ID, errNotRunning)
	}
	transport := &http.Transport{TLSClientConfig: p.region.ca.Clone(), ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 3 * time.Second}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := p.ready(ctx, client)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w", p.ID, errors.Join(err, ctx.Err()))
		case cause := <-p.running.done():
			p.running = nil
			return fmt.Errorf("%s ended: %w", p.ID, cause)
		case <-tick.C:
		}
	}
}

func (p *Process) ready(ctx context.Context, client *http.Client) error {
	url := p.URL()
	if p.ID == storeID { // it has no front door
		url = p.AdminURL()
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/readyz", nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("readyz answers %s", answer.Status)
	}
	return nil
}
