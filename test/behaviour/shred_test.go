package behaviour_test

import (
	"fmt"
	"testing"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

// A shredded vault is gone everywhere at once, with all that is in it; a restart
// does not bring it back, and the sealed records go in the background.
func TestShredding(t *testing.T) {
	t.Parallel()
	const n = 120
	r := lifeboattest.Start(t, lifeboattest.Options{Hosts: 2, Configure: func(_ string, c *config.Config) { c.Keys.RecordsPerSecond = 300 }})
	a := r.Account()
	c := a.Client(r.Control())
	v := do(t, c.CreateVault, &lifeboatv1.CreateVaultRequest{Name: "doomed"}).GetVault()
	for i := range n {
		do(t, c.CreateSecret, &lifeboatv1.CreateSecretRequest{Vault: "doomed", Name: fmt.Sprint("s-", i), Value: []byte("canary-in-shreds")})
	}
	kept := create(t, c, a.Vault, "kept", "1")
	var ids []string
	for _, s := range do(t, c.ListSecrets, &lifeboatv1.ListSecretsRequest{Vault: "doomed", PageSize: 5}).GetSecrets() {
		ids = append(ids, s.GetId())
	}
	for _, p := range r.Processes() { // they have the data key in their caches
		get(t, a.Client(p), "doomed", "s-0")
	}
	made, err := r.Control().Running().Backup(t.Context(), t.TempDir()+"/backup", nil)
	must(t, err)

	shred := &lifeboatv1.ShredVaultRequest{Vault: "doomed", ConfirmName: "doomed"}
	wantShreddingRefused(t, r, shred)
	get(t, c, "doomed", "s-0")

	answer := do(t, c.ShredVault, shred)
	if answer.GetVaultId() != v.GetId() || len(answer.GetBackups()) != 1 || answer.GetBackups()[0].GetId() != made.ID {
		t.Errorf("answered %v", answer)
	}
	gone := func(c *lifeboattest.Client) { wantGone(t, c, ids) }
	for _, p := range r.Processes() {
		gone(a.Client(p))
	}
	fails(t, c.CreateSecret, &lifeboatv1.CreateSecretRequest{Vault: v.GetId(), Name: "new", Value: []byte("x")}, secret.CodeNotFound)
	must(t, r.Control().Kill()) // in the middle of the deletion, perhaps
	must(t, r.Control().Start(t.Context()))
	for _, p := range r.Processes() {
		if p != r.Control() {
			must(t, p.Restart(t.Context()))
		}
		must(t, p.WaitReady(t.Context()))
		gone(a.Client(p))
	}
	for _, p := range r.Processes() {
		wantNothingLeft(t, p, v.GetId())
		if got := get(t, a.Client(p), a.Vault, "kept"); got.GetSecretId() != kept.GetSecret().GetId() {
			t.Errorf("another vault reads %v", got)
		}
	}
	do(t, c.CreateVault, &lifeboatv1.CreateVaultRequest{Name: "doomed"}) // the name is free
}

// wantShreddingRefused: managers may not shred, unless a policy says so, and nobody
// without the vault's name.
func wantShreddingRefused(t *testing.T, r *lifeboattest.Region, shred *lifeboatv1.ShredVaultRequest) {
	t.Helper()
	c := r.Account().Client(r.Control())
	p := do(t, c.CreatePrincipal, &lifeboatv1.CreatePrincipalRequest{Name: "manager", Kind: lifeboatv1.PrincipalKind_PRINCIPAL_KIND_USER}).GetPrincipal()
	do(t, c.PutPolicy, &lifeboatv1.PutPolicyRequest{Name: "managers", Text: `permit (principal == User::"` + p.GetId() + `", action in [Action::"manage", Action::"purge", Action::"write", Action::"read"], resource);`})
	token := do(t, c.CreateToken, &lifeboatv1.CreateTokenRequest{Principal: "manager"}).GetToken()
	fails(t, r.Client(r.Control(), token).ShredVault, shred, secret.CodeDenied)
	if info := fails(t, c.ShredVault, &lifeboatv1.ShredVaultRequest{Vault: "doomed", ConfirmName: "other"}, secret.CodeInvalid); info.GetField() != "confirm_name" {
		t.Errorf("refused because of %q", info.GetField())
	}
}

func wantGone(t *testing.T, c *lifeboattest.Client, ids []string) {
	t.Helper()
	fails(t, c.GetSecretValue, reads("doomed", "s-0"), secret.CodeNotFound)
	for _, id := range ids {
		fails(t, c.GetSecretValue, &lifeboatv1.GetSecretValueRequest{Secret: id}, secret.CodeNotFound)
	}
}

func wantNothingLeft(t *testing.T, p *lifeboattest.Process, vault string) {
	t.Helper()
	eventually(t, "no record of the vault is left on "+p.ID, func() bool {
		left := 0
		must(t, p.Running().View(func(view record.View) error {
			for _, prefix := range []string{record.SecretPrefix, record.SecretNamePrefix, record.VersionPrefix, record.PurgePrefix, record.DataKeyPrefix} {
				prefix += vault + "/"
				if err := view.Scan(record.Key(prefix), record.PrefixEnd(prefix), func(record.Stored) bool { left++; return true }); err != nil {
					return err
				}
			}
			return nil
		}))
		return left == 0
	})
}
