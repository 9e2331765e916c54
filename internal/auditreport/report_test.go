package auditreport_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/audit"
	"github.com/lifeboat-secrets/lifeboat/internal/auditreport"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

var began = time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)

// written returns what the audit log itself writes of entries.
func written(t testing.TB, entries ...audit.Entry) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "audit.log")
	log, err := audit.Open(audit.Options{Paths: []string{path}, Region: "east", Process: "host-1"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range entries {
		if err := log.Write(&entries[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func read(principal, name string, after time.Duration) audit.Entry {
	return audit.Entry{
		Time: began.Add(after), RequestID: "r", Principal: secret.PrincipalID("id-" + principal), PrincipalName: principal, Account: "a",
		Action: auditreport.Read, Resource: audit.Resource{Kind: "secret", ID: "v.id-of-" + name, Name: name, Vault: "v", Account: "a"},
		Decision: audit.Allow, Version: "01VERSION",
	}
}

func report(t *testing.T, o auditreport.Options, logs ...[]byte) ([]auditreport.Row, auditreport.Summary) {
	t.Helper()
	r := auditreport.New(o)
	for _, log := range logs {
		if err := r.Add(t.Context(), bytes.NewReader(log), nil); err != nil {
			t.Fatal(err)
		}
	}
	return r.Rows(), r.Summary()
}

func TestReport(t *testing.T) {
	denied := read("eve", "db", 5*time.Second)
	denied.Decision, denied.Outcome, denied.Version = audit.Deny, secret.CodeDenied, ""
	put := read("ada", "db", 6*time.Second)
	put.Action = "PutSecretVersion"
	list := read("ada", "db", 7*time.Second)
	list.Resource.Kind = "vault"
	log := written(t, read("bob", "db", 2*time.Second), read("ada", "api", 0), read("bob", "db", time.Second), denied, put, list, read("ada", "db", 9*time.Second))
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write(written(t, read("bob", "db", 3*time.Second)))
	_ = z.Close()

	cases := []struct {
		name    string
		options auditreport.Options
		want    []string
	}{
		{"all reads", auditreport.Options{}, []string{"api ada 1 ok", "db eve 1 permission_denied", "db ada 1 ok", "db bob 3 ok"}},
		{"by principal", auditreport.Options{Order: auditreport.ByPrincipal}, []string{"api ada 1 ok", "db ada 1 ok", "db bob 3 ok", "db eve 1 permission_denied"}},
		{"one secret by name", auditreport.Options{Secret: "api"}, []string{"api ada 1 ok"}},
		{"one secret by ID", auditreport.Options{Secret: "v.id-of-api"}, []string{"api ada 1 ok"}},
		{"one principal", auditreport.Options{Principal: "id-bob"}, []string{"db bob 3 ok"}},
		{"since", auditreport.Options{Since: began.Add(9 * time.Second)}, []string{"db ada 1 ok"}},
		{"until", auditreport.Options{Until: began.Add(time.Second)}, []string{"api ada 1 ok"}},
		{"all actions", auditreport.Options{AllActions: true, Principal: "ada", Secret: "db"}, []string{"db ada 1 ok", "db ada 1 ok"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			rows, summary := report(t, c.options, log, zipped.Bytes())
			var got []string
			for _, r := range rows {
				got = append(got, fmt.Sprintf("%s %s %d %s", r.Secret, r.Principal, r.Count, r.Outcome))
			}
			if strings.Join(got, ", ") != strings.Join(c.want, ", ") || summary.Lines != 8 || summary.Unreadable != 0 {
				t.Errorf("%q of %+v, want %q", got, summary, c.want)
			}
		})
	}
	rows, _ := report(t, auditreport.Options{Principal: "bob"}, log, zipped.Bytes())
	if r := rows[0]; !r.First.Equal(began.Add(time.Second)) || !r.Last.Equal(began.Add(3*time.Second)) || r.Process != "host-1" || r.Region != "east" || r.Version != "01VERSION" {
		t.Errorf("%+v", r)
	}
}

func TestACutNameIsFound(t *testing.T) {
	long := read(strings.Repeat("p", 200), strings.Repeat("n", 500), 0)
	other := read(strings.Repeat("p", 200), strings.Repeat("n", 499)+"x", 0)
	log := written(t, long, other)
	if !bytes.Contains(log, []byte("~")) {
		t.Fatal("nothing was cut")
	}
	rows, _ := report(t, auditreport.Options{Secret: long.Resource.Name, Principal: long.PrincipalName}, log)
	if len(rows) != 1 || rows[0].Count != 1 {
		t.Errorf("%+v", rows)
	}
}

func TestNothingIsDroppedSilently(t *testing.T) {
	line := written(t, read("ada", "db", 0))
	log := bytes.Join([][]byte{
		line, []byte("\n\n"), line[:100], []byte("\n"), []byte("{}\n"), []byte(`{"time":"x"}` + "\n"), bytes.Repeat([]byte("x"), 10_000), []byte("\n"),
		line[:len(line)-1], []byte("\r\n"), written(t, audit.Entry{Time: began, Action: audit.GapAction, Resource: audit.Resource{Name: "5 lines"}}),
		line[:len(line)-1], // without a line end
	}, nil)
	rows, summary := report(t, auditreport.Options{}, log)
	if len(rows) != 1 || rows[0].Count != 3 || summary.Lines != 8 || summary.Unreadable != 4 || len(summary.Gaps) != 1 || !strings.Contains(summary.Gaps[0], "5 lines") {
		t.Errorf("%+v, %+v", rows, summary)
	}
	var many []audit.Entry
	for i := range 20 {
		many = append(many, read("ada", fmt.Sprint("s", i%10), 0))
	}
	rows, summary = report(t, auditreport.Options{MaxRows: 4}, written(t, many...))
	if len(rows) != 4 || summary.Matched != 8 || summary.LeftOut != 12 {
		t.Errorf("%d rows, %+v", len(rows), summary)
	}
}

func TestDamagedAndForeignFiles(t *testing.T) {
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write(written(t, read("bob", "db", 0)))
	_ = z.Close()
	for name, log := range map[string][]byte{
		"cut short": zipped.Bytes()[:zipped.Len()-4], "zstd": {0x28, 0xb5, 0x2f, 0xfd, 0, 0}, "xz": []byte("\xfd7zXZ\x00"), "gzip header": {0x1f, 0x8b, 9, 9, 9, 9, 9, 9, 9, 9},
	} {
		if err := auditreport.New(auditreport.Options{}).Add(t.Context(), bytes.NewReader(log), nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// A log of any size takes the memory of its rows.
func TestMemoryIsBounded(t *testing.T) {
	line := written(t, read("ada", "db", 0))
	pr, pw := io.Pipe()
	go func() {
		for range 50_000 {
			if _, err := pw.Write(line); err != nil {
				return
			}
		}
		_ = pw.Close()
	}()
	r := auditreport.New(auditreport.Options{})
	if err := r.Add(t.Context(), pr, nil); err != nil {
		t.Fatal(err)
	}
	if rows := r.Rows(); len(rows) != 1 || rows[0].Count != 50_000 {
		t.Errorf("%+v", rows)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(bytes.TrimSpace(written(f, read("ada", "db", 0))))
	f.Add([]byte(`{"time":"2026-01-02T03:04:05Z","region":"r","process":"p","decision":"none","outcome":"ok","later":{"a":[1]}}`))
	f.Add([]byte(`{"time":"2026-01-02T03:04:05Z","time":"2026-01-02T03:04:05Z"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := auditreport.Decode(b)
		if err == nil && (l.Time.IsZero() || l.Region == "" || l.Outcome == "" || len(b) > audit.MaxLineBytes) {
			t.Fatalf("%q was taken for a line", b)
		}
		if err != nil && l != (auditreport.Line{}) {
			t.Fatalf("%q left %+v behind", b, l)
		}
		r := auditreport.New(auditreport.Options{AllActions: true, MaxRows: 2})
		if err := r.Add(t.Context(), bytes.NewReader(append([]byte("x\n"), b...)), nil); err != nil {
			t.Fatalf("%q: %v", b, err)
		}
	})
}
