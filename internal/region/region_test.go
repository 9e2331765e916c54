package region_test

import (
	"context"
	"log/slog"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"connectrpc.com/connect"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1/lifeboatv1connect"
	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/file"
	"github.com/lifeboat-secrets/lifeboat/internal/pki"
	"github.com/lifeboat-secrets/lifeboat/internal/region"
)

// single returns the configuration of a region of one process.
func single(t *testing.T, dir string) *config.Config {
	t.Helper()
	c := config.Default()
	c.Region.Name, c.Process.ID, c.Process.DataDir = "east", "one", dir
	c.Listen.Address, c.Listen.AdminAddress = "127.0.0.1:0", "127.0.0.1:0"
	c.Store.Embedded.ClientAddress, c.Store.Embedded.PeerAddress = "", ""
	c.Store.Embedded.Name = "one"
	c.TLS.CertFile, c.TLS.KeyFile, c.TLS.CAFile = filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem"), filepath.Join(dir, "ca.pem")
	c.KMS.File.Path = filepath.Join(dir, "kms")
	c.Audit.Paths = []string{filepath.Join(dir, "audit.log")}
	return c
}

func prepare(t testing.TB, c *config.Config) {
	t.Helper()
	ca, err := pki.NewAuthority(pki.AuthorityOptions{Region: c.Region.Name})
	must(t, err)
	pair, err := ca.Issue(pki.Request{Use: pki.Server, Name: "one", Hosts: []string{"127.0.0.1"}})
	must(t, err)
	must(t, pair.Save(c.TLS.CertFile, c.TLS.KeyFile))
	must(t, pki.WriteFile(c.TLS.CAFile, ca.CertPEM()))
	_, err = file.Create(c.KMS.File.Path)
	must(t, err)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestOneProcess(t *testing.T) {
	c := single(t, t.TempDir())
	prepare(t, c)
	p, err := region.Start(t.Context(), region.Options{Config: c, Release: "test", Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	must(t, err)
	defer func() { must(t, p.Close()) }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var token string
	for {
		made, err := p.Initialize(ctx)
		if err == nil {
			token = string(made.Token.Reveal())
			break
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	tlsConfig, err := pki.ClientTLS(c.TLS.CAFile)
	must(t, err)
	h := &http.Client{Transport: &http.Transport{TLSClientConfig: tlsConfig, ForceAttemptHTTP2: true}}
	url := "https://" + p.Address()
	accounts := lifeboatv1connect.NewAccountServiceClient(h, url)
	var made *connect.Response[lifeboatv1.CreateAccountResponse]
	for {
		made, err = accounts.CreateAccount(ctx, auth(token, &lifeboatv1.CreateAccountRequest{Name: "acme"}))
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	token = made.Msg.GetToken()
	vaults := lifeboatv1connect.NewVaultServiceClient(h, url)
	v, err := vaults.CreateVault(ctx, auth(token, &lifeboatv1.CreateVaultRequest{Name: "payments"}))
	must(t, err)
	if !v.Msg.GetCleared() {
		t.Fatal("vault not cleared")
	}
	secrets := lifeboatv1connect.NewSecretServiceClient(h, url)
	s, err := secrets.CreateSecret(ctx, auth(token, &lifeboatv1.CreateSecretRequest{Vault: "payments", Name: "db/password", Value: []byte("hunter2"), Wait: lifeboatv1.Wait_WAIT_CLEARED}))
	must(t, err)
	t.Log(s.Msg)
	got, err := secrets.GetSecretValue(ctx, auth(token, &lifeboatv1.GetSecretValueRequest{Vault: "payments", Secret: "db/password", RevisionToken: s.Msg.GetRevisionToken()}))
	must(t, err)
	if string(got.Msg.GetValue()) != "hunter2" {
		t.Fatal("another value")
	}
	start := time.Now()
	for range 1000 {
		_, err := secrets.GetSecretValue(ctx, auth(token, &lifeboatv1.GetSecretValueRequest{Vault: "payments", Secret: "db/password"}))
		must(t, err)
	}
	t.Log("read", time.Since(start)/1000)
	start = time.Now()
	for range 200 {
		_, err := secrets.PutSecretVersion(ctx, auth(token, &lifeboatv1.PutSecretVersionRequest{Vault: "payments", Secret: "db/password", Value: []byte("hunter3")}))
		must(t, err)
	}
	t.Log("write", time.Since(start)/200)
	list, err := secrets.ListSecrets(ctx, auth(token, &lifeboatv1.ListSecretsRequest{Vault: "payments"}))
	must(t, err)
	t.Log(list.Msg)
}

func auth[T any](token string, m *T) *connect.Request[T] {
	r := connect.NewRequest(m)
	r.Header().Set("Authorization", "Bearer "+token)
	return r
}
