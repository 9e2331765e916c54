package behaviour_test

import (
	"testing"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/file"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

// A vault may name its own master key, when it is made and later.
func TestAVaultNamesItsMasterKey(t *testing.T) {
	t.Parallel()
	r := lifeboattest.Start(t, lifeboattest.Options{Hosts: 1})
	a := r.Account()
	c := a.Client(r.Control())
	payments, err := file.AddKey(r.KeyFile(), "payments")
	must(t, err)
	wrappedBy := func(vault, id string) {
		t.Helper()
		for _, k := range dataKeys(t, c, vault).GetKeys() {
			if (k.GetMasterKey() == payments) != (id == payments) {
				t.Errorf("a data key of %s is wrapped by %s", vault, k.GetMasterKey())
			}
		}
	}
	info := fails(t, c.CreateVault, &lifeboatv1.CreateVaultRequest{Name: "v", Key: "missing"}, secret.CodeWrongKey)
	if info.GetField() != "key" {
		t.Errorf("the error is about the field %q", info.GetField())
	}
	fails(t, c.GetVault, &lifeboatv1.GetVaultRequest{Vault: "v"}, secret.CodeNotFound)
	made := do(t, c.CreateVault, &lifeboatv1.CreateVaultRequest{Name: "v", Key: "payments"})
	if made.GetVault().GetKey() != "payments" {
		t.Errorf("made %v", made)
	}
	wrappedBy("v", payments)
	create(t, c, "v", "a", "1")
	get(t, a.Client(r.Host(0)), "v", "a")

	create(t, c, a.Vault, "b", "2")
	wrappedBy(a.Vault, "")
	name, missing := "payments", "missing"
	fails(t, c.UpdateVault, &lifeboatv1.UpdateVaultRequest{Vault: a.Vault, Key: &missing}, secret.CodeWrongKey)
	wrappedBy(a.Vault, "")
	if v := do(t, c.UpdateVault, &lifeboatv1.UpdateVaultRequest{Vault: a.Vault, Key: &name}).GetVault(); v.GetKey() != name {
		t.Errorf("updated %v", v)
	}
	wrappedBy(a.Vault, payments)
	do(t, c.RotateDataKey, &lifeboatv1.RotateDataKeyRequest{Vault: a.Vault})
	rotated(t, c, a.Vault, 2, true)
	wrappedBy(a.Vault, payments)

	// The rotation of the region's own key leaves them, that of theirs does not.
	masterRotated(t, r.Operator(), do(t, r.Operator().RotateMasterKey, &lifeboatv1.RotateMasterKeyRequest{}))
	wrappedBy("v", payments)
	masterRotated(t, r.Operator(), do(t, r.Operator().RotateMasterKey, &lifeboatv1.RotateMasterKeyRequest{Key: "payments"}))
	wrappedBy("v", "")
	for _, p := range r.Processes() {
		must(t, p.Restart(t.Context()))
		get(t, a.Client(p), "v", "a")
		get(t, a.Client(p), a.Vault, "b")
	}
	none := ""
	do(t, c.UpdateVault, &lifeboatv1.UpdateVaultRequest{Vault: "v", Key: &none})
	own := keyStatus(t, r.Operator()).GetMasterKeys()
	for _, k := range dataKeys(t, c, "v").GetKeys() {
		for _, m := range own {
			if m.GetId() == k.GetMasterKey() && !m.GetOwn() {
				t.Errorf("a data key is wrapped by %s", m.GetId())
			}
		}
	}
}

// A data key that was changed in the store is told from a missing master key, also
// over every protocol.
func TestAChangedDataKeyIsTampering(t *testing.T) {
	t.Parallel()
	r := lifeboattest.Start(t, lifeboattest.Options{})
	a := r.Account()
	c, v := a.Client(r.Control()), a.Vault
	create(t, c, v, "a", "1")
	shard := r.Shard(t)
	key := record.DataKeyKey(a.VaultID, 1)
	change := func(how func(*recordpb.DataKey)) {
		stored, _, err := record.Load(shard.View(t.Context()), record.DataKeys, key)
		must(t, err)
		how(stored)
		var txn record.Txn
		txn.Put(key, record.DataKeys.Encode(stored))
		_, err = shard.Commit(t.Context(), txn)
		must(t, err)
	}
	change(func(k *recordpb.DataKey) { k.Wrapped[len(k.Wrapped)-1] ^= 1 })
	must(t, r.Control().Restart(t.Context()))
	c = a.Client(r.Control())
	fails(t, c.GetSecretValue, reads(v, "a"), secret.CodeTampered)
	change(func(k *recordpb.DataKey) { k.Wrapped[len(k.Wrapped)-1] ^= 1 })
	eventually(t, "the data key is as it was", func() bool {
		_, err := c.GetSecretValue(t.Context(), ask(reads(v, "a")))
		return err == nil
	})
	begun := do(t, c.RotateDataKey, &lifeboatv1.RotateDataKeyRequest{Vault: v})
	if begun.GetRunning() {
		t.Error("a rotation was under way")
	}
	rotated(t, c, v, 2, true)
}
