package behaviour_test

import (
	"bytes"
	"crypto/rand"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

// cachedRegion is a region of a control process and a host that keep their data
// keys over a restart, and whose key service can be taken away.
type cachedRegion struct {
	*lifeboattest.Region
	on    atomic.Bool
	ahead atomic.Int64 // of the clock of data keys
	away  string       // where the key file of the key service goes
}

func startCached(t *testing.T) *cachedRegion {
	t.Helper()
	key := filepath.Join(t.TempDir(), "seal")
	content := make([]byte, 32)
	_, _ = rand.Read(content)
	must(t, os.WriteFile(key, content, 0o600))
	r := &cachedRegion{}
	r.on.Store(true)
	r.Region = lifeboattest.Start(t, lifeboattest.Options{
		Hosts: 1,
		Now:   func() time.Time { return time.Now().Add(time.Duration(r.ahead.Load())) },
		Configure: func(id string, c *config.Config) {
			c.KMS.SealedCache.Path = filepath.Join(c.Process.DataDir, "key-cache")
			if r.on.Load() {
				c.KMS.SealedCache.KeyFile = key
			}
		},
	})
	r.away = r.KeyFile() + "-away"
	return r
}

func (r *cachedRegion) takeAway(t *testing.T)  { t.Helper(); must(t, os.Rename(r.KeyFile(), r.away)) }
func (r *cachedRegion) bringBack(t *testing.T) { t.Helper(); must(t, os.Rename(r.away, r.KeyFile())) }

func cacheFile(p *lifeboattest.Process) string { return filepath.Join(p.Dir(), "key-cache") }

func (r *cachedRegion) refuses(t *testing.T, p *lifeboattest.Process, why string) {
	t.Helper()
	if err := p.Start(t.Context()); err == nil || !strings.Contains(err.Error(), why) || !strings.Contains(err.Error(), r.KeyFile()) {
		t.Errorf("starting: %v; want %q", err, why)
	}
}

// A host starts and answers while the key service is away, until its keys are too
// old; it goes on as usual once that is back.
func TestARestartWhileTheKeyServiceIsAway(t *testing.T) {
	t.Parallel()
	r := startCached(t)
	a, p := r.Account(), r.Host(0)
	c, v := a.Client(p), a.Vault
	create(t, a.Client(r.Control()), v, "a", "canary-in-the-cache")
	get(t, c, v, "a")
	r.takeAway(t)
	must(t, p.Restart(t.Context()))
	if got := get(t, c, v, "a"); string(got.GetValue()) != "canary-in-the-cache" {
		t.Errorf("reads %q", got.GetValue())
	}
	data, err := os.ReadFile(cacheFile(p))
	must(t, err)
	if bytes.Contains(data, []byte("canary")) || !bytes.Contains(data, []byte(a.VaultID)) {
		t.Error("the cache holds a value, or no key of the vault")
	}
	eventually(t, "health warns", func() bool {
		status, body := ready(t, r.Region, p)
		return status == http.StatusOK && strings.Contains(body, `"sealed key cache":{"healthy":true,"warning":true`) && strings.Contains(body, `"keys":{"healthy":false`)
	})
	put(t, c, v, "a", "2") // the control process has its keys
	must(t, r.Control().Restart(t.Context()))
	put(t, c, v, "a", "3")
	fails(t, c.CreateVault, &lifeboatv1.CreateVaultRequest{Name: "new"}, secret.CodeKeyUnavailable)

	r.ahead.Store(int64(24 * time.Hour))
	fails(t, c.GetSecretValue, reads(v, "a"), secret.CodeKeyUnavailable)
	eventually(t, "health tells that the keys are too old", func() bool {
		status, body := ready(t, r.Region, p)
		return status == http.StatusServiceUnavailable && strings.Contains(body, `"sealed key cache":{"healthy":false`)
	})
	must(t, p.Stop())
	r.refuses(t, p, "sealed key cache is too old")
	r.ahead.Store(0)

	r.bringBack(t)
	must(t, p.Start(t.Context()))
	must(t, p.WaitReady(t.Context()))
	get(t, c, v, "a")
	eventually(t, "the control process finds the key service", func() bool {
		_, err := a.Client(r.Control()).CreateVault(t.Context(), ask(&lifeboatv1.CreateVaultRequest{Name: "new"}))
		return err == nil
	})
	eventually(t, "health is as usual", func() bool {
		_, body := ready(t, r.Region, p)
		return strings.Contains(body, `"keys":{"healthy":true`) && strings.Contains(body, `"sealed key cache":{"healthy":true,"detail"`)
	})

	must(t, p.Stop())
	r.on.Store(false)
	r.takeAway(t)
	r.refuses(t, p, "no key file")
	if _, err := os.Stat(cacheFile(p)); !os.IsNotExist(err) {
		t.Errorf("the cache is still there: %v", err)
	}
}

// The keys of a vault that was shredded while a host was down leave its file.
func TestAShreddedVaultLeavesTheSealedCache(t *testing.T) {
	t.Parallel()
	r := startCached(t)
	a, p := r.Account(), r.Host(0)
	c, h := a.Client(r.Control()), a.Client(p)
	doomed := do(t, c.CreateVault, &lifeboatv1.CreateVaultRequest{Name: "doomed"}).GetVault().GetId()
	create(t, c, "doomed", "a", "1")
	create(t, c, a.Vault, "a", "1")
	get(t, h, "doomed", "a")
	get(t, h, a.Vault, "a")
	has := func(p *lifeboattest.Process) bool {
		data, err := os.ReadFile(cacheFile(p))
		return err == nil && bytes.Contains(data, []byte(doomed))
	}
	eventually(t, "the control process's cache is written", func() bool { return has(r.Control()) })
	must(t, p.Stop())
	if !has(p) {
		t.Fatal("the host's cache has no key of the vault")
	}
	do(t, c.ShredVault, &lifeboatv1.ShredVaultRequest{Vault: "doomed", ConfirmName: "doomed"})
	eventually(t, "the control process's cache has no key of the vault", func() bool { return !has(r.Control()) })
	r.takeAway(t)
	must(t, p.Start(t.Context()))
	must(t, p.WaitReady(t.Context()))
	get(t, h, a.Vault, "a")
	eventually(t, "the vault is gone", func() bool {
		_, err := h.GetSecretValue(t.Context(), ask(reads("doomed", "a")))
		return codeOf(err) == secret.CodeNotFound
	})
	must(t, p.Stop()) // the file is written
	if p.Running() == nil && has(p) {
		must(t, p.Start(t.Context()))
		eventually(t, "the host's cache has no key of the vault", func() bool { return !has(p) })
	}
}

func TestASealedCacheThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	r := startCached(t)
	a, p := r.Account(), r.Host(0)
	c := a.Client(p)
	create(t, a.Client(r.Control()), a.Vault, "a", "1")
	get(t, c, a.Vault, "a")
	must(t, p.Stop())
	data, err := os.ReadFile(cacheFile(p))
	must(t, err)
	data[len(data)/2] ^= 1
	must(t, os.WriteFile(cacheFile(p), data, 0o600))
	r.takeAway(t)
	r.refuses(t, p, "sealed key cache fails its check")
	r.bringBack(t)
	must(t, p.Start(t.Context()))
	must(t, p.WaitReady(t.Context()))
	if _, body := ready(t, r.Region, p); !strings.Contains(body, `"sealed key cache":{"healthy":`) {
		t.Errorf("health says %s", body)
	}
	get(t, c, a.Vault, "a")
	eventually(t, "the cache is written anew", func() bool {
		_, body := ready(t, r.Region, p)
		return strings.Contains(body, `"sealed key cache":{"healthy":true`)
	})
}
