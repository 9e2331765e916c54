package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const minimal = "region: {name: east}\nprocess: {id: east-1}\n"

func noEnv(string) (string, bool) { return "", false }

func load(t *testing.T, text string, env map[string]string) (*Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lifeboat.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(path, func(name string) (string, bool) { v, ok := env[name]; return v, ok })
}

func TestReferenceHoldsTheDefaults(t *testing.T) {
	got, err := Parse([]byte(Reference))
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Control.Addresses = []string{}
	want.Store.Embedded.InitialCluster = map[string]string{}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the reference parses to\n%+v, the defaults are\n%+v", got, want)
	}
}

func TestMinimalFile(t *testing.T) {
	c, err := load(t, minimal, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.TLS.CertFile; got != "/var/lib/lifeboat/tls/server.pem" {
		t.Errorf("tls.cert_file = %s", got)
	}
	if got := c.Store.Embedded.InitialCluster; !reflect.DeepEqual(got, map[string]string{"east-1": "127.0.0.1:2380"}) {
		t.Errorf("initial_cluster = %v", got)
	}
	if c.Reads.StoreFallbackTimeout != 500*time.Millisecond {
		t.Errorf("store_fallback_timeout = %s", c.Reads.StoreFallbackTimeout)
	}
}

func TestRefused(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"nothing", "", "region.name: must not be empty"},
		{"unknown key", minimal + "listn: {}\n", "line 3"},
		{"unknown key in the embedded store", minimal + "store:\n  embedded:\n    quota: 5\n", "line 5"},
		{"repeated key", minimal + "region: {name: west}\n", "line 3"},
		{"bad duration", minimal + "reads: {wait_cleared_timeout: 5}\n", "line 3"},
		{"short duration", minimal + "reads: {wait_cleared_timeout: 5us}\n", "reads.wait_cleared_timeout: is 5µs"},
		{"second document", minimal + "---\n" + minimal, "document"},
		{"bad role", "region: {name: east}\nprocess: {id: a, roles: [stor]}\n", `process.roles[0]: is "stor"`},
		{"both stores", minimal + "store: {embedded: {}, external: {endpoints: ['https://a:2379']}}\n", "store: has both"},
		{"external with the role store", minimal + "store: {external: {endpoints: ['https://a:2379']}}\n", "store.external: excludes the role store"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := load(t, tt.text, nil)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v; want %q in it", err, tt.want)
			}
		})
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	_, err := load(t, "region: {name: EAST}\nlog: {level: loud}\n", nil)
	for _, key := range []string{"region.name", "process.id", "log.level"} {
		if err == nil || !strings.Contains(err.Error(), key+": ") {
			t.Errorf("error %v does not name %s", err, key)
		}
	}
	if !secret.HasCode(err, secret.CodeInvalid) {
		t.Errorf("code %s", secret.CodeOf(err))
	}
}
