package region_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1/lifeboatv1connect"
	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/pki"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/region"
)

func startOne(t *testing.T, c *config.Config) *region.Process {
	t.Helper()
	p, err := region.Start(t.Context(), region.Options{
		Config: c, Release: "test", UnsafeNoFsync: true, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	must(t, err)
	return p
}

// try repeats what fails while a process comes up.
func try(t *testing.T, what string, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		err := f(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// A damaged copy is no reason not to run: it is mended while the process does.
func TestAControlProcessStartsOnADamagedLocalStore(t *testing.T) {
	c := single(t, t.TempDir())
	prepare(t, c)
	p := startOne(t, c)
	var token string
	try(t, "initialize", func(ctx context.Context) error {
		made, err := p.Initialize(ctx)
		if err == nil {
			token = string(made.Token.Reveal())
		}
		return err
	})
	try(t, "registered", func(context.Context) error { return has(p, record.HostKey("one")) })
	must(t, p.Close())
	flip(t, filepath.Join(c.Process.DataDir, "local.db"), record.HostKey("one"))

	p = startOne(t, c)
	defer func() { must(t, p.Close()) }()
	tlsConfig, err := pki.ClientTLS(c.TLS.CAFile)
	must(t, err)
	transport := &http.Transport{TLSClientConfig: tlsConfig, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	accounts := lifeboatv1connect.NewAccountServiceClient(&http.Client{Transport: transport}, "https://"+p.Address())
	try(t, "account", func(ctx context.Context) error {
		made, err := accounts.CreateAccount(ctx, auth(token, &lifeboatv1.CreateAccountRequest{Name: "acme"}))
		if err == nil {
			token = made.Msg.GetToken()
		}
		return err
	})
	vaults := lifeboatv1connect.NewVaultServiceClient(&http.Client{Transport: transport}, "https://"+p.Address())
	try(t, "vault", func(ctx context.Context) error {
		_, err := vaults.CreateVault(ctx, auth(token, &lifeboatv1.CreateVaultRequest{Name: "payments", Wait: lifeboatv1.Wait_WAIT_CLEARED}))
		return err
	})
}

func has(p *region.Process, key record.Key) error {
	return p.View(func(view record.View) error {
		_, _, err := record.Load(view, record.Hosts, key)
		return err
	})
}

func flip(t *testing.T, path string, key record.Key) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, nil)
	must(t, err)
	must(t, db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte("records"))
		v := bytes.Clone(b.Get([]byte(key)))
		v[len(v)-1] ^= 1
		return b.Put([]byte(key), v)
	}))
	must(t, db.Close())
}
