package behaviour_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"sync"
	"testing"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/file"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

func keyStatus(t testing.TB, c *lifeboattest.Client) *lifeboatv1.GetKeyStatusResponse {
	t.Helper()
	return do(t, c.GetKeyStatus, &lifeboatv1.GetKeyStatusRequest{})
}

// masterRotated waits until the rotation that began has ended: what a process shows
// may be the one before.
func masterRotated(t testing.TB, c *lifeboattest.Client, began *lifeboatv1.RotateMasterKeyResponse) *lifeboatv1.MasterKeyRotation {
	t.Helper()
	var r *lifeboatv1.MasterKeyRotation
	eventually(t, "the rotation ends", func() bool {
		r = keyStatus(t, c).GetMasterKeyRotation()
		return r.GetFinishedAt() != nil && r.GetStartedAt().AsTime().Equal(began.GetRotation().GetStartedAt().AsTime())
	})
	return r
}

// While the master key is rotated callers read and write without an error, also
// those that watch; afterwards nothing needs the old one but backups.
func TestRotationOfTheMasterKeyUnderLoad(t *testing.T) {
	t.Parallel()
	r := lifeboattest.Start(t, lifeboattest.Options{Hosts: 1, Configure: func(_ string, c *config.Config) { c.Keys.DataKeysPerSecond = 40 }})
	a := r.Account()
	c, v, operator := a.Client(r.Control()), a.Vault, r.Operator()
	create(t, c, v, "a", "1")
	for i := range 12 {
		do(t, c.CreateVault, &lifeboatv1.CreateVaultRequest{Name: fmt.Sprint("v-", i)})
	}
	before := keyStatus(t, operator)
	if len(before.GetMasterKeys()) != 1 || !before.GetMasterKeys()[0].GetOwn() || before.GetMasterKeys()[0].GetDataKeys() != 2*before.GetScopes() {
		t.Errorf("status before: %v", before)
	}
	old := before.GetMasterKeys()[0].GetId()
	made, err := r.Control().Running().Backup(t.Context(), t.TempDir()+"/backup", nil)
	must(t, err)

	watching, endWatch := context.WithCancel(t.Context())
	defer endWatch()
	watch, err := c.WatchSecrets(watching, ask(&lifeboatv1.WatchSecretsRequest{Vault: v}))
	must(t, err)
	stop := readAndWrite(t, r, "a")
	began := do(t, operator.RotateMasterKey, &lifeboatv1.RotateMasterKeyRequest{})
	if began.GetRunning() || began.GetRotation().GetMasterKey() == old {
		t.Errorf("began %v", began)
	}
	done := masterRotated(t, operator, began)
	if done.GetRewrapped() != 2*before.GetScopes() || done.GetFailed() != 0 {
		t.Errorf("the rotation says %v; there were %d data keys", done, 2*before.GetScopes())
	}
	stop()
	last := put(t, c, v, "a", "last").GetVersion().GetId()
	for seen := ""; seen != last; seen = watch.Msg().GetEvent().GetVersionId() {
		if !watch.Receive() {
			t.Fatalf("the watch ended: %v", watch.Err())
		}
	}
	after := map[string]*lifeboatv1.MasterKeyUse{}
	for _, m := range keyStatus(t, operator).GetMasterKeys() {
		after[m.GetId()] = m
	}
	now := began.GetRotation().GetMasterKey()
	if len(after) != 2 || after[old].GetDataKeys() != 0 || after[old].GetBackups() != 1 || after[old].GetOwn() || !after[now].GetOwn() || after[now].GetBackups() != 0 {
		t.Errorf("status after: %v", after)
	}
	if made.MasterKeys[old] == 0 {
		t.Errorf("the backup needs %v", made.MasterKeys)
	}
	for _, p := range r.Processes() {
		must(t, p.Restart(t.Context()))
		get(t, a.Client(p), v, "a")
	}
	fails(t, c.RotateMasterKey, &lifeboatv1.RotateMasterKeyRequest{}, secret.CodeDenied)
	fails(t, c.GetKeyStatus, &lifeboatv1.GetKeyStatusRequest{}, secret.CodeDenied)
}

// readAndWrite uses a secret on every process until it is told to stop.
func readAndWrite(t *testing.T, r *lifeboattest.Region, name string) (stop func()) {
	t.Helper()
	a := r.Account()
	ctx, cancel := context.WithCancel(t.Context())
	var load sync.WaitGroup
	for _, p := range r.Processes() {
		load.Go(func() {
			c := a.Client(p)
			for n := 0; ctx.Err() == nil; n++ {
				if _, err := c.GetSecretValue(t.Context(), ask(reads(a.Vault, name))); err != nil {
					t.Errorf("read on %s during the rotation: %v", p.ID, err)
					return
				}
				if _, err := c.PutSecretVersion(t.Context(), ask(&lifeboatv1.PutSecretVersionRequest{Vault: a.Vault, Secret: name, Value: fmt.Append(nil, n)})); err != nil {
					t.Errorf("write on %s during the rotation: %v", p.ID, err)
					return
				}
			}
		})
	}
	return func() {
		cancel()
		load.Wait()
	}
}

// A rotation that was interrupted goes on, and what another process was given by
// hand is taken up without making a key.
func TestARotationOfTheMasterKeyGoesOnAfterARestart(t *testing.T) {
	t.Parallel()
	rate := 5
	r := lifeboattest.Start(t, lifeboattest.Options{Configure: func(_ string, c *config.Config) { c.Keys.DataKeysPerSecond = rate }})
	a, operator := r.Account(), r.Operator()
	c := a.Client(r.Control())
	for i := range 10 {
		do(t, c.CreateVault, &lifeboatv1.CreateVaultRequest{Name: fmt.Sprint("v-", i)})
	}
	create(t, c, a.Vault, "a", "1")
	id, err := file.AddKey(r.KeyFile(), "")
	must(t, err)
	began := do(t, operator.RotateMasterKey, &lifeboatv1.RotateMasterKeyRequest{RewrapOnly: true})
	if began.GetRotation().GetMasterKey() != id {
		t.Errorf("rotates to %v, the key file has %s", began, id)
	}
	eventually(t, "some data keys are wrapped again", func() bool { return len(keyStatus(t, operator).GetMasterKeys()) == 2 })
	must(t, r.Control().Kill())
	rate = 1000
	must(t, r.Control().Start(t.Context()))
	must(t, r.Control().WaitReady(t.Context()))
	masterRotated(t, operator, began)
	if m := keyStatus(t, operator).GetMasterKeys(); len(m) != 1 || m[0].GetId() != id || !m[0].GetOwn() {
		t.Errorf("master keys: %v", m)
	}
	before, err := os.ReadFile(r.KeyFile())
	must(t, err)
	again := do(t, operator.RotateMasterKey, &lifeboatv1.RotateMasterKeyRequest{RewrapOnly: true})
	if n := masterRotated(t, operator, again).GetRewrapped(); n != 0 {
		t.Errorf("%d data keys were wrapped again for nothing", n)
	}
	if now, err := os.ReadFile(r.KeyFile()); err != nil || !bytes.Equal(now, before) {
		t.Errorf("a key was made: %v", err)
	}
	fails(t, operator.RotateMasterKey, &lifeboatv1.RotateMasterKeyRequest{Key: "missing"}, secret.CodeWrongKey)
}
