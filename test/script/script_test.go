// Package script runs the command line, as its users do, against a real region.
package script

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/lifeboat-secrets/lifeboat/internal/cli"
	"github.com/lifeboat-secrets/lifeboat/internal/importsource/sourcetest"
	"github.com/lifeboat-secrets/lifeboat/internal/localregion"
)

// canary is a part of values that the scripts put. It must never be on a disk of
// the region.
const canary = "canary-7f3a9c"

func TestMain(m *testing.M) {
	testscript.Main(&shared{m: m}, map[string]func(){"lifeboat": func() {
		os.Exit(cli.Main(context.Background(), os.Args[1:], cli.Environment{
			Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, LookupEnv: os.LookupEnv, Release: "v0.0.0-test",
		}))
	}})
}

// region is the one that all scripts share; each has an account of its own.
var region struct {
	sync.Mutex
	*localregion.Region
}

// sources are other secret managers to import from.
var sources struct {
	vault *sourcetest.Vault
	aws   *httptest.Server
}

type shared struct{ m *testing.M }

// Run implements testscript.TestingM: it is not called in the commands that
// scripts run.
func (s *shared) Run() int {
	code, err := s.run()
	if err != nil {
		log.Print(err)
		return 1
	}
	return code
}

func (s *shared) run() (code int, err error) {
	dir, err := os.MkdirTemp("", "lb-script-") // short, for the path of a socket is bounded
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	region.Region, err = localregion.Plan(localregion.Options{Dir: filepath.Join(dir, "r"), Hosts: 2, Release: "v0.0.0-test"})
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := region.StartInProcess(ctx); err != nil {
		return 0, err
	}
	sources.vault = sourcetest.NewVault(map[string]sourcetest.VaultSecret{
		"app/db":       {Versions: []map[string]any{{"password": "first"}, {"password": canary}}, Custom: map[string]string{"owner": "ada"}},
		"app/big":      {Versions: []map[string]any{{"v": strings.Repeat("x", 70_000)}}},
		"app/gone":     {Versions: []map[string]any{{"v": "x"}}, Deleted: true},
		"app/a b":      {Versions: []map[string]any{{"v": "x"}}},
		"app/deep/key": {Versions: []map[string]any{{"v": canary}}},
	})
	defer sources.vault.Close()
	sources.aws = sourcetest.NewAWS([]sourcetest.AWSSecret{
		{Name: "prod/db", Description: "of the shop", Current: canary, Previous: "older", Tags: map[string]string{"team": "a"}},
		{Name: "prod/key", Current: "\x00\x01", Binary: true}, {Name: "prod/gone", Current: "x", Deleted: true}, {Name: "test/x", Current: "y"},
	})
	defer sources.aws.Close()
	code = s.m.Run()
	return code, errors.Join(region.Close(), searchCanary(dir))
}

// searchCanary looks for a value in all that the region wrote.
func searchCanary(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err == nil && bytes.Contains(data, []byte(canary)) {
			err = fmt.Errorf("%s holds the value of a secret", path)
		}
		return err
	})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata", Setup: setup, RequireUniqueNames: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "narrow": narrow, "waitfile": waitFile, "contains": contains, "capture": capture, "mode": mode, "hangup": hangUp,
			"eventually": eventually,
		},
	})
}

// setup gives a script an account and a vault, both named after it.
func setup(env *testscript.Env) error {
	region.Lock()
	defer region.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	name := filepath.Base(env.WorkDir)
	tenant, err := region.Tenant(ctx, strings.TrimPrefix(name, "script-"))
	if err != nil {
		return err
	}
	host := region.Hosts()[0]
	env.Setenv("LIFEBOAT_ADDR", host.URL())
	env.Setenv("LIFEBOAT_TOKEN", string(tenant.Token.Reveal()))
	env.Setenv("LIFEBOAT_CA_FILE", region.CAFile())
	env.Setenv("LIFEBOAT_REGION", string(region.Name()))
	env.Setenv("LIFEBOAT_VAULT", tenant.Vault)
	env.Setenv("VAULT", tenant.Vault)
	env.Setenv("HOST2", region.Hosts()[1].URL())
	env.Setenv("CONTROL", region.Control().URL())
	env.Setenv("SOCKET", region.Control().SocketPath())
	env.Setenv("VAULT_SOURCE", sources.vault.URL)
	env.Setenv("VAULT_SOURCE_TOKEN", sourcetest.VaultToken)
	env.Setenv("AWS_SOURCE", sources.aws.URL)
	env.Setenv("AUDIT_LOG", filepath.Join(filepath.Dir(host.SocketPath()), "audit.log"))
	env.Setenv("KMS_FILE", filepath.Join(filepath.Dir(filepath.Dir(region.Control().SocketPath())), "kms-keys"))
	env.Setenv("OPERATOR_TOKEN_FILE", region.OperatorTokenFile())
	// Under the race detector each command would sleep for a second at its end.
	env.Setenv("GORACE", "atexit_sleep_ms=0")
	env.Setenv("HOME", env.WorkDir)
	for _, name := range []string{"FREE", "FREE_STORE", "FREE_STORE_PEER"} {
		address, err := localregion.FreeAddress()
		if err != nil {
			return err
		}
		env.Setenv(name, address)
	}
	return nil
}

// exits runs a command that must end with an exit code: exits CODE COMMAND...
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// eventually runs a command until it succeeds: eventually COMMAND ARG...
func eventually(ts *testscript.TestScript, _ bool, args []string) {
	deadline := time.Now().Add(time.Minute)
	for ts.Exec(args[0], args[1:]...) != nil {
		if time.Now().After(deadline) {
			ts.Fatalf("%v did not succeed within a minute", args)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// narrow checks that what the last command printed fits a table's width.
func narrow(ts *testscript.TestScript, _ bool, _ []string) {
	for line := range strings.Lines(ts.ReadFile("stdout")) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, " \n")); n > 100 {
			ts.Fatalf("a line has %d columns: %s", n, line)
		}
	}
}

// waitFile waits until a file is there: waitfile FILE
func waitFile(ts *testscript.TestScript, _ bool, args []string) {
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		if _, err := os.Stat(ts.MkAbs(args[0])); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	ts.Fatalf("%s did not appear", args[0])
}

// contains checks for a piece of text, not a pattern: contains FILE TEXT
func contains(ts *testscript.TestScript, neg bool, args []string) {
	if strings.Contains(ts.ReadFile(args[0]), args[1]) == neg {
		ts.Fatalf("%s: presence of %q is not as wanted", args[0], args[1])
	}
}

// capture puts a field of the last command's JSON, or all of its output, into a
// variable: capture VARIABLE [FIELD]
func capture(ts *testscript.TestScript, _ bool, args []string) {
	out := ts.ReadFile("stdout")
	if len(args) == 1 {
		ts.Setenv(args[0], strings.TrimSpace(out))
		return
	}
	_, rest, ok := strings.Cut(out, `"`+args[1]+`":`)
	if !ok {
		ts.Fatalf("there is no field %s", args[1])
	}
	value, _, _ := strings.Cut(strings.TrimLeft(rest, ` "`), `"`)
	ts.Setenv(args[0], value)
}

// mode checks a file's permissions: mode 0600 FILE
func mode(ts *testscript.TestScript, _ bool, args []string) {
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[0] {
		ts.Fatalf("mode is %s, want %s", got, args[0])
	}
}

// hangUp sends SIGHUP to the commands in the background.
func hangUp(ts *testscript.TestScript, _ bool, _ []string) {
	for _, c := range ts.BackgroundCmds() {
		ts.Check(c.Process.Signal(syscall.SIGHUP))
	}
}
