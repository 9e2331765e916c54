package behaviour_test

import (
	"fmt"
	"sync"
	"testing"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func TestVaultsAreDeletedOnlyEmpty(t *testing.T) {
	a := account(t, shared)
	c, v := a.Client(shared.Host(0)), a.Vault
	create(t, c, v, "a", "v")
	before := do(t, c.GetVault, &lifeboatv1.GetVaultRequest{Vault: v}).GetVault()
	fails(t, c.DeleteVault, &lifeboatv1.DeleteVaultRequest{Vault: v}, secret.CodeWrongState)
	if after := do(t, c.GetVault, &lifeboatv1.GetVaultRequest{Vault: v}).GetVault(); after.String() != before.String() {
		t.Errorf("a refused deletion made %v of %v", after, before)
	}
	do(t, c.DeleteSecret, &lifeboatv1.DeleteSecretRequest{Vault: v, Secret: "a", Wait: lifeboatv1.Wait_WAIT_CLEARED})
	fails(t, c.DeleteVault, &lifeboatv1.DeleteVaultRequest{Vault: v}, secret.CodeWrongState)
	do(t, c.DeleteSecret, &lifeboatv1.DeleteSecretRequest{Vault: v, Secret: "a", Immediate: true, Wait: lifeboatv1.Wait_WAIT_CLEARED})
	do(t, c.DeleteVault, &lifeboatv1.DeleteVaultRequest{Vault: v})
	for _, p := range shared.Processes() {
		fails(t, a.Client(p).GetVault, &lifeboatv1.GetVaultRequest{Vault: v}, secret.CodeNotFound)
		fails(t, a.Client(p).ListSecrets, &lifeboatv1.ListSecretsRequest{Vault: a.VaultID}, secret.CodeNotFound)
	}
	again := do(t, c.CreateVault, &lifeboatv1.CreateVaultRequest{Name: v}).GetVault()
	if again.GetId() == a.VaultID {
		t.Error("a vault that was created again has the old one's ID")
	}
	fails(t, c.GetSecretValue, reads(v, "a"), secret.CodeNotFound)
}

func TestUpdateVault(t *testing.T) {
	a := account(t, shared)
	c := a.Client(shared.Host(0))
	text := "about"
	got := do(t, c.UpdateVault, &lifeboatv1.UpdateVaultRequest{
		Vault: a.Vault, Description: &text, SetTags: map[string]string{"a": "b"}, DefaultRetention: &lifeboatv1.Retention{MaxVersions: 2},
	}).GetVault()
	if got.GetDescription() != text || got.GetTags()["a"] != "b" || got.GetDefaultRetention().GetMaxVersions() != 2 {
		t.Errorf("updated to %v", got)
	}
	fails(t, c.UpdateVault, &lifeboatv1.UpdateVaultRequest{Vault: a.Vault, ExpectedOrder: &lifeboatv1.Order{Seq: 1}}, secret.CodeStale)
	for i := range 4 {
		if i == 0 {
			create(t, c, a.Vault, "a", "v")
		}
		put(t, c, a.Vault, "a", fmt.Sprint(i))
	}
	if n := len(describe(t, c, a.Vault, "a").GetVersions()); n != 2 {
		t.Errorf("the vault's retention leaves %d versions", n)
	}
}

// A secret is never in a vault that is gone, however creations and deletions of
// the vault meet.
func TestVaultDeletionRacesWithCreation(t *testing.T) {
	a := account(t, shared)
	c := a.Client(shared.Control())
	for round := range 8 {
		name := fmt.Sprint("race-", round)
		do(t, c.CreateVault, &lifeboatv1.CreateVaultRequest{Name: name})
		var running sync.WaitGroup
		created := make([]bool, 4)
		for i := range created {
			running.Go(func() {
				made, err := c.CreateSecret(t.Context(), ask(&lifeboatv1.CreateSecretRequest{Vault: name, Name: fmt.Sprint("s", i), Value: []byte("v")}))
				switch codeOf(err) {
				case "":
					created[i] = made.Msg.GetSecret().GetId() != ""
				case secret.CodeNotFound, secret.CodeWrongState, secret.CodeUnavailable:
				default:
					t.Error(err)
				}
			})
		}
		deleted := make([]bool, 2)
		for i := range deleted {
			running.Go(func() {
				_, err := c.DeleteVault(t.Context(), ask(&lifeboatv1.DeleteVaultRequest{Vault: name}))
				switch codeOf(err) {
				case "":
					deleted[i] = true
				case secret.CodeNotFound, secret.CodeWrongState, secret.CodeUnavailable:
				default:
					t.Error(err)
				}
			})
		}
		running.Wait()
		gone := deleted[0] || deleted[1]
		for i, ok := range created {
			if ok && gone {
				t.Errorf("round %d: secret s%d was created in a vault that is deleted", round, i)
			} else if ok {
				get(t, c, name, fmt.Sprint("s", i))
			}
		}
		if !gone {
			do(t, c.GetVault, &lifeboatv1.GetVaultRequest{Vault: name})
			create(t, c, name, "after", "v")
		}
	}
}
