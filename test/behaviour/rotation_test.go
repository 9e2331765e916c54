package behaviour_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

func dataKeys(t testing.TB, c *lifeboattest.Client, vault string) *lifeboatv1.GetDataKeysResponse {
	t.Helper()
	return do(t, c.GetDataKeys, &lifeboatv1.GetDataKeysRequest{Vault: vault})
}

// rotated waits until the last rotation of a vault has ended, and its older
// generations are retired if that is wanted.
func rotated(t testing.TB, c *lifeboattest.Client, vault string, generation uint32, retired bool) *lifeboatv1.DataKeyRotation {
	t.Helper()
	var r *lifeboatv1.DataKeyRotation
	eventually(t, "the rotation ends", func() bool {
		r = dataKeys(t, c, vault).GetRotation()
		return r.GetGeneration() == generation && r.GetFinishedAt() != nil && (!retired || r.GetRetiredAt() != nil)
	})
	return r
}

// fill makes n secrets with a description, metadata and two versions.
func fill(t testing.TB, c *lifeboattest.Client, vault string, n int) {
	t.Helper()
	for i := range n {
		name := fmt.Sprint("filled-", i)
		do(t, c.CreateSecret, &lifeboatv1.CreateSecretRequest{
			Vault: vault, Name: name, Value: []byte("first"), Description: "description of " + name, Metadata: map[string]string{"name": name},
		})
		do(t, c.PutSecretVersion, &lifeboatv1.PutSecretVersionRequest{Vault: vault, Secret: name, Value: []byte("value of " + name)})
	}
}

// checkFilled reads all that fill made.
func checkFilled(t testing.TB, c *lifeboattest.Client, vault string, n int) {
	t.Helper()
	for i := range n {
		name := fmt.Sprint("filled-", i)
		if got := string(get(t, c, vault, name).GetValue()); got != "value of "+name {
			t.Errorf("%s reads %q", name, got)
		}
		first := do(t, c.GetSecretValue, &lifeboatv1.GetSecretValueRequest{Vault: vault, Secret: name, Stage: "PREVIOUS"})
		if got := string(first.GetValue()); got != "first" {
			t.Errorf("the first version of %s reads %q", name, got)
		}
		s := describe(t, c, vault, name)
		if s.GetDescription() != "description of "+name || s.GetMetadata()["name"] != name {
			t.Errorf("%s is described as %v", name, s)
		}
		if s.GetOwnership().GetOrder().GetSeq() != 2 {
			t.Errorf("%s has the order %v, though only two mutations were made", name, s.GetOwnership().GetOrder())
		}
	}
}

// While a data key is rotated, callers read and write without an error, orders
// stay, and the older generation goes only when every host has what replaced it.
func TestRotationOfADataKeyUnderLoad(t *testing.T) {
	t.Parallel()
	const n = 120
	r := lifeboattest.Start(t, lifeboattest.Options{Hosts: 2, Configure: func(_ string, c *config.Config) {
		c.Keys.RecordsPerSecond = 300
	}})
	a := r.Account()
	c, v := a.Client(r.Control()), a.Vault
	fill(t, c, v, n)
	create(t, c, v, "busy", "0")

	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	for i, p := range r.Processes() {
		load.Go(func() { // readers of what is being sealed again
			c := a.Client(p)
			for k := i; ctx.Err() == nil; k++ {
				name := fmt.Sprint("filled-", k%n)
				answer, err := c.GetSecretValue(t.Context(), ask(&lifeboatv1.GetSecretValueRequest{Vault: v, Secret: name}))
				if err != nil || string(answer.Msg.GetValue()) != "value of "+name {
					t.Errorf("read of %s on %s during the rotation: %v", name, p.ID, err)
					return
				}
			}
		})
	}
	writes := 0
	load.Go(func() {
		for ; ctx.Err() == nil; writes++ {
			if _, err := c.PutSecretVersion(t.Context(), ask(&lifeboatv1.PutSecretVersionRequest{Vault: v, Secret: "busy", Value: fmt.Append(nil, writes)})); err != nil {
				t.Errorf("write during the rotation: %v", err)
				return
			}
			if _, err := c.UpdateSecret(t.Context(), ask(&lifeboatv1.UpdateSecretRequest{Vault: v, Secret: "busy", SetTags: map[string]string{"n": fmt.Sprint(writes)}})); err != nil {
				t.Errorf("update during the rotation: %v", err)
				return
			}
		}
	})
	begun := do(t, c.RotateDataKey, &lifeboatv1.RotateDataKeyRequest{Vault: v})
	if begun.GetRotation().GetGeneration() != 2 || begun.GetRunning() {
		t.Errorf("began %v", begun)
	}
	done := rotated(t, c, v, 2, true)
	stop()
	load.Wait()
	if done.GetResealed() < 3*n || done.GetFailed() != 0 || done.GetTotal() < done.GetResealed() {
		t.Errorf("the rotation says %v", done)
	}
	if writes == 0 {
		t.Error("nothing was written meanwhile")
	}
	t.Logf("%d writes during %s", writes, done.GetFinishedAt().AsTime().Sub(done.GetStartedAt().AsTime()))
	keys := dataKeys(t, c, v).GetKeys()
	if len(keys) != 2 || keys[0].GetGeneration() != 0 || keys[1].GetGeneration() != 2 || !keys[1].GetActive() {
		t.Errorf("data keys after the rotation: %v", keys)
	}
	for _, p := range r.Processes() {
		checkFilled(t, a.Client(p), v, n)
	}
	for _, p := range r.Processes() { // nothing depends on a cached key
		must(t, p.Restart(t.Context()))
	}
	checkFilled(t, a.Client(r.Host(1)), v, n)
}

// A process that ends in the middle of a rotation leaves it to be finished.
func TestARotationGoesOnAfterARestart(t *testing.T) {
	t.Parallel()
	const n = 150
	rate := 40
	r := lifeboattest.Start(t, lifeboattest.Options{Configure: func(_ string, c *config.Config) { c.Keys.RecordsPerSecond = rate }})
	a := r.Account()
	c, v := a.Client(r.Control()), a.Vault
	fill(t, c, v, n)
	do(t, c.RotateDataKey, &lifeboatv1.RotateDataKeyRequest{Vault: v})
	if again := do(t, c.RotateDataKey, &lifeboatv1.RotateDataKeyRequest{Vault: v}); !again.GetRunning() || again.GetRotation().GetGeneration() != 2 {
		t.Errorf("a second rotation began: %v", again)
	}
	eventually(t, "the rotation is half done", func() bool { return dataKeys(t, c, v).GetRotation().GetLookedAt() >= 100 })
	if half := dataKeys(t, c, v).GetRotation(); half.GetFinishedAt() != nil || half.GetTotal() != 3*n {
		t.Errorf("the rotation is at %v", half)
	}
	must(t, r.Control().Kill())
	rate = 10_000
	must(t, r.Control().Start(t.Context()))
	must(t, r.Control().WaitReady(t.Context()))
	done := rotated(t, c, v, 2, true)
	if done.GetResealed() != 3*n || done.GetLookedAt() != 3*n {
		t.Errorf("the rotation says %v, there are %d records", done, 3*n)
	}
	checkFilled(t, c, v, n)
}

// An older generation is kept while a registered host or a backup needs it, and
// who asks is told which.
func TestWhatKeepsADataKey(t *testing.T) {
	t.Parallel()
	kept := 3 * time.Second
	r := lifeboattest.Start(t, lifeboattest.Options{Hosts: 2, Configure: func(_ string, c *config.Config) { c.Keys.BackupsKeptFor = kept }})
	a := r.Account()
	c, v := a.Client(r.Control()), a.Vault
	fill(t, c, v, 3)
	must(t, r.Host(1).Stop())
	do(t, c.RotateDataKey, &lifeboatv1.RotateDataKeyRequest{Vault: v})
	rotated(t, c, v, 2, false)
	retire := &lifeboatv1.RetireDataKeysRequest{Vault: a.VaultID}
	fails(t, c.RetireDataKeys, retire, secret.CodeDenied)
	contains(t, failsWith(t, r.Operator().RetireDataKeys, retire, secret.CodeKeyInUse), "host host-2 has not applied the rotation")
	if all := do(t, r.Operator().RetireDataKeys, &lifeboatv1.RetireDataKeysRequest{}).GetRetired(); len(all) != 1 || len(all[0].GetNeededBy()) != 1 {
		t.Errorf("of the region is retired: %v", all)
	}
	checkFilled(t, c, v, 3)
	must(t, r.Host(1).Start(t.Context()))
	rotated(t, c, v, 2, true)

	made, err := r.Control().Running().Backup(t.Context(), t.TempDir()+"/backup", nil)
	must(t, err)
	do(t, c.RotateDataKey, &lifeboatv1.RotateDataKeyRequest{Vault: v})
	rotated(t, c, v, 3, false)
	eventually(t, "the hosts have the rotation", func() bool {
		_, err := r.Operator().RetireDataKeys(t.Context(), ask(retire))
		return err == nil || codeOf(err) == secret.CodeKeyInUse && !containsText(err.Error(), "host-")
	})
	if _, err := r.Operator().RetireDataKeys(t.Context(), ask(retire)); err != nil {
		contains(t, err.Error(), "backup "+made.ID)
	} else if time.Since(made.CreatedAt) < kept {
		t.Error("a generation was retired that a backup needs")
	}
	eventually(t, "the backup is past its time", func() bool {
		_, err := r.Operator().RetireDataKeys(t.Context(), ask(retire))
		return err == nil
	})
	checkFilled(t, c, v, 3)
}

// What seals access keys is an account's data key.
func TestRotationOfAnAccountsDataKey(t *testing.T) {
	t.Parallel()
	r := lifeboattest.Start(t, lifeboattest.Options{})
	a := r.Account()
	c := a.Client(r.Control())
	for range 3 {
		do(t, c.CreateAccessKey, &lifeboatv1.CreateAccessKeyRequest{Principal: "admin"})
	}
	do(t, c.RotateDataKey, &lifeboatv1.RotateDataKeyRequest{Account: a.Name})
	of := &lifeboatv1.GetDataKeysRequest{Account: a.ID}
	eventually(t, "the rotation ends", func() bool { return do(t, c.GetDataKeys, of).GetRotation().GetRetiredAt() != nil })
	if got := do(t, c.GetDataKeys, of); got.GetRotation().GetResealed() != 3 || len(got.GetKeys()) != 2 {
		t.Errorf("data keys of the account: %v", got)
	}
	fails(t, c.RotateDataKey, &lifeboatv1.RotateDataKeyRequest{}, secret.CodeInvalid)
	fails(t, c.RotateDataKey, &lifeboatv1.RotateDataKeyRequest{Account: a.ID, Vault: a.Vault}, secret.CodeInvalid)
	fails(t, c.RotateDataKey, &lifeboatv1.RotateDataKeyRequest{Vault: "missing"}, secret.CodeNotFound)
}

// A data key is rotated when it has sealed often enough.
func TestADataKeyThatSealedOftenIsRotated(t *testing.T) {
	t.Parallel()
	r := lifeboattest.Start(t, lifeboattest.Options{Configure: func(_ string, c *config.Config) { c.Keys.RotateDataKeysAfter = 40 }})
	a := r.Account()
	c, v := a.Client(r.Control()), a.Vault
	fill(t, c, v, 15)
	must(t, r.Control().Restart(t.Context())) // it counts what it sealed when it stops
	eventually(t, "the data key is rotated", func() bool { return dataKeys(t, c, v).GetRotation().GetRetiredAt() != nil })
	checkFilled(t, c, v, 15)
}
