package localregion_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
	"github.com/lifeboat-secrets/lifeboat/internal/cli"
	"github.com/lifeboat-secrets/lifeboat/internal/localregion"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// TestMain also is the binary that the tests start as children.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "server" {
		os.Exit(cli.Main(context.Background(), os.Args[1:], cli.Environment{
			Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, LookupEnv: os.LookupEnv, Release: "test",
		}))
	}
	goleak.VerifyTestMain(m)
}

func plan(t *testing.T, o localregion.Options) *localregion.Region {
	t.Helper()
	r, err := localregion.Plan(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// dir is short: the path of a socket is bounded.
func dir(t *testing.T) string {
	t.Helper()
	d, err := os.MkdirTemp("", "lb-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(d) })
	return filepath.Join(d, "r")
}

func connect(t *testing.T, r *localregion.Region, p *localregion.Process, token client.Value) *client.Client {
	t.Helper()
	c, err := r.Client(p, token)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func value(t *testing.T, c *client.Client) string {
	t.Helper()
	got, err := c.GetSecretValue(t.Context(), &lifeboatv1.GetSecretValueRequest{Vault: "demo", Secret: "s"})
	if err != nil {
		t.Fatal(err)
	}
	return string(got.GetValue())
}

func put(t *testing.T, c *client.Client, v string) {
	t.Helper()
	made, err := c.PutSecret(t.Context(), &lifeboatv1.PutSecretVersionRequest{
		Vault: "demo", Secret: "s", Value: []byte(v), Wait: lifeboatv1.Wait_WAIT_CLEARED,
	})
	if err != nil || !made.Cleared {
		t.Fatalf("put: %+v, %v", made, err)
	}
}

func TestDataAndAddressesAreKept(t *testing.T) {
	ctx := deadline(t)
	o := localregion.Options{Dir: dir(t), Hosts: 2, Controls: 2}
	var addresses []string
	for round := range 2 {
		r := plan(t, o)
		if err := r.StartInProcess(ctx); err != nil {
			t.Fatal(err)
		}
		tenant, err := r.Tenant(ctx, "demo")
		if err != nil {
			t.Fatal(err)
		}
		c := connect(t, r, r.Hosts()[1], tenant.Token)
		if round == 0 {
			put(t, c, "kept")
		} else if got := value(t, c); got != "kept" {
			t.Errorf("value is %q", got)
		}
		for i, p := range r.Processes() {
			if round == 0 {
				addresses = append(addresses, p.Address())
			} else if p.Address() != addresses[i] {
				t.Errorf("%s moved from %s to %s", p.ID, addresses[i], p.Address())
			}
		}
		if err := r.Hosts()[0].Kill(); err == nil {
			t.Error("a process inside this one was killed")
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestChildrenAreKilledAndStartedAgain(t *testing.T) {
	ctx := deadline(t)
	r := plan(t, localregion.Options{Dir: dir(t), Hosts: 1})
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.StartChildren(ctx, binary); err != nil {
		t.Fatal(err)
	}
	tenant, err := r.Tenant(ctx, "demo")
	if err != nil {
		t.Fatal(err)
	}
	host := r.Hosts()[0]
	c := connect(t, r, host, tenant.Token)
	put(t, c, "kept")
	for _, kill := range [][]*localregion.Process{{r.Control()}, {host}, {r.Control(), host}} {
		for _, p := range kill {
			if err := p.Kill(); err != nil {
				t.Fatal(err)
			}
			if p.Running() {
				t.Errorf("%s runs after it was killed", p.ID)
			}
		}
		if kill[0] == r.Control() && len(kill) == 1 {
			if got := value(t, c); got != "kept" {
				t.Errorf("without the control process the value is %q", got)
			}
		}
		for _, p := range kill {
			if err := p.Start(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.WaitReady(ctx); err != nil {
			t.Fatal(err)
		}
		if got := value(t, connect(t, r, host, tenant.Token)); got != "kept" {
			t.Errorf("value is %q", got)
		}
	}
	waited, cancel := context.WithCancel(ctx)
	cancel()
	if err := r.Wait(waited); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting ended with %v", err)
	}
	if err := host.Start(ctx); err == nil {
		t.Error("a running process was started")
	}
	if err := host.Stop(); err != nil {
		t.Error(err)
	}
	if err := host.Stop(); err == nil {
		t.Error("a stopped process was stopped")
	}
}

func TestChildThatEndsIsReported(t *testing.T) {
	r := plan(t, localregion.Options{Dir: dir(t), Hosts: 1})
	if err := os.WriteFile(r.Hosts()[0].ConfigPath(), []byte("nonsense: true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	err = r.StartChildren(deadline(t), binary)
	if err == nil || !strings.Contains(err.Error(), "host-1 ended") || !strings.Contains(err.Error(), "host-1.log") {
		t.Errorf("error is %v", err)
	}
}

func TestRefusedPlans(t *testing.T) {
	taken := dir(t)
	plan(t, localregion.Options{Dir: taken, Hosts: 2})
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "precious"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	newer := t.TempDir()
	if err := os.WriteFile(filepath.Join(newer, "region.json"), []byte(`{"format": 99}`), 0o600); err != nil {
		t.Fatal(err)
	}
	torn := t.TempDir()
	if err := os.WriteFile(filepath.Join(torn, "region.json"), []byte(`{"format"`), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		options localregion.Options
		code    secret.Code
	}{
		"no directory":        {localregion.Options{}, secret.CodeInvalid},
		"too many hosts":      {localregion.Options{Dir: dir(t), Hosts: 10}, secret.CodeInvalid},
		"too many controls":   {localregion.Options{Dir: dir(t), Controls: 4}, secret.CodeInvalid},
		"other controls":      {localregion.Options{Dir: taken, Hosts: 2, Controls: 2}, secret.CodeWrongState},
		"bad name":            {localregion.Options{Dir: dir(t), Name: "EAST"}, secret.CodeInvalid},
		"long path":           {localregion.Options{Dir: filepath.Join(dir(t), strings.Repeat("x", 90))}, secret.CodeInvalid},
		"other size":          {localregion.Options{Dir: taken, Hosts: 3}, secret.CodeWrongState},
		"other name":          {localregion.Options{Dir: taken, Hosts: 2, Name: "west"}, secret.CodeWrongState},
		"other files":         {localregion.Options{Dir: other}, secret.CodeWrongState},
		"of a newer release":  {localregion.Options{Dir: newer}, secret.CodeUnknownFormat},
		"layout is not whole": {localregion.Options{Dir: torn}, secret.CodeInternal},
	} {
		if _, err := localregion.Plan(c.options); secret.CodeOf(err) != c.code {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLostTokensAreSaid(t *testing.T) {
	ctx := deadline(t)
	o := localregion.Options{Dir: dir(t), Hosts: 1}
	r := plan(t, o)
	if err := r.StartInProcess(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Tenant(ctx, "demo"); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(o.Dir, "account-demo.token")); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Tenant(ctx, "demo"); !secret.HasCode(err, secret.CodeWrongState) {
		t.Errorf("without the account's token: %v", err)
	}
	if err := errors.Join(os.Remove(r.OperatorTokenFile()), r.Close()); err != nil {
		t.Fatal(err)
	}
	if err := r.StartInProcess(ctx); !secret.HasCode(err, secret.CodeWrongState) {
		t.Errorf("without the operator's token: %v", err)
	}
}

func TestFilesAreForTheirOwner(t *testing.T) {
	o := localregion.Options{Dir: dir(t), Hosts: 1}
	plan(t, o)
	err := filepath.WalkDir(o.Dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %s", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
