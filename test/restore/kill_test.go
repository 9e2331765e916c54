package restore_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
	"github.com/lifeboat-secrets/lifeboat/internal/backup"
	"github.com/lifeboat-secrets/lifeboat/internal/controlsocket"
	"github.com/lifeboat-secrets/lifeboat/internal/keyring"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/file"
	"github.com/lifeboat-secrets/lifeboat/internal/localregion"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
	"github.com/lifeboat-secrets/lifeboat/internal/store"
)

// madeBackup is a backup, under a region's master key, of another region of that
// name that has n records more than an empty one; token is its operator's.
func madeBackup(t *testing.T, keyFile, path string, n int) (token client.Value) {
	t.Helper()
	e, err := store.StartEmbedded(t.Context(), store.EmbeddedOptions{
		Name: "one", Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler), UnsafeNoFsync: true,
	})
	must(t, err)
	defer func() { must(t, e.Close()) }()
	keys, err := file.Open(keyFile)
	must(t, err)
	ring := keyring.New(keyring.Options{Wrapper: keys})
	defer func() { must(t, errors.Join(ring.Close(), keys.Close())) }()
	shard := store.Open(store.Options{Client: e.Client(), Prefix: "lifeboat/base/"})
	made, err := service.Initialize(t.Context(), shard, ring, "east", time.Now())
	must(t, err)
	for i := 0; i < n; {
		var txn record.Txn
		for ; i < n && len(txn.Writes) < store.MaxOps; i++ {
			txn.Put(record.SecretNameKey("v", fmt.Sprintf("%07d", i)), record.EncodeReference("v.x"))
		}
		_, err := shard.Commit(t.Context(), txn)
		must(t, err)
	}
	_, err = backup.WriteFile(t.Context(), path, backup.WriteOptions{Source: shard, Keys: keys, Release: "test"})
	must(t, err)
	return client.NewValue(string(made.Token.Reveal()))
}

// shortDir is for a region: the path of a socket is bounded.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lb-")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	return dir
}

// The control process is killed with kill -9 in the middle of a restore: what is
// there then is no region, and the same command finishes.
func TestKillDuringRestore(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	r, err := localregion.Plan(localregion.Options{Dir: filepath.Join(dir, "r"), Hosts: 1})
	must(t, err)
	t.Cleanup(func() { must(t, r.Close()) })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must(t, r.StartChildren(ctx, os.Args[0]))
	path := filepath.Join(dir, "backup")
	token := madeBackup(t, filepath.Join(dir, "r", "kms-keys"), path, 12_000)
	control := r.Processes()[0]
	must(t, control.Kill())
	must(t, os.RemoveAll(filepath.Join(filepath.Dir(control.SocketPath()), "store")))
	must(t, control.Start(ctx))

	killed := make(chan error, 1)
	err = whenUp(t, func(c *controlsocket.Client) error {
		_, err := c.Restore(ctx, path, func(p backup.Progress) {
			if p.Step == backup.Restoring && len(killed) == 0 {
				killed <- control.Kill()
			}
		})
		return err
	}, control)
	if err == nil {
		t.Fatal("the restore ended before the process was killed")
	}
	must(t, <-killed)
	must(t, control.Start(ctx))
	err = whenUp(t, func(c *controlsocket.Client) error {
		_, err := c.Initialize(ctx)
		return err
	}, control)
	if !secret.HasCode(err, secret.CodeExists) {
		t.Fatalf("a half restored store was initialised: %v", err)
	}
	report := restoreByCommand(t, filepath.Dir(control.SocketPath()), path)
	if !report.Resumed || report.RestoreEpoch != 2 || report.Backup.Kinds["secret-name"] != 12_000 {
		t.Errorf("report %+v", report)
	}
	must(t, r.WaitReady(ctx))
	for _, p := range r.Processes() {
		operates(t, r, p, token, report)
	}
}

// operates checks that a token of the backup works in the new life.
func operates(t *testing.T, r *localregion.Region, p *localregion.Process, token client.Value, report backup.Report) {
	t.Helper()
	c, err := r.Client(p, token)
	must(t, err)
	defer c.Close()
	eventually(t, func() error {
		status, err := c.GetStatus(t.Context(), &lifeboatv1.GetStatusRequest{})
		if err == nil && status.GetIncarnation() != string(report.Incarnation) {
			err = fmt.Errorf("%s is in life %s", p.ID, status.GetIncarnation())
		}
		return err
	})
}

// whenUp asks a process that may still be starting.
func whenUp(t *testing.T, ask func(*controlsocket.Client) error, p *localregion.Process) (err error) {
	t.Helper()
	c := controlsocket.New(p.SocketPath())
	defer c.Close()
	eventually(t, func() error {
		if err = ask(c); secret.HasCode(err, secret.CodeUnavailable) {
			return err
		}
		return nil
	})
	return err
}

// restoreByCommand restores, and verifies first, as an operator does.
func restoreByCommand(t *testing.T, dataDir, path string) (report backup.Report) {
	t.Helper()
	keyFile := filepath.Join(filepath.Dir(dataDir), "kms-keys")
	if out := operator(t, "verify", path, "--kms-file", keyFile); !bytes.Contains(out, []byte("12000 secret-name")) {
		t.Errorf("verify prints:\n%s", out)
	}
	must(t, json.Unmarshal(operator(t, "restore", path, "--data-dir", dataDir, "-o", "json"), &report))
	return report
}

// operator runs a command of operators, which must succeed.
func operator(t *testing.T, args ...string) []byte {
	t.Helper()
	var out, errs bytes.Buffer
	c := exec.CommandContext(t.Context(), os.Args[0], append([]string{"operator"}, args...)...)
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, errs.String())
	}
	return out.Bytes()
}
