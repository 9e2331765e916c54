package restore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"connectrpc.com/connect"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/backup"
	"github.com/lifeboat-secrets/lifeboat/internal/controlsocket"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/file"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

// load creates secrets until it is stopped and remembers what was acknowledged.
type load struct {
	account *lifeboattest.Account
	client  *lifeboattest.Client
	stop    context.CancelFunc
	done    sync.WaitGroup
	// acknowledged counts the secrets name(0), name(1)… that were made in a row.
	acknowledged atomic.Int64
	mu           sync.Mutex
	tokens       []string
}

func loadName(i int64) string { return fmt.Sprintf("load/%06d", i) }

func startLoad(t *testing.T, r *lifeboattest.Region) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{account: r.Account(), client: r.Account().Client(r.Control()), stop: cancel}
	l.done.Go(func() {
		for i := int64(0); ctx.Err() == nil; i++ {
			made, err := l.client.CreateSecret(ctx, connect.NewRequest(&lifeboatv1.CreateSecretRequest{
				Vault: l.account.Vault, Name: loadName(i), Value: []byte(loadName(i)),
			}))
			if err != nil {
				return
			}
			l.mu.Lock()
			l.tokens = append(l.tokens, made.Msg.GetRevisionToken())
			l.mu.Unlock()
			l.acknowledged.Add(1)
		}
	})
	t.Cleanup(l.end)
	return l
}

func (l *load) end() {
	l.stop()
	l.done.Wait()
}

// reach waits until so many secrets were acknowledged.
func (l *load) reach(t *testing.T, n int64) {
	t.Helper()
	eventually(t, func() error {
		if l.acknowledged.Load() < n {
			return errors.New("the load is slow")
		}
		return nil
	})
}

// loseStore stops the control process, deletes its store and starts it again.
func loseStore(t *testing.T, r *lifeboattest.Region) {
	t.Helper()
	must(t, r.Control().Stop())
	must(t, os.RemoveAll(filepath.Join(r.Control().Dir(), "store")))
	must(t, r.Control().Start(t.Context()))
}

func socket(t *testing.T, r *lifeboattest.Region) *controlsocket.Client {
	t.Helper()
	c := controlsocket.New(r.Control().SocketPath())
	t.Cleanup(c.Close)
	return c
}

// restored restores, as soon as the store is up.
func restored(t *testing.T, r *lifeboattest.Region, path string) backup.Report {
	t.Helper()
	var report backup.Report
	eventually(t, func() (err error) {
		report, err = socket(t, r).Restore(t.Context(), path, nil)
		if err != nil && !secret.HasCode(err, secret.CodeUnavailable) {
			t.Fatal(err)
		}
		return err
	})
	return report
}

// read reads a value through the API.
func read(t *testing.T, c *lifeboattest.Client, vault, name, token string) (*lifeboatv1.GetSecretValueResponse, secret.Code) {
	t.Helper()
	answer, err := c.GetSecretValue(t.Context(), connect.NewRequest(&lifeboatv1.GetSecretValueRequest{Vault: vault, Secret: name, RevisionToken: token}))
	if err != nil {
		return nil, secret.Code(infoOf(err).GetCode())
	}
	return answer.Msg, ""
}

// A region that lost its store is restored from a backup that was made under
// load, while its hosts go on running.
func TestRestoreWithHostsRunning(t *testing.T) {
	t.Parallel()
	r := lifeboattest.Start(t, lifeboattest.Options{Hosts: 2})
	path := filepath.Join(t.TempDir(), "backup")
	l := startLoad(t, r)
	l.reach(t, 100)
	acknowledged := l.acknowledged.Load()
	made, err := socket(t, r).Backup(t.Context(), path, nil)
	must(t, err)
	late := do(t, l.client.CreateToken, &lifeboatv1.CreateTokenRequest{Principal: "admin"})
	eventually(t, func() error { // every host knows and has used it
		for i := range 2 {
			if _, code := read(t, r.Client(r.Host(i), late.GetToken()), l.account.Vault, loadName(0), ""); code != "" {
				return fmt.Errorf("host %d: %s", i, code)
			}
		}
		return nil
	})
	l.reach(t, l.acknowledged.Load()+50)
	l.end()
	before := do(t, r.Operator().GetStatus, &lifeboatv1.GetStatusRequest{})
	loseStore(t, r)
	for i := range 2 { // the hosts serve what they have
		if got, code := read(t, l.account.Client(r.Host(i)), l.account.Vault, loadName(0), ""); string(got.GetValue()) != loadName(0) {
			t.Errorf("host %d without the store: %s", i, code)
		}
	}
	report := restored(t, r, path)
	if string(report.Incarnation) == before.GetIncarnation() || report.RestoreEpoch != 2 || report.Backup.ID != made.ID {
		t.Errorf("report %+v", report)
	}
	for _, p := range r.Processes() {
		must(t, p.WaitReady(t.Context()))
		inLife(t, r, p, report)
	}
	kept := made.Kinds["secret"]
	if kept < acknowledged || kept >= l.acknowledged.Load() {
		t.Fatalf("%d secrets in the backup; %d were acknowledged before it and %d in the end", kept, acknowledged, l.acknowledged.Load())
	}
	for _, p := range r.Processes() {
		if _, code := read(t, r.Client(p, late.GetToken()), l.account.Vault, loadName(0), ""); code != secret.CodeUnauthenticated {
			t.Errorf("%s: a token that the backup lacks: %q", p.ID, code)
		}
	}
	afterRestore(t, r, l, kept)
	audited(t, r)
}

// inLife waits until a process follows the new life.
func inLife(t *testing.T, r *lifeboattest.Region, p *lifeboattest.Process, report backup.Report) {
	t.Helper()
	eventually(t, func() error {
		status := do(t, r.Client(p, r.OperatorToken()).GetStatus, &lifeboatv1.GetStatusRequest{})
		if status.GetIncarnation() != string(report.Incarnation) || status.GetRestoreEpoch() != report.RestoreEpoch {
			return fmt.Errorf("%s is in life %s, epoch %d", p.ID, status.GetIncarnation(), status.GetRestoreEpoch())
		}
		for _, c := range status.GetChecks() {
			if !c.GetHealthy() {
				return fmt.Errorf("%s: %s: %s", p.ID, c.GetName(), c.GetDetail())
			}
		}
		return nil
	})
}

// afterRestore checks what callers see of a region whose backup has the first so
// many secrets of the load.
func afterRestore(t *testing.T, r *lifeboattest.Region, l *load, kept int64) {
	t.Helper()
	for _, p := range r.Processes()[1:] {
		c := l.account.Client(p) // a token from before the restore
		for i := range l.acknowledged.Load() {
			got, code := read(t, c, l.account.Vault, loadName(i), "")
			switch {
			case i < kept && string(got.GetValue()) != loadName(i):
				t.Errorf("%s: %s was acknowledged before the backup: %s", p.ID, loadName(i), code)
			case i >= kept && code != secret.CodeNotFound:
				t.Errorf("%s: %s was written after the backup: %q", p.ID, loadName(i), code)
			}
		}
		for _, i := range []int64{0, kept - 1, kept, l.acknowledged.Load() - 1} {
			if _, code := read(t, c, l.account.Vault, loadName(i), l.tokens[i]); code != secret.CodeUnknownIncarnation {
				t.Errorf("%s: the revision token of %s from before: %q", p.ID, loadName(i), code)
			}
		}
	}
	put := do(t, l.account.Client(r.Host(0)).PutSecretVersion, &lifeboatv1.PutSecretVersionRequest{
		Vault: l.account.Vault, Secret: loadName(0), Value: []byte("new"), Wait: lifeboatv1.Wait_WAIT_CLEARED,
	})
	if !put.GetCleared() {
		t.Error("the new version was not cleared")
	}
	for i := range 2 {
		if got, code := read(t, l.account.Client(r.Host(i)), l.account.Vault, loadName(0), put.GetRevisionToken()); string(got.GetValue()) != "new" || got.GetVersionNumber() != 2 {
			t.Errorf("host %d: %q version %d: %s", i, got.GetValue(), got.GetVersionNumber(), code)
		}
	}
	lost := do(t, l.account.Client(r.Host(1)).CreateSecret, &lifeboatv1.CreateSecretRequest{
		Vault: l.account.Vault, Name: loadName(kept), Value: []byte("again"), Wait: lifeboatv1.Wait_WAIT_CLEARED,
	})
	if got, code := read(t, l.account.Client(r.Host(0)), l.account.Vault, loadName(kept), lost.GetRevisionToken()); string(got.GetValue()) != "again" {
		t.Errorf("a name that was lost: %s", code)
	}
}

// audited checks the lines of what was done over the control socket.
func audited(t *testing.T, r *lifeboattest.Region) {
	t.Helper()
	data, err := os.ReadFile(r.Control().AuditFile())
	must(t, err)
	for _, action := range []string{"OperatorBackup", "OperatorRestore"} {
		found := false
		for line := range strings.Lines(string(data)) {
			found = found || strings.Contains(line, `"`+action+`"`) && strings.Contains(line, `"control-socket"`)
		}
		if !found {
			t.Errorf("the audit log has no line for %s", action)
		}
	}
}

// Two regions restored from one backup are two lives: neither takes the other's
// revision tokens, nor those of the origin.
func TestClonesAreStrangers(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "backup")
	r := lifeboattest.Start(t, lifeboattest.Options{})
	a := r.Account()
	made := do(t, a.Client(r.Host(0)).CreateSecret, &lifeboatv1.CreateSecretRequest{Vault: a.Vault, Name: "a", Value: []byte("a")})
	_, err := socket(t, r).Backup(t.Context(), path, nil)
	must(t, err)
	if _, err := socket(t, r).Restore(t.Context(), path, nil); !secret.HasCode(err, secret.CodeExists) {
		t.Errorf("a region that lives was restored: %v", err)
	}
	tokens := []string{made.GetRevisionToken()}
	for range 2 {
		loseStore(t, r)
		report := restored(t, r, path)
		must(t, r.Control().WaitReady(t.Context()))
		inLife(t, r, r.Control(), report)
		for _, token := range tokens {
			if _, code := read(t, a.Client(r.Host(0)), a.Vault, "a", token); code != secret.CodeUnknownIncarnation {
				t.Errorf("a token of another life: %q", code)
			}
		}
		got, _ := read(t, a.Client(r.Host(0)), a.Vault, "a", "")
		if again, code := read(t, a.Client(r.Host(0)), a.Vault, "a", got.GetRevisionToken()); string(again.GetValue()) != "a" {
			t.Errorf("a token of this life: %s", code)
		}
		tokens = append(tokens, got.GetRevisionToken())
	}
}

// A backup is verified without any process.
func TestVerifyOffline(t *testing.T) {
	t.Parallel()
	shared := lifeboattest.Start(t, lifeboattest.Options{})
	path := filepath.Join(t.TempDir(), "backup")
	made, err := socket(t, shared).Backup(t.Context(), path, nil)
	must(t, err)
	keys, err := file.Open(shared.KeyFile())
	must(t, err)
	defer func() { must(t, keys.Close()) }()
	f, err := os.Open(path)
	must(t, err)
	defer func() { must(t, f.Close()) }()
	found, err := backup.Verify(t.Context(), f, keys, nil)
	must(t, err)
	if found.ID != made.ID || found.Records != made.Records || found.Release != "test" {
		t.Errorf("found %+v, made %+v", found, made)
	}
	_, err = socket(t, shared).Backup(t.Context(), path, nil)
	if !secret.HasCode(err, secret.CodeExists) {
		t.Errorf("a backup over another: %v", err)
	}
	_, err = socket(t, shared).Backup(t.Context(), "backup", nil)
	if !secret.HasCode(err, secret.CodeInvalid) {
		t.Errorf("a relative path: %v", err)
	}
	_, err = socket(t, shared).Restore(t.Context(), path, nil)
	if !secret.HasCode(err, secret.CodeExists) {
		t.Errorf("a restore over a region: %v", err)
	}
}

// A store that is lost without any backup is made anew from a host's copy.
func TestRebuildFromReplica(t *testing.T) {
	t.Parallel()
	r := lifeboattest.Start(t, lifeboattest.Options{Hosts: 1})
	a := r.Account()
	made := do(t, a.Client(r.Control()).CreateSecret, &lifeboatv1.CreateSecretRequest{
		Vault: a.Vault, Name: "a", Value: []byte("precious"), Wait: lifeboatv1.Wait_WAIT_CLEARED,
	})
	must(t, r.Control().Stop())
	must(t, os.RemoveAll(r.Control().Dir()))
	must(t, r.Host(0).Stop())
	path := filepath.Join(t.TempDir(), "rebuilt")
	operator(t, "rebuild-from-replica", "--data-dir", r.Host(0).Dir(), "--out", path, "--kms-file", r.KeyFile())
	must(t, r.Control().Start(t.Context()))
	report := restored(t, r, path)
	must(t, r.Host(0).Start(t.Context()))
	for _, p := range r.Processes() {
		must(t, p.WaitReady(t.Context()))
		inLife(t, r, p, report)
	}
	host := a.Client(r.Host(0))
	got, code := read(t, host, a.Vault, "a", "")
	if string(got.GetValue()) != "precious" || got.GetFreshness().GetFromStore() {
		t.Errorf("the host answers %q, %s", got.GetValue(), code)
	}
	if _, code := read(t, host, a.Vault, "a", made.GetRevisionToken()); code != secret.CodeUnknownIncarnation {
		t.Errorf("the revision token from before: %q", code)
	}
	do(t, host.PutSecretVersion, &lifeboatv1.PutSecretVersionRequest{Vault: a.Vault, Secret: "a", Value: []byte("next")})
}
