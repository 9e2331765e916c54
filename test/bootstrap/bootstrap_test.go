// Package bootstrap_test starts a whole fleet cold, with nothing around it: no name
// resolution, no network but the loopback, none of its own services running yet.
package bootstrap_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
	"github.com/lifeboat-secrets/lifeboat/internal/cli"
	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/controlsocket"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/file"
	"github.com/lifeboat-secrets/lifeboat/internal/localregion"
	"github.com/lifeboat-secrets/lifeboat/internal/pki"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// TestMain lets the test binary be the processes of the fleet too.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "server" {
		os.Exit(cli.Main(context.Background(), os.Args[1:], cli.Environment{
			Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, LookupEnv: os.LookupEnv, Release: "test",
		}))
	}
	os.Exit(m.Run())
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// process is one of the fleet.
type process struct {
	id    string
	roles []config.Role
	// door, admin, peer and store are where it listens; empty for what it does not.
	door, admin, peer, store, members string

	cmd    *exec.Cmd
	exited chan error
}

// fleet is a region each of whose roles is a process of its own.
type fleet struct {
	t         *testing.T
	dir       string
	processes []*process
	operator  client.Value
	token     client.Value
}

func (f *fleet) path(names ...string) string {
	return filepath.Join(append([]string{f.dir}, names...)...)
}

// newFleet makes the files of a fleet: what an operator has before the first start.
func newFleet(t *testing.T) *fleet {
	dir, err := os.MkdirTemp("", "lb-cold-") // short, for the path of a socket is bounded
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	f := &fleet{t: t, dir: dir}
	f.processes = []*process{
		{id: "store-1", roles: []config.Role{config.Store}},
		{id: "control-1", roles: []config.Role{config.Control}},
		{id: "control-2", roles: []config.Role{config.Control}},
		{id: "host-1", roles: []config.Role{config.Host}},
		{id: "host-2", roles: []config.Role{config.Host}},
	}
	f.chooseAddresses()
	authority, err := pki.NewAuthority(pki.AuthorityOptions{Region: "east"})
	must(t, err)
	must(t, pki.WriteFile(f.path("ca.pem"), authority.CertPEM()))
	_, err = file.Create(f.path("kms-keys"))
	must(t, err)
	for _, p := range f.processes {
		must(t, os.Mkdir(f.path(p.id), 0o700))
		for name, use := range map[string]pki.Use{"server": pki.Server, "peer": pki.Peer} {
			pair, err := authority.Issue(pki.Request{Use: use, Name: p.id, Hosts: []string{"127.0.0.1"}})
			must(t, err)
			must(t, pair.Save(f.path(p.id, name+".pem"), f.path(p.id, name+"-key.pem")))
		}
		data, err := yaml.Marshal(f.config(p))
		must(t, err)
		must(t, os.WriteFile(f.path(p.id, "config.yaml"), data, 0o600))
	}
	t.Cleanup(f.killAll)
	return f
}

func (f *fleet) chooseAddresses() {
	for _, p := range f.processes {
		for _, address := range []*string{&p.door, &p.admin, &p.peer, &p.store, &p.members} {
			var err error
			*address, err = localregion.FreeAddress()
			must(f.t, err)
		}
	}
}

// config names other processes by literal addresses only.
func (f *fleet) config(p *process) *config.Config {
	c := config.Default()
	c.Region.Name = "east"
	c.Process = config.Process{ID: p.id, DataDir: f.path(p.id, "data"), Roles: p.roles}
	c.Listen = config.Listen{Address: p.door, AdminAddress: p.admin, PeerAddress: p.peer}
	peer := config.PeerTLS{CertFile: f.path(p.id, "peer.pem"), KeyFile: f.path(p.id, "peer-key.pem"), CAFile: f.path("ca.pem")}
	c.TLS = config.TLS{CertFile: f.path(p.id, "server.pem"), KeyFile: f.path(p.id, "server-key.pem"), CAFile: f.path("ca.pem"), Peer: peer}
	c.KMS.File.Path = f.path("kms-keys")
	c.Control.Addresses = []string{f.processes[1].peer, f.processes[2].peer}
	if p.id == "store-1" {
		c.Store.Embedded.ClientAddress, c.Store.Embedded.PeerAddress = p.store, p.members
		c.Store.Embedded.QuotaBytes = 256 << 20
		return c
	}
	c.Store.Embedded = nil
	c.Store.External = &config.ExternalStore{
		Endpoints: []string{"https://" + f.processes[0].store}, CAFile: peer.CAFile, CertFile: peer.CertFile, KeyFile: peer.KeyFile,
	}
	return c
}

func (f *fleet) start(p *process) {
	f.t.Helper()
	log, err := os.OpenFile(f.path(p.id, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(f.t, err)
	self, err := os.Executable()
	must(f.t, err)
	p.cmd = exec.Command(self, "server", "--config", f.path(p.id, "config.yaml"))
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.Env = []string{"GORACE=atexit_sleep_ms=0"}
	must(f.t, p.cmd.Start())
	must(f.t, log.Close())
	p.exited = make(chan error, 1)
	go func() { p.exited <- p.cmd.Wait() }()
}

// alive waits until a process answers on its admin address: it runs, and waits for
// what it lacks.
func (f *fleet) alive(p *process) {
	f.t.Helper()
	f.eventually(p.id+" runs", func() error {
		select {
		case err := <-p.exited:
			p.exited <- err
			log, _ := os.ReadFile(f.path(p.id, "log"))
			f.t.Fatalf("%s ended: %v\n%s", p.id, err, log)
		default:
		}
		_, err := f.get("http://" + p.admin + "/healthz")
		return err
	})
}

// ready waits until a process can do its job.
func (f *fleet) ready(p *process) {
	f.t.Helper()
	f.alive(p)
	f.eventually(p.id+" is ready", func() error {
		body, err := f.get("http://" + p.admin + "/readyz")
		if err != nil {
			err = fmt.Errorf("%w: %s", err, body)
		}
		return err
	})
}

func (f *fleet) get(url string) (body string, err error) {
	answer, err := http.Get(url)
	if err != nil {
		return "", err
	}
	defer func() { _ = answer.Body.Close() }()
	var b bytes.Buffer
	_, err = b.ReadFrom(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = errors.New(answer.Status)
	}
	return b.String(), err
}

func (f *fleet) eventually(what string, try func() error) {
	f.t.Helper()
	limit := time.Now().Add(time.Minute)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(limit) {
			f.t.Fatalf("%s: not within a minute: %v", what, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// killAll takes the power away.
func (f *fleet) killAll() {
	for _, p := range f.processes {
		if p.cmd != nil {
			_ = p.cmd.Process.Signal(syscall.SIGKILL)
			<-p.exited
			p.cmd = nil
		}
	}
}

func (f *fleet) client(p *process, token client.Value) *client.Client {
	f.t.Helper()
	c, err := client.New(client.Config{Address: "https://" + p.door, Token: token, CAFile: f.path("ca.pem"), Timeout: 10 * time.Second})
	must(f.t, err)
	f.t.Cleanup(c.Close)
	return c
}

// furnish initialises the region and makes an account with a secret.
func (f *fleet) furnish() {
	t, control := f.t, f.processes[1]
	socket := controlsocket.New(f.path(control.id, "data", "control.sock"))
	defer socket.Close()
	f.eventually("there is no region to recover", func() error {
		_, err := socket.Recover(t.Context(), time.Hour)
		if secret.HasCode(err, secret.CodeUnavailable) && strings.Contains(err.Error(), "not initialized") {
			return nil
		}
		return fmt.Errorf("answers %w", err)
	})
	f.eventually("the region is initialised", func() error {
		made, err := socket.Initialize(t.Context())
		if err == nil {
			f.operator = client.NewValue(made.Token.Reveal())
		}
		return err
	})
	for _, p := range f.processes[1:] {
		f.ready(p)
	}
	account, err := f.client(control, f.operator).CreateAccount(t.Context(), &lifeboatv1.CreateAccountRequest{Name: "acme"})
	must(t, err)
	f.token = client.NewValue([]byte(account.GetToken()))
	c := f.client(control, f.token)
	_, err = c.CreateVault(t.Context(), &lifeboatv1.CreateVaultRequest{Name: "app"})
	must(t, err)
	_, err = c.CreateSecret(t.Context(), &lifeboatv1.CreateSecretRequest{Vault: "app", Name: "db", Value: []byte("0"), Wait: lifeboatv1.Wait_WAIT_CLEARED})
	must(t, err)
}

// works checks that every process that serves does: reads, and mutations that all
// hosts then have.
func (f *fleet) works(round string) {
	t := f.t
	t.Helper()
	for _, p := range f.processes[1:] {
		f.ready(p)
	}
	for _, p := range f.processes[1:] {
		c := f.client(p, f.token)
		put, err := c.PutSecretVersion(t.Context(), &lifeboatv1.PutSecretVersionRequest{
			Vault: "app", Secret: "db", Value: []byte(round + " by " + p.id), Wait: lifeboatv1.Wait_WAIT_CLEARED,
		})
		must(t, err)
		for _, reader := range f.processes[1:] {
			got, err := f.client(reader, f.token).GetSecretValue(t.Context(), &lifeboatv1.GetSecretValueRequest{
				Vault: "app", Secret: "db", RevisionToken: put.GetRevisionToken(),
			})
			must(t, err)
			if string(got.GetValue()) != round+" by "+p.id {
				t.Errorf("%s answers %q after a mutation by %s", reader.id, got.GetValue(), p.id)
			}
		}
	}
}

// inside is set in the test program that runs in a network of its own.
const inside = "LIFEBOAT_TEST_ALONE"

// TestColdStart runs the test in a network namespace in which there is nothing but
// a loopback, where the kernel allows that: nothing can be resolved or reached by
// accident. Elsewhere it runs as it is.
func TestColdStart(t *testing.T) {
	if os.Getenv(inside) != "" {
		must(t, loopbackUp())
		if _, err := net.LookupHost("lifeboat.example"); err == nil {
			t.Fatal("names can be resolved in here")
		}
		coldStarts(t)
		return
	}
	self, err := os.Executable()
	must(t, err)
	alone := exec.CommandContext(t.Context(), self, "-test.run", "^TestColdStart$", "-test.v")
	alone.Env = append(os.Environ(), inside+"=1")
	alone.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		alone.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		alone.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		alone.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	var out bytes.Buffer
	alone.Stdout, alone.Stderr = &out, &out
	switch err := alone.Start(); {
	case errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EINVAL):
		t.Logf("the kernel allows no network of its own (%v): other networks are there during the test", err)
		coldStarts(t)
	case err != nil:
		t.Fatal(err)
	default:
		err := alone.Wait()
		t.Logf("in a network of its own:\n%s", out.String())
		if err != nil {
			t.Error(err)
		}
	}
}

// coldStarts starts the fleet in all orders that matter. Every process must come up
// whatever the others do, and wait for what it lacks.
func coldStarts(t *testing.T) {
	f := newFleet(t)
	for _, p := range f.processes {
		f.start(p)
	}
	f.furnish()
	for _, order := range []struct {
		name string
		ids  []string
		// together starts them without waiting for one another.
		together bool
	}{
		{"all at once", []string{"store-1", "control-1", "control-2", "host-1", "host-2"}, true},
		{"the store last", []string{"host-2", "host-1", "control-2", "control-1", "store-1"}, false},
		{"control last", []string{"host-1", "store-1", "host-2", "control-1", "control-2"}, false},
		{"hosts last", []string{"control-1", "control-2", "store-1", "host-1", "host-2"}, false},
	} {
		f.killAll()
		for _, id := range order.ids {
			p := f.processes[slices.IndexFunc(f.processes, func(p *process) bool { return p.id == id })]
			f.start(p)
			if !order.together {
				f.alive(p)
			}
			if strings.HasPrefix(id, "host") && !order.together {
				f.readsAlone(p)
			}
		}
		f.works(order.name)
		t.Logf("%s: the fleet works", order.name)
	}
}

// readsAlone checks that a host answers whatever else runs: it needs its own disk
// and its key service.
func (f *fleet) readsAlone(p *process) {
	f.t.Helper()
	f.ready(p)
	_, err := f.client(p, f.token).GetSecretValue(f.t.Context(), &lifeboatv1.GetSecretValueRequest{Vault: "app", Secret: "db"})
	must(f.t, err)
}
