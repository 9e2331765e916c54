package lifeboattest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/file"
	"github.com/lifeboat-secrets/lifeboat/internal/pki"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// startTimeout bounds the start of a region or process on a busy machine.
const startTimeout = time.Minute

// Region is a running region. Its methods may be called concurrently, those that
// stop and start a process one at a time for each process.
type Region struct {
	options Options
	dir     string
	ownDir  bool
	ca      *pki.Authority
	trust   *tls.Config
	control *Process
	hosts   []*Process
	peers   []config.Peer

	operator string
	account  *Account
	clients  sync.Map // of *http.Client, by process and token
	accounts sync.Mutex
	named    int
}

// Start starts a region, with an account and a vault named test in it, and waits
// until all its processes are ready. It is closed when the test ends; an error
// in either fails the test.
func Start(t testing.TB, o Options) *Region {
	t.Helper()
	r, err := Open(t.Context(), o)
	if err != nil {
		t.Fatalf("start a region: %v", err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("close the region: %v", err)
		}
	})
	return r
}

// Open is Start for a region that several tests share, from TestMain. Close it
// after use.
func Open(ctx context.Context, o Options) (*Region, error) {
	r, err := plan(o)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := r.start(ctx); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// plan makes the files of a region.
func plan(o Options) (*Region, error) {
	if o.Hosts < 0 || o.Hosts > maxHosts {
		return nil, secret.Invalid("hosts", "is %d; allowed are 0 to %d", o.Hosts, maxHosts)
	}
	if o.Name == "" {
		o.Name = "east"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Region{options: o, dir: o.Dir}
	var err error
	if r.dir == "" {
		r.ownDir = true
		if r.dir, err = os.MkdirTemp("", "lifeboattest-"); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return nil, err
	}
	if r.ca, err = pki.NewAuthority(pki.AuthorityOptions{Region: secret.RegionName(o.Name)}); err != nil {
		return nil, err
	}
	if err := pki.WriteFile(r.caFile(), r.ca.CertPEM()); err != nil {
		return nil, err
	}
	if _, err := file.Create(r.KeyFile()); err != nil {
		return nil, err
	}
	if r.trust, err = pki.ClientTLS(r.caFile()); err != nil {
		return nil, err
	}
	return r, r.planProcesses()
}

func (r *Region) planProcesses() (err error) {
	if r.control, err = r.newProcess("control-1"); err != nil {
		return err
	}
	for i := range r.options.Hosts {
		host, err := r.newHost(fmt.Sprint("host-", i+1))
		if err != nil {
			return err
		}
		r.hosts = append(r.hosts, host)
	}
	return nil
}

// Stop stops all processes that run, in order.
func (r *Region) Stop() error { return r.end((*Process).Stop) }

// Kill kills all processes that run, as Process.Kill does.
func (r *Region) Kill() error { return r.end((*Process).Kill) }

func (r *Region) end(how func(*Process) error) error {
	var all errgroup.Group
	for _, p := range r.Processes() {
		if p.Running() != nil {
			all.Go(func() error { return how(p) })
		}
	}
	return all.Wait()
}

// Start starts all processes that do not run, with the data that they have, and
// waits until they are ready.
func (r *Region) Start(ctx context.Context) error {
	if err := r.startProcesses(ctx); err != nil {
		return err
	}
	return r.WaitReady(ctx)
}

// Remake makes the region anew: another life under its name, at the same addresses
// and with the same certificates and keys, but without any data. So do a clone of
// it and a restored one look to other regions.
func (r *Region) Remake(ctx context.Context) error {
	if err := r.Kill(); err != nil {
		return err
	}
	for _, p := range r.Processes() {
		if err := p.forget(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return r.start(ctx)
}

// startProcesses starts the processes side by side, as the hosts wait for the
// store.
func (r *Region) startProcesses(ctx context.Context) error {
	var all errgroup.Group
	for _, p := range r.Processes() {
		if p.Running() == nil {
			all.Go(func() error { return p.Start(ctx) })
		}
	}
	return all.Wait()
}

// WaitReady waits until all processes are ready.
func (r *Region) WaitReady(ctx context.Context) error {
	for _, p := range r.Processes() {
		if err := p.WaitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

// start starts the region for the first time.
func (r *Region) start(ctx context.Context) error {
	if err := r.startProcesses(ctx); err != nil {
		return err
	}
	err := until(ctx, func() error {
		made, err := r.control.Running().Initialize(ctx)
		if err == nil {
			r.operator = string(made.Token.Reveal())
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("initialize the region: %w", err)
	}
	if err := r.WaitReady(ctx); err != nil {
		return err
	}
	r.account, err = r.NewAccount(ctx, "test")
	return err
}

// Name of the region.
func (r *Region) Name() string { return r.options.Name }

// Close stops everything and removes the region's files unless Options.Dir was
// given.
func (r *Region) Close() error {
	var errs []error
	for _, p := range append(r.hosts, r.control) {
		if p != nil {
			errs = append(errs, p.close())
		}
	}
	r.closeClients()
	if r.ownDir {
		errs = append(errs, os.RemoveAll(r.dir))
	}
	return errors.Join(errs...)
}

// Dir holds all files of the region: for each process a directory with its name.
func (r *Region) Dir() string { return r.dir }

// KeyFile holds the master keys of the region.
func (r *Region) KeyFile() string { return filepath.Join(r.dir, "kms-keys") }

func (r *Region) caFile() string { return filepath.Join(r.dir, "ca.pem") }

// CAFile holds the certificate that clients of the region trust.
func (r *Region) CAFile() string { return r.caFile() }

// Control is the process that commits mutations.
func (r *Region) Control() *Process { return r.control }

// Host is data-plane host i, counted from 0. A region without hosts has its one
// process as host 0.
func (r *Region) Host(i int) *Process {
	if len(r.hosts) == 0 && i == 0 {
		return r.control
	}
	return r.hosts[i]
}

// Processes are all processes, control-1 first.
func (r *Region) Processes() []*Process { return append([]*Process{r.control}, r.hosts...) }

// until tries again, every few milliseconds, until try succeeds or ctx ends.
func until(ctx context.Context, try func() error) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, context.Cause(ctx))
		case <-tick.C:
		}
	}
}
