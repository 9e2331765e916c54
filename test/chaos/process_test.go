package chaos_test

import (
	"cmp"
	"context"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"connectrpc.com/connect"

	"github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1/lifeboatv1connect"
)

// process is one process of a cell. Its methods are for one goroutine, but for
// client and what uses it.
type process struct {
	cell        *cell
	id          string
	ports       ports
	environment []string
	// program runs instead of this one if it is set.
	program string

	cmd *exec.Cmd
	// exited is closed when the process has ended, however it did.
	exited chan struct{}

	mu      sync.Mutex
	clients map[string]*caller
}

// start starts the process; it may not be ready yet.
func (p *process) start() {
	t := p.cell.t
	t.Helper()
	log, err := os.OpenFile(p.file("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(t, err)
	cmd := exec.Command(cmp.Or(p.program, os.Args[0]), "server", "--config", p.file("config.yaml"))
	cmd.Stdout, cmd.Stderr = log, log
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "LIFEBOAT_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, p.environment...)
	// The kernel kills the child when the thread that started it ends, so that
	// none outlives the test program; hence the goroutine that keeps the thread.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	exited, started := make(chan struct{}), make(chan error)
	go func() {
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
			close(exited)
		}
	}()
	must(t, <-started)
	must(t, log.Close())
	p.cmd, p.exited = cmd, exited
}

// running reports whether the process was started and neither stopped nor killed.
func (p *process) running() bool { return p.cmd != nil }

func (p *process) signal(s syscall.Signal) { must(p.cell.t, p.cmd.Process.Signal(s)) }

// kill ends the process with SIGKILL, from whatever it is doing.
func (p *process) kill() {
	p.cell.t.Helper()
	p.signal(syscall.SIGKILL)
	<-p.exited
	p.cmd = nil
}

// stop ends the process in order.
func (p *process) stop() {
	p.cell.t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGCONT)
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
		if state := p.cmd.ProcessState; !state.Success() {
			p.cell.t.Errorf("%s: %s", p.id, state)
		}
	case <-time.After(30 * time.Second):
		p.cell.t.Errorf("%s does not stop", p.id)
		_ = p.cmd.Process.Signal(syscall.SIGQUIT) // with the stacks in its log
		<-p.exited
	}
	p.cmd = nil
}

// caller makes requests of one process as one principal, each exactly once.
type caller struct {
	token     string
	secrets   lifeboatv1connect.SecretServiceClient
	vaults    lifeboatv1connect.VaultServiceClient
	accounts  lifeboatv1connect.AccountServiceClient
	operators lifeboatv1connect.OperatorServiceClient
	keys      lifeboatv1connect.KeyServiceClient
}

// client returns the caller with that token.
func (p *process) client(token string) *caller {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.clients[token]; c != nil {
		return c
	}
	var protocols http.Protocols
	protocols.SetHTTP2(true)
	transport := &http.Transport{
		TLSClientConfig: p.cell.tls.Clone(), Protocols: &protocols,
		HTTP2: &http.HTTP2Config{SendPingTimeout: 2 * time.Second, PingTimeout: 2 * time.Second},
	}
	p.cell.t.Cleanup(transport.CloseIdleConnections)
	h, url := &http.Client{Transport: transport}, "https://"+p.ports.public
	c := &caller{
		token:   token,
		secrets: lifeboatv1connect.NewSecretServiceClient(h, url), vaults: lifeboatv1connect.NewVaultServiceClient(h, url),
		accounts: lifeboatv1connect.NewAccountServiceClient(h, url), operators: lifeboatv1connect.NewOperatorServiceClient(h, url),
		keys: lifeboatv1connect.NewKeyServiceClient(h, url),
	}
	if p.clients == nil {
		p.clients = map[string]*caller{}
	}
	p.clients[token] = c
	return c
}

// invoke makes one request and returns the answer and the ID of the request, as
// in the audit log.
func invoke[Q, A any](ctx context.Context, method func(context.Context, *connect.Request[Q]) (*connect.Response[A], error), c *caller, in *Q) (*A, string, error) {
	request := connect.NewRequest(in)
	request.Header().Set("Authorization", "Bearer "+c.token)
	answer, err := method(ctx, request)
	if err != nil {
		return nil, "", err
	}
	return answer.Msg, answer.Header().Get("Lifeboat-Request-Id"), nil
}
