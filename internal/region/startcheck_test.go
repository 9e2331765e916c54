package region

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/keycache"
	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/file"
	"github.com/lifeboat-secrets/lifeboat/internal/pki"
)

// startable returns a configuration of a host whose needs are all there.
func startable(t *testing.T) *config.Config {
	t.Helper()
	dir := t.TempDir()
	c := config.Default()
	c.Region.Name = "east"
	c.Process = config.Process{ID: "host-1", DataDir: filepath.Join(dir, "data"), Roles: []config.Role{config.Host}}
	c.Listen = config.Listen{Address: "127.0.0.1:8200", PeerAddress: "127.0.0.1:8202", Advertise: "127.0.0.1:8202"}
	authority, err := pki.NewAuthority(pki.AuthorityOptions{Region: "east"})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := authority.Issue(pki.Request{Use: pki.Server, Name: "host-1", Hosts: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	c.TLS = config.TLS{CertFile: filepath.Join(dir, "server.pem"), KeyFile: filepath.Join(dir, "server-key.pem")}
	if err := pair.Save(c.TLS.CertFile, c.TLS.KeyFile); err != nil {
		t.Fatal(err)
	}
	c.KMS.File.Path = filepath.Join(dir, "kms-keys")
	if _, err := file.Create(c.KMS.File.Path); err != nil {
		t.Fatal(err)
	}
	c.Audit.Paths = []string{filepath.Join(dir, "audit.log")}
	c.Store.Embedded = nil
	c.Store.External = &config.ExternalStore{Endpoints: []string{"https://127.0.0.1:1"}}
	c.Control.Addresses = []string{"127.0.0.1:1"}
	return c
}

// find returns the need with that field and kind.
func find(t *testing.T, needs []Need, kind, field string) Need {
	t.Helper()
	i := slices.IndexFunc(needs, func(n Need) bool { return n.Kind == kind && n.Field == field })
	if i < 0 {
		t.Fatalf("there is no %s of %s in %+v", kind, field, needs)
	}
	return needs[i]
}

func TestNothingKeepsAProcessFromStarting(t *testing.T) {
	needs := StartNeeds(t.Context(), startable(t), true)
	for _, n := range needs {
		if n.Blocks() {
			t.Errorf("%+v", n)
		}
	}
	// What is away but not needed to start shows, and for what it is needed.
	if n := find(t, needs, "address", "store.external.endpoints[0]"); n.Problem == "" || n.For != ForFirstCopy {
		t.Errorf("the store is %+v", n)
	}
	if n := find(t, needs, "address", "control.addresses[0]"); n.Problem == "" || n.For != ForMutations {
		t.Errorf("the control process is %+v", n)
	}
}

func TestWhatKeepsAProcessFromStarting(t *testing.T) {
	for _, tt := range []struct {
		name, kind, field string
		change            func(*config.Config)
	}{
		{"no key of the front door", "file", "tls.key_file", func(c *config.Config) { _ = os.Remove(c.TLS.KeyFile) }},
		{"a certificate of another key", "file", "tls", func(c *config.Config) { c.TLS.KeyFile = c.TLS.CertFile }},
		{"no master keys", "key service", "kms.driver", func(c *config.Config) { _ = os.Remove(c.KMS.File.Path) }},
		{"no directory for the audit log", "directory", "audit.paths[0]", func(c *config.Config) { c.Audit.Paths = []string{"/nowhere/audit.log"} }},
		{"a file in the place of the data directory", "directory", "process.data_dir", func(c *config.Config) { c.Process.DataDir = c.TLS.CertFile }},
		{"a key service that is this region", "address", "kms.transit.address", func(c *config.Config) {
			c.KMS.Driver, c.KMS.Transit.Address, c.KMS.Transit.TokenFile = "transit", "https://127.0.0.1:8200", c.TLS.CertFile
		}},
		{"a key service that is this region on any address", "address", "kms.aws_kms.endpoint", func(c *config.Config) {
			c.KMS.Driver, c.KMS.AWS.Endpoint, c.Listen.Address = "aws-kms", "https://localhost:8200", ":8200"
		}},
		{"a key service that is a control process", "address", "kms.transit.address", func(c *config.Config) {
			c.KMS.Driver, c.KMS.Transit.Address, c.KMS.Transit.TokenFile = "transit", "https://10.0.0.1:8202", c.TLS.CertFile
			c.Control.Addresses = []string{"10.0.0.1:8202"}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := startable(t)
			tt.change(c)
			probe := c.KMS.Driver == file.Driver // no key service elsewhere is asked
			n := find(t, StartNeeds(t.Context(), c, probe), tt.kind, tt.field)
			if !n.Blocks() {
				t.Errorf("%+v does not keep it from starting", n)
			}
			if circular := c.KMS.Driver != file.Driver; (n.Circular != "") != circular {
				t.Errorf("%+v: circular, want %v", n, circular)
			}
		})
	}
}

func TestNamesAreDoubted(t *testing.T) {
	c := startable(t)
	c.Control.Addresses = []string{"control.invalid:8202"}
	c.KMS.Driver, c.KMS.Transit.Address, c.KMS.Transit.TokenFile = "transit", "https://vault.invalid", c.TLS.CertFile
	needs := StartNeeds(t.Context(), c, false)
	for _, field := range []string{"control.addresses[0]", "kms.transit.address"} {
		if n := find(t, needs, "name", field); n.Doubt == "" {
			t.Errorf("%+v", n)
		}
	}
	if n := find(t, needs, "address", "kms.transit.address"); n.What != net.JoinHostPort("vault.invalid", "443") || n.For != ForStart {
		t.Errorf("%+v", n)
	}
}

func TestSameAddress(t *testing.T) {
	for _, tt := range []struct {
		dialled, listened string
		want              bool
	}{
		{"127.0.0.1:1", "127.0.0.1:1", true}, {"127.0.0.1:1", ":1", true}, {"localhost:1", "0.0.0.0:1", true}, {"[::1]:1", "[::]:1", true},
		{"127.0.0.1:1", ":2", false}, {"10.0.0.1:1", ":1", false}, {"10.0.0.1:1", "127.0.0.1:1", false}, {"nonsense", ":1", false},
	} {
		if got := sameAddress(tt.dialled, tt.listened); got != tt.want {
			t.Errorf("%s is %s: %v, want %v", tt.dialled, tt.listened, got, tt.want)
		}
	}
}

// With keys in the sealed cache the key service is not needed to start.
func TestStartNeedsNoKeyServiceWithASealedCache(t *testing.T) {
	c := startable(t)
	seal := filepath.Join(t.TempDir(), "seal")
	c.KMS.SealedCache.KeyFile = seal
	service := func() Need {
		t.Helper()
		return find(t, StartNeeds(t.Context(), c, true), "key service", "kms.driver")
	}
	keyFile := func() Need {
		t.Helper()
		return find(t, StartNeeds(t.Context(), c, true), "file", "kms.sealed_cache.key_file")
	}
	if n := keyFile(); !n.Blocks() {
		t.Errorf("without the key file: %+v", n)
	}
	for _, err := range []error{os.WriteFile(seal, make([]byte, 32), 0o644), os.Remove(c.KMS.File.Path)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if n := keyFile(); !n.Blocks() {
		t.Errorf("with a key file for all: %+v", n)
	}
	for _, err := range []error{os.Chmod(seal, 0o600), os.Mkdir(c.Process.DataDir, 0o700)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if n := keyFile(); n.Blocks() {
		t.Errorf("with a key file: %+v", n)
	}
	if n := service(); !n.Blocks() {
		t.Errorf("with an empty cache: %+v", n)
	}
	cache, err := openKeyCache(c, nil)
	if err == nil {
		err = cache.SetIncarnation("life")
	}
	if err != nil {
		t.Fatal(err)
	}
	cache.Add(cache.Seal(keycache.ID{Scope: "s", Generation: 1}, kms.Wrapped{MasterKey: "m", Bytes: []byte("w")}, make([]byte, 32), time.Now()))
	if err := cache.Write(); err != nil {
		t.Fatal(err)
	}
	if n := service(); n.Blocks() || n.Problem == "" || n.For != ForMutations {
		t.Errorf("with a key in the cache: %+v", n)
	}
}
