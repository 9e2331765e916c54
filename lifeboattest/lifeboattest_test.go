package lifeboattest_test

import (
	"context"
	"os"
	"slices"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/cli"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

// TestMain also is the binary that regions of processes run.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "server" {
		os.Exit(cli.Main(context.Background(), os.Args[1:], cli.Environment{
			Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, LookupEnv: os.LookupEnv, Release: "test",
		}))
	}
	goleak.VerifyTestMain(m)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func create(t testing.TB, a *lifeboattest.Account, p *lifeboattest.Process, name string) {
	t.Helper()
	made, err := a.Client(p).CreateSecret(t.Context(), connect.NewRequest(&lifeboatv1.CreateSecretRequest{
		Vault: a.Vault, Name: name, Value: []byte("v"), Wait: lifeboatv1.Wait_WAIT_CLEARED,
	}))
	must(t, err)
	if !made.Msg.GetCleared() {
		t.Fatalf("%s is not on every host", name)
	}
}

func read(t testing.TB, a *lifeboattest.Account, p *lifeboattest.Process, name string) *lifeboatv1.GetSecretValueResponse {
	t.Helper()
	got, err := a.Client(p).GetSecretValue(t.Context(), connect.NewRequest(&lifeboatv1.GetSecretValueRequest{Vault: a.Vault, Secret: name}))
	must(t, err)
	return got.Msg
}

func TestOneProcessPlaysAllRoles(t *testing.T) {
	begin := time.Now()
	r := lifeboattest.Start(t, lifeboattest.Options{})
	t.Log("started in", time.Since(begin))
	create(t, r.Account(), r.Host(0), "a")
	must(t, r.Control().Restart(t.Context()))
	read(t, r.Account(), r.Host(0), "a")
	lines, err := r.AuditLines()
	must(t, err)
	if !slices.ContainsFunc(lines, func(l lifeboattest.AuditLine) bool {
		return l.Action == "CreateSecret" && l.Name == "a" && l.Outcome == "ok"
	}) {
		t.Errorf("no line for the creation among %+v", lines)
	}
}

func TestProcessesStopStartAndLoseTheirLinks(t *testing.T) {
	begin := time.Now()
	r := lifeboattest.Start(t, lifeboattest.Options{Hosts: 3})
	t.Log("started in", time.Since(begin))
	a, err := r.NewAccount(t.Context(), "")
	must(t, err)
	create(t, a, r.Host(2), "a")
	for _, p := range r.Processes() {
		read(t, a, p, "a")
	}
	must(t, r.Host(0).Kill())
	if r.Host(0).Kill() == nil {
		t.Error("killed twice")
	}
	must(t, r.Control().Kill())
	read(t, a, r.Host(1), "a")
	must(t, r.Host(0).Start(t.Context()))
	must(t, r.Control().Start(t.Context()))
	for _, p := range r.Processes() {
		must(t, p.WaitReady(t.Context()))
	}
	create(t, a, r.Host(0), "b")
	r.CutStore(1)
	for read(t, a, r.Host(1), "a").GetFreshness().GetAgeSeconds() == 0 {
		time.Sleep(time.Millisecond)
	}
	r.Heal(1)
	for read(t, a, r.Host(1), "a").GetFreshness().GetAgeSeconds() != 0 {
		time.Sleep(time.Millisecond)
	}
}
