package behaviour_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// forgetful loses the first answer to each mutation after the region gave it.
type forgetful struct {
	http.RoundTripper
	mu   sync.Mutex
	lost map[string]int
}

var mutations = []string{"CreateSecret", "PutSecretVersion", "UpdateSecret", "MoveStage", "DeleteSecret", "RestoreSecret"}

func (f *forgetful) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := f.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	method := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range mutations {
		if m == method && f.lost[m]%2 == 0 {
			f.lost[m]++
			_, _ = io.Copy(io.Discard, answer.Body)
			_ = answer.Body.Close()
			return nil, io.ErrUnexpectedEOF
		}
		if m == method {
			f.lost[m]++
		}
	}
	return answer, nil
}

// forgetfulClient is the SDK at a host, behind a connection that loses answers.
func forgetfulClient(t *testing.T, token string) (*client.Client, *forgetful) {
	t.Helper()
	pem, err := os.ReadFile(shared.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	f := &forgetful{RoundTripper: transport, lost: map[string]int{}}
	c, err := client.New(client.Config{Address: shared.Host(0).URL(), Token: client.NewValue(token), HTTPClient: &http.Client{Transport: f}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, f
}

// Every mutation of a secret is carried out once although its first answer is lost:
// the SDK repeats it with the token that it made.
func TestMutationsAreCarriedOutOnceAlthoughAnswersAreLost(t *testing.T) {
	a := account(t, shared)
	c, f := forgetfulClient(t, a.Token)
	ctx, v := t.Context(), a.Vault
	ok := func(replayed bool, err error) {
		t.Helper()
		if err != nil || !replayed {
			t.Fatalf("replayed %t, %v", replayed, err)
		}
	}
	made, err := c.CreateSecret(ctx, &lifeboatv1.CreateSecretRequest{Vault: v, Name: "a", Value: []byte("one"), VersionId: "v1"})
	ok(made.GetReplayed(), err)
	put, err := c.PutSecretVersion(ctx, &lifeboatv1.PutSecretVersionRequest{Vault: v, Secret: "a", Value: []byte("two")})
	ok(put.GetReplayed(), err)
	updated, err := c.UpdateSecret(ctx, &lifeboatv1.UpdateSecretRequest{
		Vault: v, Secret: "a", SetTags: map[string]string{"k": "v"}, ExpectedOrder: put.GetSecret().GetOwnership().GetOrder(),
	})
	ok(updated.GetReplayed(), err)
	moved, err := c.MoveStage(ctx, &lifeboatv1.MoveStageRequest{Vault: v, Secret: "a", Stage: "CURRENT", ToVersionId: "v1", FromVersionId: put.GetVersion().GetId()})
	ok(moved.GetReplayed(), err)
	deleted, err := c.DeleteSecret(ctx, &lifeboatv1.DeleteSecretRequest{Vault: v, Secret: "a"})
	ok(deleted.GetReplayed(), err)
	restored, err := c.RestoreSecret(ctx, &lifeboatv1.RestoreSecretRequest{Vault: v, Secret: "a"})
	ok(restored.GetReplayed(), err)
	if seq := restored.GetSecret().GetOwnership().GetOrder().GetSeq(); seq != 6 {
		t.Errorf("six mutations led to %d", seq)
	}
	purged, err := c.DeleteSecret(ctx, &lifeboatv1.DeleteSecretRequest{Vault: v, Secret: "a", Immediate: true})
	ok(purged.GetReplayed(), err)
	if purged.GetSecret().GetState() != lifeboatv1.State_STATE_DELETED {
		t.Errorf("the purge answers %v", purged)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range mutations {
		if f.lost[m] == 0 {
			t.Errorf("no answer to %s was lost", m)
		}
	}
}

func TestRequestTokensOfMutationsOfASecret(t *testing.T) {
	a := account(t, shared)
	c, v := a.Client(shared.Host(0)), a.Vault
	create(t, c, v, "a", "1")
	one := &lifeboatv1.UpdateSecretRequest{Vault: v, Secret: "a", SetTags: map[string]string{"a": "b", "c": "d"}, RequestToken: "t1"}
	first, again := do(t, c.UpdateSecret, one), do(t, c.UpdateSecret, one)
	if first.GetReplayed() || !again.GetReplayed() || again.GetRevisionToken() != first.GetRevisionToken() {
		t.Errorf("the replay answers %v, first was %v", again, first)
	}
	fails(t, c.UpdateSecret, &lifeboatv1.UpdateSecretRequest{Vault: v, Secret: "a", RemoveTags: []string{"a"}, RequestToken: "t1"}, secret.CodeTokenReused)
	fails(t, c.DeleteSecret, &lifeboatv1.DeleteSecretRequest{Vault: v, Secret: "a", RequestToken: "t1"}, secret.CodeTokenReused)
	fails(t, c.DeleteSecret, &lifeboatv1.DeleteSecretRequest{Vault: v, Secret: "a", Immediate: true, RequestToken: "t1"}, secret.CodeTokenReused)
	fails(t, c.PutSecretVersion, &lifeboatv1.PutSecretVersionRequest{Vault: v, Secret: "a", Value: []byte("2"), RequestToken: "t1"}, secret.CodeTokenReused)
}
