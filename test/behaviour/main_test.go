// Package behaviour tests what callers see of a region, through its public doors.
package behaviour_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"connectrpc.com/connect"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

// shared is the region of all tests that break nothing.
var shared *lifeboattest.Region

func TestMain(m *testing.M) {
	region, err := lifeboattest.Open(context.Background(), lifeboattest.Options{Hosts: 2})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	shared = region
	code := m.Run()
	if err := region.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func account(t testing.TB, r *lifeboattest.Region) *lifeboattest.Account {
	t.Helper()
	a, err := r.NewAccount(t.Context(), "")
	must(t, err)
	return a
}

type method[Req, Res any] func(context.Context, *connect.Request[Req]) (*connect.Response[Res], error)

// do calls a method that must succeed.
func do[Req, Res any](t testing.TB, call method[Req, Res], m *Req) *Res {
	t.Helper()
	answer, err := call(t.Context(), connect.NewRequest(m))
	if err != nil {
		t.Fatalf("%v: %v (%v)", m, err, infoOf(err))
	}
	return answer.Msg
}

// fails calls a method that must fail with a code, and returns the details.
func fails[Req, Res any](t testing.TB, call method[Req, Res], m *Req, code secret.Code) *lifeboatv1.ErrorInfo {
	t.Helper()
	_, err := call(t.Context(), connect.NewRequest(m))
	if err == nil {
		t.Fatalf("%v: succeeded, want %s", m, code)
	}
	info := infoOf(err)
	if info.GetCode() != string(code) {
		t.Fatalf("%v: %v (%v), want %s", m, err, info, code)
	}
	return info
}

// infoOf returns the details that every error of the API carries.
func infoOf(err error) *lifeboatv1.ErrorInfo {
	if wire, ok := errors.AsType[*connect.Error](err); ok {
		for _, detail := range wire.Details() {
			if value, err := detail.Value(); err == nil {
				if info, ok := value.(*lifeboatv1.ErrorInfo); ok {
					return info
				}
			}
		}
	}
	return nil
}

func codeOf(err error) secret.Code { return secret.Code(infoOf(err).GetCode()) }

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	limit := time.Now().Add(time.Minute)
	for !holds() {
		if time.Now().After(limit) {
			t.Fatalf("%s: not within a minute", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func create(t testing.TB, c *lifeboattest.Client, vault, name, value string) *lifeboatv1.CreateSecretResponse {
	t.Helper()
	return do(t, c.CreateSecret, &lifeboatv1.CreateSecretRequest{
		Vault: vault, Name: name, Value: []byte(value), Wait: lifeboatv1.Wait_WAIT_CLEARED,
	})
}

func put(t testing.TB, c *lifeboattest.Client, vault, name, value string) *lifeboatv1.PutSecretVersionResponse {
	t.Helper()
	return do(t, c.PutSecretVersion, &lifeboatv1.PutSecretVersionRequest{
		Vault: vault, Secret: name, Value: []byte(value), Wait: lifeboatv1.Wait_WAIT_CLEARED,
	})
}

func get(t testing.TB, c *lifeboattest.Client, vault, name string) *lifeboatv1.GetSecretValueResponse {
	t.Helper()
	return do(t, c.GetSecretValue, &lifeboatv1.GetSecretValueRequest{Vault: vault, Secret: name})
}

func describe(t testing.TB, c *lifeboattest.Client, vault, name string) *lifeboatv1.Secret {
	t.Helper()
	return do(t, c.DescribeSecret, &lifeboatv1.DescribeSecretRequest{Vault: vault, Secret: name}).GetSecret()
}

// linesOf returns the audit lines of one request, from all processes.
func linesOf(t testing.TB, r *lifeboattest.Region, request string) (lines []lifeboattest.AuditLine) {
	t.Helper()
	for _, p := range r.Processes() {
		data, err := os.ReadFile(p.AuditFile())
		must(t, err)
		for line := range bytes.Lines(data) {
			if !bytes.Contains(line, []byte(`"`+request+`"`)) {
				continue
			}
			var l lifeboattest.AuditLine
			must(t, json.Unmarshal(line, &l))
			lines = append(lines, l)
		}
	}
	return lines
}

// audited fails unless exactly one line tells of the request, with the outcome.
func audited(t testing.TB, r *lifeboattest.Region, request, outcome string) lifeboattest.AuditLine {
	t.Helper()
	lines := linesOf(t, r, request)
	if len(lines) != 1 || lines[0].Outcome != outcome {
		t.Errorf("request %q has the audit lines %+v, want one with outcome %s", request, lines, outcome)
		return lifeboattest.AuditLine{}
	}
	return lines[0]
}

func ask[T any](m *T) *connect.Request[T] { return connect.NewRequest(m) }
