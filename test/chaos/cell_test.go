package chaos_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/controlsocket"
	"github.com/lifeboat-secrets/lifeboat/internal/pki"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

// cell is a region of real processes on this machine.
type cell struct {
	t        *testing.T
	dir, ca  string
	tls      *tls.Config
	controls []*process
	hosts    []*process
	// operator and admin are bearer tokens: of the region's operator, and of the
	// admin of the account that owns the vault "chaos".
	operator, admin string
}

const vaultName = "chaos"

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// begin starts a cell, initialises it, makes an account and a vault, and has it
// stopped and looked over when the test ends.
func begin(t *testing.T, s shape) *cell {
	t.Helper()
	c := plan(t, s)
	var err error
	c.tls, err = pki.ClientTLS(c.ca)
	must(t, err)
	t.Cleanup(c.end)
	for _, p := range c.processes() {
		p.start()
	}
	c.initialize()
	c.ready()
	operator := c.controls[0].client(c.operator)
	var account *lifeboatv1.CreateAccountResponse
	c.eventually("the account can be made", func(ctx context.Context) (err error) {
		account, _, err = invoke(ctx, operator.accounts.CreateAccount, operator, &lifeboatv1.CreateAccountRequest{Name: "chaos"})
		return err
	})
	c.admin = account.GetToken()
	admin := c.controls[0].client(c.admin)
	_, _, err = invoke(t.Context(), admin.vaults.CreateVault, admin, &lifeboatv1.CreateVaultRequest{
		Name: vaultName, Wait: lifeboatv1.Wait_WAIT_CLEARED,
	})
	must(t, err)
	return c
}

func (c *cell) processes() []*process {
	return append(append([]*process(nil), c.controls...), c.hosts...)
}

func (c *cell) initialize() {
	socket := controlsocket.New(c.controls[0].file("control.sock"))
	defer socket.Close()
	c.eventually("the region can be initialised", func(ctx context.Context) error {
		made, err := socket.Initialize(ctx)
		if secret.HasCode(err, secret.CodeExists) {
			c.t.Fatal(err)
		}
		c.operator = string(made.Token.Reveal())
		return err
	})
}

// end stops what still runs and looks for signs of trouble in the logs.
func (c *cell) end() {
	for _, p := range append(append([]*process(nil), c.hosts...), c.controls...) {
		if p.running() {
			p.stop()
		}
	}
	for _, p := range c.processes() {
		log, err := os.ReadFile(p.file("log"))
		if err != nil {
			c.t.Error(err)
		}
		for _, sign := range []string{"DATA RACE", "panic: ", "fatal error: "} {
			if at := strings.Index(string(log), sign); at >= 0 {
				c.t.Errorf("%s: its log says %q:\n%s", p.id, sign, log[at:min(at+4000, len(log))])
			}
		}
		if c.t.Failed() {
			c.t.Logf("last of the log of %s:\n%s", p.id, log[max(0, len(log)-3000):])
		}
	}
	if c.t.Failed() && *dirFlag != "" {
		must(c.t, os.CopyFS(filepath.Join(*dirFlag, c.t.Name()), os.DirFS(c.dir)))
	}
}

// patience bounds every wait for something that must happen.
const patience = 60 * time.Second

// eventually waits until check succeeds.
func (c *cell) eventually(what string, check func(context.Context) error) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		attempt, stop := context.WithTimeout(ctx, 5*time.Second)
		err := check(attempt)
		stop()
		if err == nil {
			return
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			c.t.Fatalf("%s: not within %s: %v", what, patience, last)
		case <-tick.C:
		}
	}
}

// ready waits until every running process says that it is.
func (c *cell) ready() {
	c.t.Helper()
	for _, p := range c.processes() {
		if !p.running() {
			continue
		}
		c.eventually(p.id+" is ready", func(ctx context.Context) error {
			select {
			case <-p.exited:
				c.t.Fatalf("%s ended: %v", p.id, p.cmd.ProcessState)
			default:
			}
			health, err := p.health(ctx)
			if err == nil && !health.Ready {
				err = fmt.Errorf("readyz: %+v", health)
			}
			return err
		})
	}
}

// settled waits until every process has applied all that the store holds and no
// mutation is open.
func (c *cell) settled() {
	c.t.Helper()
	c.ready()
	c.eventually("all processes have all that was committed", func(ctx context.Context) error {
		state, err := c.controls[0].status(ctx)
		if err != nil {
			return err
		}
		if err := lifeboattest.Cleared(state); err != nil {
			return err
		}
		for _, p := range c.processes() {
			here, err := p.status(ctx)
			if err != nil {
				return err
			}
			if here.GetAppliedRevision() < state.GetStoreRevision() {
				return fmt.Errorf("%s is at revision %d of %d", p.id, here.GetAppliedRevision(), state.GetStoreRevision())
			}
			// One that was paused must also have heard that there is no more.
			if at, err := p.list(ctx); err != nil {
				return err
			} else if at.GetFromStore() || at.GetAgeSeconds() > 0 {
				return fmt.Errorf("%s does not know yet that it is up to date: %v", p.id, at)
			}
		}
		return nil
	})
}

// list asks for a page of secrets and returns how fresh it is.
func (p *process) list(ctx context.Context) (*lifeboatv1.Freshness, error) {
	c := p.client(p.cell.admin)
	answer, _, err := invoke(ctx, c.secrets.ListSecrets, c, &lifeboatv1.ListSecretsRequest{Vault: vaultName, PageSize: 1})
	return answer.GetFreshness(), err
}

type health struct {
	Ready  bool `json:"ready"`
	Checks map[string]struct {
		Healthy bool   `json:"healthy"`
		Detail  string `json:"detail"`
	} `json:"checks"`
}

// health asks the process's admin listener.
func (p *process) health(ctx context.Context) (health, error) {
	var h health
	body, err := p.admin(ctx, "/readyz")
	if err == nil {
		err = json.Unmarshal(body, &h)
	}
	return h, err
}

// admin gets a page of the admin listener, whatever its status.
func (p *process) admin(ctx context.Context, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.ports.admin+path, nil)
	if err != nil {
		return nil, err
	}
	request.Close = true
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(answer.Body)
	return body, errors.Join(err, answer.Body.Close())
}

// status asks the process for the region's state.
func (p *process) status(ctx context.Context) (*lifeboatv1.GetStatusResponse, error) {
	operator := p.client(p.cell.operator)
	state, _, err := invoke(ctx, operator.operators.GetStatus, operator, &lifeboatv1.GetStatusRequest{})
	return state, err
}

func (p *process) file(name string) string { return filepath.Join(p.cell.dir, p.id, name) }
