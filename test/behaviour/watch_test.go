package behaviour_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"connectrpc.com/connect"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

// watcher reads a watch.
type watcher struct {
	stream *connect.ServerStreamForClient[lifeboatv1.WatchSecretsResponse]
	// token resumes after what was read last.
	token  string
	cancel context.CancelFunc
}

// watch starts a watch and waits until it is under way.
func watch(t testing.TB, c *lifeboattest.Client, vault, token string) *watcher {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	stream, err := c.WatchSecrets(ctx, ask(&lifeboatv1.WatchSecretsRequest{Vault: vault, ResumeToken: token}))
	must(t, err)
	w := &watcher{stream: stream, token: token, cancel: cancel}
	if token == "" {
		if !stream.Receive() {
			t.Fatal(stream.Err())
		}
		w.token = stream.Msg().GetResumeToken()
	}
	return w
}

// next returns the next event, past heartbeats; nil if the watch ended.
func (w *watcher) next() *lifeboatv1.SecretEvent {
	for w.stream.Receive() {
		w.token = w.stream.Msg().GetResumeToken()
		if e := w.stream.Msg().GetEvent(); e != nil {
			return e
		}
	}
	return nil
}

func (w *watcher) close() {
	w.cancel()
	_ = w.stream.Close()
}

func TestWatchTellsEventsInOrder(t *testing.T) {
	a := account(t, shared)
	c, v := a.Client(shared.Control()), a.Vault
	for _, p := range shared.Processes() {
		name := "of-" + p.ID
		w := watch(t, a.Client(p), v, "")
		id := create(t, c, v, name, "1").GetSecret().GetId()
		version := put(t, c, v, name, "2").GetVersion().GetId()
		do(t, c.UpdateSecret, &lifeboatv1.UpdateSecretRequest{Vault: v, Secret: name, SetTags: map[string]string{"a": "b"}})
		do(t, c.MoveStage, &lifeboatv1.MoveStageRequest{Vault: v, Secret: name, Stage: "x", ToVersionId: version})
		do(t, c.UpdateVault, &lifeboatv1.UpdateVaultRequest{Vault: v, SetTags: map[string]string{"a": "b"}})
		do(t, c.DeleteSecret, &lifeboatv1.DeleteSecretRequest{Vault: v, Secret: name})
		do(t, c.RestoreSecret, &lifeboatv1.RestoreSecretRequest{Vault: v, Secret: name})
		do(t, c.DeleteSecret, &lifeboatv1.DeleteSecretRequest{Vault: v, Secret: name, Immediate: true, Wait: lifeboatv1.Wait_WAIT_CLEARED})
		for i, want := range []string{"created", "version_added", "updated", "stage_moved", "deletion_scheduled", "restored", "purged"} {
			e := w.next()
			if e == nil {
				t.Fatalf("%s: the watch ended: %v", p.ID, w.stream.Err())
			}
			if e.GetType() != want || e.GetSecretId() != id || e.GetName() != name || e.GetOrder().GetSeq() != uint64(i+1) || e.GetPrincipalId() == "" {
				t.Errorf("%s: event %d is %v, want %s", p.ID, i, e, want)
			}
			if (want == "version_added" || want == "stage_moved") && e.GetVersionId() != version {
				t.Errorf("%s: %v tells of another version than %s", p.ID, e, version)
			}
		}
		w.close()
	}
}

func TestWatchResumesWithoutLoss(t *testing.T) {
	a := account(t, shared)
	c, v := a.Client(shared.Control()), a.Vault
	w := watch(t, a.Client(shared.Host(0)), v, "")
	var got []string
	for i := range 30 {
		do(t, c.CreateSecret, &lifeboatv1.CreateSecretRequest{Vault: v, Name: fmt.Sprintf("s%02d", i), Value: []byte("v")})
		switch i {
		case 9:
			for range 5 {
				got = append(got, w.next().GetName())
			}
			w.close()
		case 19:
			w = watch(t, a.Client(shared.Host(1)), v, w.token)
			for range 10 {
				got = append(got, w.next().GetName())
			}
			w.close()
		}
	}
	w = watch(t, a.Client(shared.Control()), v, w.token)
	for len(got) < 30 {
		e := w.next()
		if e == nil {
			t.Fatal(w.stream.Err())
		}
		got = append(got, e.GetName())
	}
	var want []string
	for i := range 30 {
		want = append(want, fmt.Sprintf("s%02d", i))
	}
	if !slices.Equal(got, want) {
		t.Errorf("saw %v", got)
	}
}

func TestForeignResumeTokens(t *testing.T) {
	a := account(t, shared)
	w := watch(t, a.Client(shared.Host(0)), a.Vault, "")
	elsewhere := lifeboattest.Start(t, lifeboattest.Options{})
	foreign := watch(t, elsewhere.Account().Client(elsewhere.Control()), "test", "")
	for token, code := range map[string]secret.Code{foreign.token: secret.CodeResumeGone, canary: secret.CodeInvalid, "!" + w.token: secret.CodeInvalid} {
		stream, err := a.Client(shared.Host(0)).WatchSecrets(t.Context(), ask(&lifeboatv1.WatchSecretsRequest{Vault: a.Vault, ResumeToken: token}))
		must(t, err)
		if stream.Receive() || codeOf(stream.Err()) != code {
			t.Errorf("a foreign token answers %v, %v, want %s", stream.Msg(), stream.Err(), code)
		}
		if request := infoOf(stream.Err()).GetRequestId(); request != "" {
			audited(t, shared, request, string(code))
		}
	}
	foreign.close()
	w.close()
}

func TestARevokedWatcherGetsNoFurtherEvent(t *testing.T) {
	a := account(t, shared)
	admin := a.Client(shared.Control())
	alice, made := user(t, a, "alice")
	policy(t, a, "alice", `permit (principal == User::"`+alice.GetId()+`", action == Action::"WatchSecrets", resource);`)
	_, other := user(t, a, "bob")
	policy(t, a, "bob", `permit (principal == User::"`+other.GetCredential().GetPrincipalId()+`", action == Action::"WatchSecrets", resource);`)
	for _, p := range shared.Processes()[1:] {
		revoked, forbidden := watch(t, shared.Client(p, made.GetToken()), a.Vault, ""), watch(t, shared.Client(p, other.GetToken()), a.Vault, "")
		create(t, admin, a.Vault, "seen-"+p.ID, "v")
		for _, w := range []*watcher{revoked, forbidden} {
			if e := w.next(); e.GetName() != "seen-"+p.ID {
				t.Fatalf("saw %v", e)
			}
		}
		if p == shared.Host(1) {
			do(t, admin.RevokeCredential, &lifeboatv1.RevokeCredentialRequest{CredentialId: made.GetCredential().GetId()})
			do(t, admin.DeletePolicy, &lifeboatv1.DeletePolicyRequest{Name: "bob"})
			create(t, admin, a.Vault, "unseen", "v")
			if e := revoked.next(); e != nil || codeOf(revoked.stream.Err()) != secret.CodeUnauthenticated {
				t.Errorf("a revoked watcher got %v, %v", e, revoked.stream.Err())
			}
			if e := forbidden.next(); e != nil || codeOf(forbidden.stream.Err()) != secret.CodeDenied {
				t.Errorf("a forbidden watcher got %v, %v", e, forbidden.stream.Err())
			}
		}
		revoked.close()
		forbidden.close()
	}
}
