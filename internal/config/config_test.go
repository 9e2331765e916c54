package config

import (
	"errors"
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
	want.Control.Addresses, want.Peers, want.Rotators = []string{}, []Peer{}, []Rotator{}
	want.Store.Embedded.InitialCluster = map[string]string{}
	want.KMS.PKCS11.OlderKeys, want.KMS.Transit.OlderKeys, want.KMS.AWS.OlderKeys = []string{}, []string{}, []string{}
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
		{"embedded without the role store", "region: {name: east}\nprocess: {id: a, roles: [host]}\n", "store.embedded: needs the role store"},
		{"embedded named without the role store", "region: {name: east}\nprocess: {id: a, roles: [control]}\nstore: {embedded: {}}\n", "store.embedded: needs the role store"},
		{"host without control", "region: {name: east}\nprocess: {id: a, roles: [host]}\nstore: {external: {endpoints: ['https://a:2379']}}\n", "control.addresses: must not be empty"},
		{"control elsewhere without a peer address", minimal + "control: {addresses: ['a:1']}\n", "listen.peer_address: must not be empty"},
		{"several processes without peer TLS", minimal + "listen: {peer_address: 'a:1'}\n", "tls.peer: listen.peer_address needs tls.peer"},
		{"store beyond the loopback without peer TLS", minimal + "store: {embedded: {client_address: '10.0.0.1:2379'}}\n", "tls.peer: store.embedded.client_address"},
		{"store members without peer TLS", minimal + "store: {embedded: {peer_address: '10.0.0.1:2380'}}\n", "tls.peer: store.embedded.peer_address"},
		{"deleted records looked for all the time", minimal + "replication: {collect_every: 10ms}\n", "replication.collect_every: is 10ms"},
		{"peers asked for too long", minimal + "replication: {ask_peers_for: 11m}\n", "replication.ask_peers_for: is 11m"},
		{"a policy without peers that is none", minimal + "replication: {when_no_peer_answers: wait}\n", `replication.when_no_peer_answers: is "wait"; allowed are serve, refuse`},
		{"half of peer TLS", minimal + "tls: {peer: {cert_file: a}}\n", "tls.peer.ca_file: must not be empty"},
		{"a vault that is none", minimal + "aws: {vault: 'a/b'}\n", "aws.vault: has the character"},
		{"two regions of one name", minimal + "aws: {region_names: {east: us-1, west: us-1}}\n", "as another region is"},
		{"a rotator without a name", minimal + "rotators: [{url: 'https://r', key_file: k}]\n", "rotators[0].name: must be like arn:"},
		{"a rotator in the clear", minimal + "rotators: [{name: 'arn:aws:lambda:e:0:f', url: 'http://r', key_file: k}]\n", "rotators[0].url: is http beyond the loopback"},
		{"a rotator without a key", minimal + "rotators: [{name: 'arn:aws:lambda:e:0:f', url: 'https://r'}]\n", "rotators[0].key_file: must not be empty"},
		{"a rotator twice", minimal + "rotators: [{name: 'arn:aws:lambda:e:0:f', url: 'https://r', key_file: k}, {name: 'arn:aws:lambda:e:0:f', url: 'https://r', key_file: k}]\n", "rotators[1].name: is that of another"},
		{"a rotator that takes for ever", minimal + "rotators: [{name: 'arn:aws:lambda:e:0:f', url: 'https://r', key_file: k, timeout: 1h}]\n", "rotators[0].timeout: is"},
		{"cluster without this member", minimal + "store: {embedded: {initial_cluster: {b: '127.0.0.1:1'}}}\n", `store.embedded.initial_cluster: lacks this member, "east-1"`},
		{"cluster with another address", minimal + "store: {embedded: {initial_cluster: {east-1: '127.0.0.1:1'}}}\n", "store.embedded.initial_cluster: says 127.0.0.1:1"},
		{"advertise of all addresses", minimal + "listen: {peer_address: ':1', advertise: '0.0.0.0:1'}\n", "listen.advertise: is"},
		{"no advertise for all addresses", minimal + "listen: {peer_address: ':1'}\n", "listen.advertise: is"},
		{"advertise alone", minimal + "listen: {advertise: 'a:1'}\n", "listen.peer_address: must not be empty"},
		{"address without a port", minimal + "listen: {address: localhost}\n", "listen.address: is"},
		{"plain http to a store elsewhere", "region: {name: east}\nprocess: {id: a, roles: [control]}\nstore: {external: {endpoints: ['http://a:2379']}}\n", "store.external.endpoints[0]: is http"},
		{"password in a URL", "region: {name: east}\nprocess: {id: a, roles: [control]}\nstore: {external: {endpoints: ['https://u:hunter2@a:2379']}}\n", "store.external.endpoints[0]: is not a URL"},
		{"user without a password", "region: {name: east}\nprocess: {id: a, roles: [control]}\nstore: {external: {endpoints: ['https://a:2379'], username: u}}\n", "store.external.username: and password_file"},
		{"small quota", minimal + "store: {embedded: {quota_bytes: 5}}\n", "store.embedded.quota_bytes: is 5"},
		{"prefix", minimal + "store: {prefix: lifeboat}\n", "store.prefix: is"},
		{"role twice", "region: {name: east}\nprocess: {id: a, roles: [store, store, control]}\n", "process.roles[1]: store is listed twice"},
		{"no data directory", "region: {name: east}\nprocess: {id: a, data_dir: ''}\n", "process.data_dir: must not be empty"},
		{"no roles", "region: {name: east}\nprocess: {id: a, roles: []}\n", "process.roles: must not be empty"},
		{"three audit files", minimal + "audit: {paths: [a, b, c]}\n", "audit.paths: has 3 entries"},
		{"audit file twice", minimal + "audit: {paths: [a, a]}\n", "audit.paths: names the same file twice"},
		{"same audit file, written differently", minimal + "audit: {paths: [a, /var/lib/lifeboat/a]}\n", "audit.paths: names the same file twice"},
		{"rate without burst", minimal + "limits: {per_vault: {requests_per_second: 5}}\n", "limits.per_vault.burst: must be at least 1"},
		{"rate that is no number", minimal + "limits: {per_account: {requests_per_second: .nan, burst: 1}}\n", "limits.per_account.requests_per_second: must be"},
		{"key service", minimal + "kms: {driver: cloud}\n", `kms.driver: is "cloud"; allowed are file, pkcs11, transit, aws-kms`},
		{"HSM without a token", minimal + "kms: {driver: pkcs11, pkcs11: {module: /lib.so, key: k}}\n", "kms.pkcs11.token: must not be empty"},
		{"HSM without sessions", minimal + "kms: {driver: pkcs11, pkcs11: {module: /lib.so, token: t, key: k, sessions: 0}}\n", "kms.pkcs11.sessions: is 0"},
		{"transit without an address", minimal + "kms: {driver: transit, transit: {key: k}}\n", "kms.transit.address: must not be empty"},
		{"transit without time", minimal + "kms: {driver: transit, transit: {address: 'https://a', key: k, timeout: 0s}}\n", "kms.transit.timeout: is 0s"},
		{"AWS KMS without a key", minimal + "kms: {driver: aws-kms}\n", "kms.aws_kms.key: must not be empty"},
		{"sealed cache without a path", minimal + "kms: {sealed_cache: {path: ''}}\n", "kms.sealed_cache.path: must not be empty"},
		{"sealed cache beside its key file", minimal + "kms: {sealed_cache: {key_file: /var/lib/lifeboat/../lifeboat/key}}\n", "kms.sealed_cache.key_file: must not be inside process.data_dir"},
		{"sealed cache that is its key file", minimal + "kms: {sealed_cache: {path: /k, key_file: /k}}\n", "kms.sealed_cache.key_file: must not be kms.sealed_cache.path"},
		{"relative key file", minimal + "kms: {sealed_cache: {key_file: key}}\n", "kms.sealed_cache.key_file: must be an absolute path"},
		{"sealed cache for too short", minimal + "kms: {sealed_cache: {max_age: 59s}}\n", "kms.sealed_cache.max_age: is 59s"},
		{"sealed cache for too long", minimal + "kms: {sealed_cache: {max_age: 169h}}\n", "kms.sealed_cache.max_age: is 169h"},
		{"traces to no URL", minimal + "traces: {otlp_endpoint: 'otel:4318'}\n", "traces.otlp_endpoint: is not a URL"},
		{"traces in the clear", minimal + "traces: {otlp_endpoint: 'http://otel:4318/v1/traces'}\n", "traces.otlp_endpoint: is http beyond the loopback"},
		{"too many traces", minimal + "traces: {sample_ratio: 2}\n", "traces.sample_ratio: is 2"},
		{"id with a space", "region: {name: east}\nprocess: {id: a b}\n", "process.id: has the character"},
		{"long id", "region: {name: east}\nprocess: {id: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}\n", "process.id: is 33 bytes long"},
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

func TestEnvironmentOverrides(t *testing.T) {
	c, err := load(t, "# all from the environment\n", map[string]string{
		"LIFEBOAT_REGION_NAME": "west", "LIFEBOAT_PROCESS_ID": "w1", "LIFEBOAT_DATA_DIR": "/data",
		"LIFEBOAT_LISTEN_ADDRESS": ":1", "LIFEBOAT_LISTEN_ADMIN_ADDRESS": "", "LIFEBOAT_LISTEN_ADVERTISE": "", "LIFEBOAT_LISTEN_PEER_ADDRESS": "",
		"LIFEBOAT_LISTEN_REGION_ADDRESS": "", "LIFEBOAT_LISTEN_REGION_ADVERTISE": "",
		"LIFEBOAT_LOG_LEVEL": "debug", "LIFEBOAT_LOG_FORMAT": "json",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Region.Name, want.Process.ID, want.Process.DataDir = "west", "w1", "/data"
	want.Listen = Listen{Address: ":1"}
	want.Log = Log{Level: "debug", Format: "json"}
	want.TLS = TLS{CertFile: "/data/tls/server.pem", KeyFile: "/data/tls/server-key.pem", CAFile: "/data/tls/ca.pem", ClientCertificates: true, ExpiryWarning: 504 * time.Hour}
	want.KMS.File.Path, want.KMS.SealedCache.Path = "/data/kms-keys", "/data/key-cache"
	want.KMS.PKCS11.PINFile, want.KMS.Transit.TokenFile = "/data/kms-pin", "/data/kms-token"
	want.Audit.Paths = []string{"/data/audit.log"}
	want.Store.Embedded.Name = "w1"
	want.Store.Embedded.InitialCluster = map[string]string{"w1": "127.0.0.1:2380"}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got\n%+v, want\n%+v", c, want)
	}
}

// TestReferenceNamesTheEnvironment shows that no override is undocumented.
func TestReferenceNamesTheEnvironment(t *testing.T) {
	for name := range environment(Default()) {
		if !strings.Contains(Reference, name) {
			t.Errorf("the reference does not name %s", name)
		}
	}
}

// TestReferenceNamesEveryKey shows that no field is undocumented, those of an
// external store included, which the reference has as comments.
func TestReferenceNamesEveryKey(t *testing.T) {
	var walk func(reflect.Type)
	walk = func(st reflect.Type) {
		if st.Kind() == reflect.Pointer {
			st = st.Elem()
		}
		if st.Kind() != reflect.Struct {
			return
		}
		for f := range st.Fields() {
			key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			if f.Type.Kind() == reflect.Slice {
				walk(f.Type.Elem())
			}
			if key == "" || !strings.Contains(Reference, " "+key+":") && !strings.Contains(Reference, "\n"+key+":") {
				t.Errorf("the reference lacks %s.%s (%q)", st.Name(), f.Name, key)
			}
			walk(f.Type)
		}
	}
	walk(reflect.TypeFor[Config]())
}

// TestThreeProcesses is the file of one of three equal processes of a region.
func TestThreeProcesses(t *testing.T) {
	c, err := load(t, `
region: {name: east}
process: {id: east-2}
listen: {peer_address: "10.0.0.2:8202"}
tls: {peer: {cert_file: /tls/peer.pem, key_file: /tls/peer-key.pem, ca_file: /tls/peer-ca.pem}}
store:
  embedded:
    client_address: "10.0.0.2:2379"
    peer_address: "10.0.0.2:2380"
    initial_cluster: {east-1: "10.0.0.1:2380", east-2: "10.0.0.2:2380", east-3: "10.0.0.3:2380"}
control: {addresses: ["10.0.0.1:8202", "10.0.0.2:8202", "10.0.0.3:8202"]}
audit: {paths: [/logs/audit.log, audit-fallback.log], sync: interval}
`, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.Store.Embedded.QuotaBytes != 8<<30 || c.Listen.Advertise != "10.0.0.2:8202" || c.Audit.Paths[1] != "/var/lib/lifeboat/audit-fallback.log" || c.TLS.Peer.CertFile != "/tls/peer.pem" {
		t.Errorf("got %+v", c)
	}
}

// TestKeyServices shows that the section of another driver does not count.
func TestKeyServices(t *testing.T) {
	for _, section := range []string{
		"driver: pkcs11, pkcs11: {module: /lib.so, token: t, key: new, older_keys: [old], pin_file: /run/pin}",
		"driver: transit, transit: {address: 'https://vault.example:8200', key: lifeboat}",
		"driver: aws-kms, aws_kms: {key: alias/lifeboat}",
	} {
		c, err := load(t, minimal+"kms: {"+section+", file: {path: ''}}\n", nil)
		if err != nil {
			t.Errorf("%s: %v", section, err)
		} else if got := c.KMS.Transit.TokenFile; got != "/var/lib/lifeboat/kms-token" {
			t.Errorf("kms.transit.token_file = %s", got)
		}
	}
}

func TestMissingFile(t *testing.T) {
	if _, err := Load(filepath.Join(t.TempDir(), "none.yaml"), noEnv); !os.IsNotExist(errors.Unwrap(err)) {
		t.Errorf("error %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(Reference))
	f.Add([]byte(minimal))
	f.Add([]byte("store: {embedded: ~, external: {endpoints: [&a b, *a]}}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse(data)
		if err != nil {
			return
		}
		if c.Store.Embedded == nil && c.Store.External == nil {
			t.Error("no store")
		}
		if c.Validate() == nil {
			if err := c.resolve(); err != nil {
				t.Error(err)
			}
		}
	})
}
