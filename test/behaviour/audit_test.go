package behaviour_test

import (
	"bytes"
	"encoding/base64"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/controlsocket"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

// ready returns what /readyz says of one check.
func ready(t testing.TB, r *lifeboattest.Region, p *lifeboattest.Process) (status int, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.AdminURL()+"/readyz", nil)
	must(t, err)
	answer, err := http.DefaultClient.Do(request)
	must(t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	must(t, err)
	return answer.StatusCode, string(text)
}

// A region whose audit log is a link to a device that is full, and that can be
// made to be a file again.
func TestNothingHappensThatCannotBeAudited(t *testing.T) {
	t.Parallel()
	link := filepath.Join(t.TempDir(), "audit")
	good := filepath.Join(t.TempDir(), "good")
	point := func(target string) {
		_ = os.Remove(link)
		must(t, os.Symlink(target, link))
	}
	point(good)
	r := lifeboattest.Start(t, lifeboattest.Options{Configure: func(_ string, c *config.Config) { c.Audit.Paths = []string{link} }})
	a := r.Account()
	c, v := a.Client(r.Control()), a.Vault
	create(t, c, v, "a", "1")
	socket := controlsocket.New(r.Control().SocketPath())
	defer socket.Close()
	point("/dev/full")
	if err := socket.ReopenAudit(t.Context()); !secret.HasCode(err, secret.CodeOutcomeUnknown) {
		t.Errorf("opening a file that is full answers %v", err)
	}
	eventually(t, "the audit log is full", func() bool {
		_, err := c.GetSecretValue(t.Context(), ask(reads(v, "a")))
		return codeOf(err) == secret.CodeAuditUnavailable
	})
	refusesAll(t, r, c, v, socket)

	point(good)
	must(t, socket.ReopenAudit(t.Context()))
	eventually(t, "the audit log recovers", func() bool {
		_, err := c.GetSecretValue(t.Context(), ask(reads(v, "a")))
		return err == nil
	})
	d := describe(t, c, v, "a")
	if d.GetOwnership().GetOrder().GetSeq() != 1 {
		t.Errorf("refused mutations changed the secret: %v", d)
	}
	fails(t, c.DescribeSecret, &lifeboatv1.DescribeSecretRequest{Vault: v, Secret: "b"}, secret.CodeNotFound)
	if n := len(do(t, c.ListCredentials, &lifeboatv1.ListCredentialsRequest{}).GetCredentials()); n != 1 {
		t.Errorf("%d credentials", n)
	}
	lines, err := os.ReadFile(good)
	must(t, err)
	if !bytes.Contains(lines, []byte("audit:Gap")) {
		t.Error("no line says that requests were refused")
	}
}

// refusesAll asks for one of everything that cannot be audited.
func refusesAll(t *testing.T, r *lifeboattest.Region, c *lifeboattest.Client, v string, socket *controlsocket.Client) {
	t.Helper()
	fails(t, c.GetSecretValue, reads(v, "a"), secret.CodeAuditUnavailable)
	fails(t, c.DescribeSecret, &lifeboatv1.DescribeSecretRequest{Vault: v, Secret: "a"}, secret.CodeAuditUnavailable)
	fails(t, c.ListSecrets, &lifeboatv1.ListSecretsRequest{Vault: v}, secret.CodeAuditUnavailable)
	fails(t, c.BatchGetSecretValues, &lifeboatv1.BatchGetSecretValuesRequest{Vault: v, Secrets: []string{"a"}}, secret.CodeAuditUnavailable)
	fails(t, c.CreateSecret, &lifeboatv1.CreateSecretRequest{Vault: v, Name: "b", Value: []byte("x")}, secret.CodeAuditUnavailable)
	fails(t, c.PutSecretVersion, &lifeboatv1.PutSecretVersionRequest{Vault: v, Secret: "a", Value: []byte("x")}, secret.CodeAuditUnavailable)
	fails(t, c.DeleteSecret, &lifeboatv1.DeleteSecretRequest{Vault: v, Secret: "a", Immediate: true}, secret.CodeAuditUnavailable)
	fails(t, c.CreateToken, &lifeboatv1.CreateTokenRequest{}, secret.CodeAuditUnavailable)
	fails(t, c.DeleteVault, &lifeboatv1.DeleteVaultRequest{Vault: v}, secret.CodeAuditUnavailable)
	if _, err := tryRecover(t, r.Control(), time.Hour); !secret.HasCode(err, secret.CodeAuditUnavailable) {
		t.Errorf("recovery answers %v", err)
	}
	if err := socket.BreakGlass(t.Context(), true); !secret.HasCode(err, secret.CodeAuditUnavailable) {
		t.Errorf("break-glass answers %v", err)
	}
	fails(t, r.Client(r.Control(), "").WhoAmI, &lifeboatv1.WhoAmIRequest{}, secret.CodeAuditUnavailable)
	stream, err := c.WatchSecrets(t.Context(), ask(&lifeboatv1.WatchSecretsRequest{Vault: v}))
	must(t, err)
	if stream.Receive() || codeOf(stream.Err()) != secret.CodeAuditUnavailable {
		t.Errorf("a watch that cannot be audited answers %v, %v", stream.Msg(), stream.Err())
	}
	for _, contentType := range []string{asJSON, "text/plain"} {
		if answer := post(t, c, "SecretService/GetSecretValue", contentType, []byte(canary)); answer.status != http.StatusServiceUnavailable {
			t.Errorf("bad input that cannot be audited answers %d %s", answer.status, answer.body)
		}
	}
	if status, body := ready(t, r, r.Control()); status != http.StatusServiceUnavailable {
		t.Errorf("readyz answers %d %s", status, body)
	}
}

func TestASecondAuditFileTakesOver(t *testing.T) {
	t.Parallel()
	second := filepath.Join(t.TempDir(), "second")
	r := lifeboattest.Start(t, lifeboattest.Options{Configure: func(_ string, c *config.Config) { c.Audit.Paths = []string{"/dev/full", second} }})
	a := r.Account()
	create(t, a.Client(r.Control()), a.Vault, "a", "1")
	get(t, a.Client(r.Control()), a.Vault, "a")
	lines, err := os.ReadFile(second)
	must(t, err)
	for _, action := range []string{"CreateAccount", "CreateVault", "CreateSecret", "GetSecretValue"} {
		if !bytes.Contains(lines, []byte(`"action":"`+action+`"`)) {
			t.Errorf("the second file has no line for %s", action)
		}
	}
}

// Nothing that is secret is in any file of a region, nor in its metrics.
func TestNoPlaintextIsInAnyFile(t *testing.T) {
	t.Parallel()
	r := lifeboattest.Start(t, lifeboattest.Options{Hosts: 1})
	a := r.Account()
	c, v := a.Client(r.Host(0)), a.Vault
	secrets := map[string][]byte{}
	for _, what := range []string{"value", "second value", "description", "new description", "metadata", "bad request", "wrong token", "refused value"} {
		secrets[what] = []byte("canary of the " + what + " 5d2e77b1")
	}
	do(t, c.CreateSecret, &lifeboatv1.CreateSecretRequest{
		Vault: v, Name: "a", Value: secrets["value"], Description: string(secrets["description"]),
		Metadata: map[string]string{"k": string(secrets["metadata"])}, RequestToken: "t", Wait: lifeboatv1.Wait_WAIT_CLEARED,
	})
	do(t, c.PutSecretVersion, &lifeboatv1.PutSecretVersionRequest{Vault: v, Secret: "a", Value: secrets["second value"], Wait: lifeboatv1.Wait_WAIT_CLEARED})
	text := string(secrets["new description"])
	do(t, c.UpdateSecret, &lifeboatv1.UpdateSecretRequest{Vault: v, Secret: "a", Description: &text})
	for _, p := range r.Processes() {
		get(t, a.Client(p), v, "a")
		describe(t, a.Client(p), v, "a")
		post(t, a.Client(p), "SecretService/CreateSecret", asJSON, append([]byte(`{"value":`), secrets["bad request"]...))
		fails(t, r.Client(p, string(secrets["wrong token"])).WhoAmI, &lifeboatv1.WhoAmIRequest{}, secret.CodeUnauthenticated)
		fails(t, a.Client(p).CreateSecret, &lifeboatv1.CreateSecretRequest{Vault: v, Name: "a", Value: secrets["refused value"]}, secret.CodeExists)
	}
	key := do(t, c.CreateAccessKey, &lifeboatv1.CreateAccessKeyRequest{})
	token := do(t, c.CreateToken, &lifeboatv1.CreateTokenRequest{})
	fails(t, r.Client(r.Host(0), token.GetToken()+"x").WhoAmI, &lifeboatv1.WhoAmIRequest{}, secret.CodeUnauthenticated)
	do(t, c.DeleteSecret, &lifeboatv1.DeleteSecretRequest{Vault: v, Secret: "a", RecoveryWindow: durationpb.New(8 * day)})
	secrets["admin's token"], secrets["operator's token"] = []byte(a.Token), []byte(r.OperatorToken())
	secrets["token"], secrets["access key"] = []byte(token.GetToken()), []byte(key.GetSecretAccessKey())
	for _, p := range r.Processes() {
		answer, err := http.Get(p.AdminURL() + "/metrics")
		must(t, err)
		metrics, err := io.ReadAll(answer.Body)
		must(t, err)
		answer.Body.Close()
		search(t, "metrics of "+p.ID, metrics, secrets)
	}
	for _, p := range r.Processes() {
		must(t, p.Kill())
	}
	files := 0
	must(t, filepath.WalkDir(r.Dir(), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		files++
		search(t, path, bytes.TrimRight(content, "\x00"), secrets) // files of the store are made large in advance
		return err
	}))
	if files < 15 {
		t.Errorf("only %d files were searched", files)
	}
}

func search(t *testing.T, where string, content []byte, secrets map[string][]byte) {
	t.Helper()
	for what, plaintext := range secrets {
		forms := map[string][]byte{"": plaintext}
		for i := range 3 { // as it is encoded at each offset, without the ends
			encoded := base64.StdEncoding.EncodeToString(append(make([]byte, i), plaintext...))
			forms["base64 of "] = []byte(encoded[4 : len(encoded)-4])
			if bytes.Contains(content, forms["base64 of "]) {
				t.Errorf("%s holds the base64 of the %s", where, what)
			}
		}
		if bytes.Contains(content, plaintext) {
			t.Errorf("%s holds the %s", where, what)
		}
	}
}
