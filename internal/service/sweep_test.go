package service_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

const day = 24 * time.Hour

func (h *harness) sweep(want service.Swept) {
	h.t.Helper()
	got, err := h.Sweep(h.t.Context())
	if err != nil || got != want {
		h.t.Fatalf("swept %+v, %v; want %+v", got, err, want)
	}
}

func ref(name string) service.SecretRef { return service.SecretRef{Vault: "v", Secret: name} }

func TestSecretsArePurgedWhenTheirTimeHasCome(t *testing.T) {
	h := start(t)
	for name, window := range map[string]time.Duration{"soon": 7 * day, "later": 8 * day, "restored": 7 * day} {
		h.create(service.NewSecret{Name: name})
		_, err := h.DeleteSecret(h.ctx(), service.Deletion{SecretRef: ref(name), Window: window})
		must(t, err)
	}
	h.create(service.NewSecret{Name: "live"})
	_, err := h.RestoreSecret(h.ctx(), service.Restoration{SecretRef: ref("restored")})
	must(t, err)
	h.sweep(service.Swept{})
	h.pass(7*day - time.Second)
	h.sweep(service.Swept{})
	h.pass(time.Second)
	h.sweep(service.Swept{Purged: 1})
	h.sweep(service.Swept{})
	if n := h.audited(`"action":"SweepSecret"`, `"outcome":"ok"`, `"principal":"lifeboat-sweep"`); n != 1 {
		t.Errorf("%d audit lines for one purge", n)
	}
	if _, err := h.DescribeSecret(h.ctx(), ref("soon"), service.RevisionToken{}); !secret.HasCode(err, secret.CodeNotFound) {
		t.Errorf("a purged secret: %v", err)
	}
	for _, name := range []string{"later", "restored", "live"} {
		_, err := h.DescribeSecret(h.ctx(), ref(name), service.RevisionToken{})
		must(t, err)
	}
	h.create(service.NewSecret{Name: "soon"})
	h.pass(day)
	h.sweep(service.Swept{Purged: 1})
}

func TestOldVersionsArePruned(t *testing.T) {
	h := start(t)
	h.create(service.NewSecret{Name: "a", Retention: secret.Retention{MaxAge: 10 * day}})
	h.create(service.NewSecret{Name: "forever"})
	for i := range 4 {
		h.pass(day)
		for _, name := range []string{"a", "forever"} {
			_, err := h.PutSecretVersion(h.ctx(), service.NewValue{SecretRef: ref(name), Value: secret.NewPlaintext(fmt.Append(nil, i))})
			must(t, err)
		}
	}
	h.pass(10*day - 3*day)
	h.sweep(service.Swept{Pruned: 1}) // the first is eleven days old, the second ten
	h.sweep(service.Swept{})
	h.pass(100 * day)
	h.sweep(service.Swept{Pruned: 2})
	d, err := h.DescribeSecret(h.ctx(), ref("a"), service.RevisionToken{})
	must(t, err)
	if n := len(d.Secret.Versions); n != 2 { // CURRENT and PREVIOUS
		t.Errorf("%d versions are left", n)
	}
	versions := 0
	must(t, h.shard.snapshot().Scan(record.VersionPrefix, record.PrefixEnd(record.VersionPrefix), func(record.Stored) bool {
		versions++
		return true
	}))
	if versions != 2+5 {
		t.Errorf("%d version records are left", versions)
	}
	d, err = h.DescribeSecret(h.ctx(), ref("forever"), service.RevisionToken{})
	must(t, err)
	if n := len(d.Secret.Versions); n != 5 {
		t.Errorf("%d versions of a secret without an age limit", n)
	}
}

func TestDeadCredentialsGoADayLater(t *testing.T) {
	h := start(t)
	expiring, _, err := h.CreateToken(h.ctx(), service.NewCredential{ExpiresAt: h.now().Add(time.Hour)})
	must(t, err)
	revoked, _, err := h.CreateToken(h.ctx(), service.NewCredential{})
	must(t, err)
	_, err = h.RevokeCredential(h.ctx(), revoked.ID)
	must(t, err)
	h.pass(day)
	h.sweep(service.Swept{})
	h.pass(time.Second)
	h.sweep(service.Swept{Credentials: 1})
	h.pass(time.Hour)
	h.sweep(service.Swept{Credentials: 1})
	for _, id := range []secret.CredentialID{expiring.ID, revoked.ID} {
		if _, ok, _ := h.shard.snapshot().Get(record.CredentialKey(id)); ok {
			t.Errorf("credential %s is left", id)
		}
	}
	left, _, err := h.ListCredentials(h.ctx(), "", "", 0, "")
	if err != nil || len(left) != 1 {
		t.Errorf("left are %v, %v", left, err)
	}
}

// A secret that is restored after the sweep has found it is not purged.
func TestASweepPurgesNothingThatWasRestoredMeanwhile(t *testing.T) {
	h := start(t)
	h.create(service.NewSecret{Name: "a"})
	_, err := h.DeleteSecret(h.ctx(), service.Deletion{SecretRef: ref("a"), Window: 7 * day})
	must(t, err)
	h.pass(7 * day)
	h.shard.beforeCommit = func(record.Txn) {
		h.shard.mu.Lock()
		h.shard.beforeCommit = nil
		h.shard.mu.Unlock()
		_, err := h.RestoreSecret(h.ctx(), service.Restoration{SecretRef: ref("a")})
		must(t, err)
	}
	h.sweep(service.Swept{})
	_, err = h.GetSecretValue(h.ctx(), service.ValueRef{SecretRef: ref("a")})
	must(t, err)
}

// A deletion of a vault counts only if nothing was created behind its back, even
// if the mark was taken off and put on again meanwhile.
func TestAVaultIsNotDeletedBehindANewMark(t *testing.T) {
	h := start(t)
	vault, err := h.GetVault(h.ctx(), "v")
	must(t, err)
	setState := func(state secret.State) {
		v := vault.Clone()
		v.State = state
		var txn record.Txn
		txn.Put(record.VaultKey(v.ID), record.Vaults.Encode(v))
		_, err := h.shard.Commit(t.Context(), txn)
		must(t, err)
	}
	commits := 0
	h.shard.beforeCommit = func(record.Txn) {
		if commits++; commits != 2 { // the first is the mark, the second the removal
			return
		}
		setState(secret.Active)
		h.create(service.NewSecret{Name: "a"})
		setState(secret.PendingDeletion)
	}
	if err := h.DeleteVault(h.ctx(), "v"); !secret.HasCode(err, secret.CodeWrongState) {
		t.Fatalf("deleted: %v", err)
	}
	if _, err := h.GetSecretValue(h.ctx(), service.ValueRef{SecretRef: ref("a")}); err != nil {
		t.Errorf("the secret in it: %v", err)
	}
}
