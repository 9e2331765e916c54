package operations_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"connectrpc.com/connect"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/controlsocket"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

// bundleOf returns the files of a process's support bundle.
func bundleOf(t *testing.T, p *lifeboattest.Process) map[string]string {
	t.Helper()
	socket := controlsocket.New(p.SocketPath())
	defer socket.Close()
	var b bytes.Buffer
	must(t, socket.SupportBundle(t.Context(), &b))
	unzipped, err := gzip.NewReader(&b)
	must(t, err)
	files := map[string]string{}
	for archive := tar.NewReader(unzipped); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		must(t, err)
		content, err := io.ReadAll(archive)
		must(t, err)
		files[filepath.Base(header.Name)] = string(content)
	}
}

// What a region has done, with values, texts and credentials all over, leaves
// nothing of them in the bundles of its processes.
func TestSupportBundleHoldsNoSecrets(t *testing.T) {
	t.Parallel()
	r := lifeboattest.Start(t, lifeboattest.Options{Hosts: 1, Configure: func(_ string, c *config.Config) {
		c.Log.Level = "debug"
		c.Traces.OTLPEndpoint = "http://user:canary-password-77aa@127.0.0.1:1/v1/traces?key=canary-password-77aa"
	}})
	a, err := r.NewAccount(t.Context(), "canary-account-77aa")
	must(t, err)
	c := a.Client(r.Host(0))
	const value, description, name = "canary-value-77aa", "canary-description-77aa", "canary-name-77aa"
	_, err = c.CreateSecret(t.Context(), connect.NewRequest(&lifeboatv1.CreateSecretRequest{
		Vault: a.Vault, Name: name, Value: []byte(value), Description: description, Wait: lifeboatv1.Wait_WAIT_CLEARED,
	}))
	must(t, err)
	_, err = c.GetSecretValue(t.Context(), connect.NewRequest(&lifeboatv1.GetSecretValueRequest{Vault: a.Vault, Secret: name}))
	must(t, err)
	_, _ = r.Client(r.Host(0), "lbt_canary-token-77aa").GetSecretValue(t.Context(), connect.NewRequest(&lifeboatv1.GetSecretValueRequest{Vault: a.Vault, Secret: name}))

	secrets := []string{value, description, name, "77aa", c.Token, r.OperatorToken()}
	for _, token := range []string{c.Token, r.OperatorToken()} {
		secrets = append(secrets, token[strings.LastIndex(token, "_")+1:])
	}
	secrets = append(secrets, piecesOf(t, r)...)
	for _, s := range secrets[:4:4] {
		secrets = append(secrets, base64.StdEncoding.EncodeToString([]byte(s))[:8])
	}
	for _, p := range r.Processes() {
		files := bundleOf(t, p)
		for _, want := range []string{"about.json", "config.yaml", "health.json", "status.json", "metrics.txt", "goroutines.txt", "log.txt", "local-store.json", "store.json", "files.txt"} {
			if len(files[want]) < 20 || strings.Contains(files[want], "not complete") {
				t.Errorf("%s of %s is %q", want, p.ID, files[want])
			}
		}
		for name, content := range files {
			for _, s := range secrets {
				if strings.Contains(content, s) {
					t.Errorf("%s of %s holds %q", name, p.ID, s)
				}
			}
		}
		if !strings.Contains(files["log.txt"], "msg=ready") || !strings.Contains(files["config.yaml"], "127.0.0.1:1/v1/traces") {
			t.Errorf("the bundle of %s says too little", p.ID)
		}
	}
	line, err := os.ReadFile(r.Control().AuditFile())
	must(t, err)
	if !bytes.Contains(line, []byte("OperatorSupportBundle")) {
		t.Error("the bundle was not audited")
	}
}

// piecesOf returns lines of the files of keys of a region.
func piecesOf(t *testing.T, r *lifeboattest.Region) (pieces []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(r.Dir(), "*", "*-key.pem"))
	must(t, err)
	for _, name := range append(files, r.KeyFile()) {
		data, err := os.ReadFile(name)
		must(t, err)
		for line := range strings.Lines(string(data)) {
			if line = strings.Trim(line, " \",\n"); len(line) > 30 && !strings.HasPrefix(line, "-----") {
				if i := strings.LastIndexAny(line, " :\""); i > 0 && len(line)-i > 30 {
					line = line[i+1:]
				}
				pieces = append(pieces, line)
			}
		}
	}
	if len(pieces) < 5 {
		t.Fatalf("only %d lines of keys were found", len(pieces))
	}
	return pieces
}

// A bundle is made also when most of what it asks is away.
func TestSupportBundleOfABrokenRegion(t *testing.T) {
	t.Parallel()
	r := lifeboattest.Start(t, lifeboattest.Options{Hosts: 1})
	must(t, r.Control().Kill())
	files := bundleOf(t, r.Host(0))
	if !strings.Contains(files["health.json"], `"healthy": false`) || !strings.Contains(files["store.json"], `"error"`) {
		t.Errorf("health: %s\nstore: %s", files["health.json"], files["store.json"])
	}
}
