package behaviour_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/file"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

func TestAMissingOrWrongMasterKey(t *testing.T) {
	t.Parallel()
	r := lifeboattest.Start(t, lifeboattest.Options{})
	a := r.Account()
	c, v, p := a.Client(r.Control()), a.Vault, r.Control()
	create(t, c, v, "a", "1")
	right, err := os.ReadFile(r.KeyFile())
	must(t, err)

	must(t, p.Stop())
	must(t, os.Remove(r.KeyFile()))
	if err := p.Start(t.Context()); err == nil || !strings.Contains(err.Error(), r.KeyFile()) {
		t.Fatalf("started without a key file: %v", err)
	}
	if _, err := os.Stat(r.KeyFile()); !os.IsNotExist(err) {
		t.Fatalf("a new key file was made on a region that has one: %v", err)
	}

	other := filepath.Join(t.TempDir(), "other")
	_, err = file.Create(other)
	must(t, err)
	wrong, err := os.ReadFile(other)
	must(t, err)
	must(t, os.WriteFile(r.KeyFile(), wrong, 0o600))
	must(t, p.Start(t.Context()))
	var body string
	eventually(t, "health tells of the wrong key", func() bool {
		var status int
		status, body = ready(t, r, p)
		return status == 503 && strings.Contains(body, `"keys":{"healthy":false`) && strings.Contains(body, `"store":{"healthy":true`)
	})
	if strings.Contains(body, string(wrong)) {
		t.Error("health shows the key")
	}
	fails(t, c.GetSecretValue, reads(v, "a"), secret.CodeWrongKey)
	fails(t, c.PutSecretVersion, &lifeboatv1.PutSecretVersionRequest{Vault: v, Secret: "a", Value: []byte("2")}, secret.CodeWrongKey)
	fails(t, c.CreateSecret, &lifeboatv1.CreateSecretRequest{Vault: v, Name: "b", Value: []byte("2")}, secret.CodeWrongKey)
	fails(t, c.CreateVault, &lifeboatv1.CreateVaultRequest{Name: "sealed-under-the-wrong-key"}, secret.CodeWrongKey)
	do(t, c.ListSecrets, &lifeboatv1.ListSecretsRequest{Vault: v})
	if now, err := os.ReadFile(r.KeyFile()); err != nil || string(now) != string(wrong) {
		t.Errorf("the key file was written: %v", err)
	}

	must(t, p.Stop())
	must(t, os.WriteFile(r.KeyFile(), right, 0o600))
	must(t, p.Start(t.Context()))
	must(t, p.WaitReady(t.Context()))
	if got := get(t, c, v, "a"); string(got.GetValue()) != "1" {
		t.Errorf("reads %q", got.GetValue())
	}
	put(t, c, v, "a", "2")
}
