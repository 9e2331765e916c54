package audit

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func testEntry() *Entry {
	return &Entry{
		Time: time.Date(2026, 3, 4, 5, 6, 7, 89, time.FixedZone("", 3600)), Duration: 1234 * time.Microsecond,
		RequestID: "01JABCDEFGHJKMNPQRSTVWXYZ0", Principal: "01JABCDEFGHJKMNPQRSTVWXYZ1", PrincipalName: "deployer",
		Account: "01JABCDEFGHJKMNPQRSTVWXYZ2", Credential: "lb_01JABCDEFGHJKMNPQRSTVWXYZ3",
		Source: netip.MustParseAddr("192.0.2.7"), Action: "secret:GetValue",
		Resource: Resource{
			Kind: "secret", ID: "01JABCDEFGHJKMNPQRSTVWXYZ4.01JABCDEFGHJKMNPQRSTVWXYZ5", Name: "prod/db/password",
			Vault: "01JABCDEFGHJKMNPQRSTVWXYZ4", Account: "01JABCDEFGHJKMNPQRSTVWXYZ2",
		},
		Decision: Allow, Policies: []string{"deployers-read"}, Version: "01JABCDEFGHJKMNPQRSTVWXYZ6",
		Order: secret.Order{Epoch: secret.Epoch{Counter: 1, Region: "east"}, Seq: 42},
	}
}

func openTest(t testing.TB, o Options) *Log {
	t.Helper()
	if o.Region == "" {
		o.Region, o.Process = "east", "east-1"
	}
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func readLines(t testing.TB, path string) []map[string]any {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var lines []map[string]any
	for raw := range bytes.Lines(data) {
		var m map[string]any
		if err := json.Unmarshal(raw, &m); err != nil {
			t.Fatalf("line %q: %v", raw, err)
		}
		lines = append(lines, m)
	}
	return lines
}

func TestLineOfARead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l := openTest(t, Options{Paths: []string{path}})
	if err := l.Write(testEntry()); err != nil {
		t.Fatal(err)
	}
	const want = `{"time":"2026-03-04T04:06:07.000000089Z","region":"east","process":"east-1",` +
		`"request":"01JABCDEFGHJKMNPQRSTVWXYZ0","principal":"01JABCDEFGHJKMNPQRSTVWXYZ1","principal_name":"deployer",` +
		`"account":"01JABCDEFGHJKMNPQRSTVWXYZ2","credential":"lb_01JABCDEFGHJKMNPQRSTVWXYZ3","ip":"192.0.2.7",` +
		`"action":"secret:GetValue","kind":"secret","id":"01JABCDEFGHJKMNPQRSTVWXYZ4.01JABCDEFGHJKMNPQRSTVWXYZ5",` +
		`"name":"prod/db/password","decision":"allow","policies":["deployers-read"],"outcome":"ok",` +
		`"version":"01JABCDEFGHJKMNPQRSTVWXYZ6","order":"1:east:42","duration_us":1234}` + "\n"
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("line\n got %s want %s", got, want)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
}

func TestDiskFull(t *testing.T) {
	l := openTest(t, Options{Paths: []string{"/dev/full"}})
	if err := l.Ready(); err != nil {
		t.Fatalf("Ready before any failure: %v", err)
	}
	if err := l.Write(testEntry()); !secret.HasCode(err, secret.CodeAuditUnavailable) {
		t.Fatalf("Write on a full disk: %v", err)
	}
	if err := l.Ready(); !secret.HasCode(err, secret.CodeAuditUnavailable) {
		t.Fatalf("Ready after a failure: %v", err)
	}
}

func TestFallbackTakesWhatTheFirstRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fallback.log")
	l := openTest(t, Options{Paths: []string{"/dev/full", path}})
	for range 3 {
		if err := l.Write(testEntry()); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Ready(); err != nil {
		t.Fatal(err)
	}
	if n := len(readLines(t, path)); n != 3 {
		t.Errorf("%d lines in the fallback, want 3", n)
	}
	if s := l.Stats(); s.Lines != 3 || s.Fallback != 3 || s.WriteErrors == 0 {
		t.Errorf("stats %+v", s)
	}
}
