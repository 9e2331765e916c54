package behaviour_test

import (
	"testing"
	"time"

	"connectrpc.com/connect"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/controlsocket"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

// newest returns a read that must not be older than a token.
func newest(vault, name, token string) *lifeboatv1.GetSecretValueRequest {
	return &lifeboatv1.GetSecretValueRequest{Vault: vault, Secret: name, RevisionToken: token}
}

func TestTokensNeverReadAnOlderState(t *testing.T) {
	a := account(t, shared)
	v := a.Vault
	token := create(t, a.Client(shared.Control()), v, "a", "0").GetRevisionToken()
	for i := range 30 {
		value := string(rune('A' + i))
		made := do(t, a.Client(shared.Host(i%2)).PutSecretVersion, &lifeboatv1.PutSecretVersionRequest{Vault: v, Secret: "a", Value: []byte(value)})
		for _, p := range shared.Processes() {
			got := do(t, a.Client(p).GetSecretValue, newest(v, "a", made.GetRevisionToken()))
			if string(got.GetValue()) != value || got.GetRevisionToken() != made.GetRevisionToken() {
				t.Fatalf("%s answers %q to a token of %q", p.ID, got.GetValue(), value)
			}
			if d := do(t, a.Client(p).DescribeSecret, &lifeboatv1.DescribeSecretRequest{Vault: v, Secret: "a", RevisionToken: made.GetRevisionToken()}); d.GetRevisionToken() != made.GetRevisionToken() {
				t.Fatalf("%s describes an older state", p.ID)
			}
			do(t, a.Client(p).GetSecretValue, newest(v, "a", token))
		}
	}
	other := create(t, a.Client(shared.Control()), v, "b", "1").GetRevisionToken()
	fails(t, a.Client(shared.Host(0)).GetSecretValue, newest(v, "a", other), secret.CodeInvalid)
	elsewhere := lifeboattest.Start(t, lifeboattest.Options{})
	foreign := create(t, elsewhere.Account().Client(elsewhere.Control()), "test", "a", "1").GetRevisionToken()
	fails(t, a.Client(shared.Host(0)).GetSecretValue, newest(v, "a", foreign), secret.CodeUnknownIncarnation)
}

func TestAHostThatIsCutOff(t *testing.T) {
	t.Parallel()
	const maxAge = 700 * time.Millisecond
	short := false
	r := lifeboattest.Start(t, lifeboattest.Options{Hosts: 2, Configure: func(process string, c *config.Config) {
		if short && process == "host-1" {
			c.Credentials.MaxAgeWhenCutOff = maxAge
		}
	}})
	a := r.Account()
	v, control, host := a.Vault, a.Client(r.Control()), a.Client(r.Host(0))
	old := create(t, control, v, "a", "old")
	doomed := do(t, control.CreateToken, &lifeboatv1.CreateTokenRequest{})
	r.CutOff(0)
	fresh := do(t, control.PutSecretVersion, &lifeboatv1.PutSecretVersionRequest{Vault: v, Secret: "a", Value: []byte("new")})

	// It serves what it has, and says how old that is.
	var age float64
	eventually(t, "the host notices", func() bool {
		got := get(t, host, v, "a")
		age = got.GetFreshness().GetAgeSeconds()
		return age > 0
	})
	eventually(t, "the age grows", func() bool { return get(t, host, v, "a").GetFreshness().GetAgeSeconds() > age })
	do(t, host.GetSecretValue, newest(v, "a", old.GetRevisionToken()))
	info := fails(t, host.GetSecretValue, newest(v, "a", fresh.GetRevisionToken()), secret.CodeNotReached)
	audited(t, r, info.GetRequestId(), string(secret.CodeNotReached))
	fails(t, host.GetSecretValue, reads(v, "nothing"), secret.CodeNotFound)
	if n := len(do(t, host.ListSecrets, &lifeboatv1.ListSecretsRequest{Vault: v}).GetSecrets()); n != 1 {
		t.Errorf("the list has %d secrets", n)
	}

	writesAreRefused(t, r, a)

	// A revocation does not reach it, and it still serves after its own restart.
	do(t, control.RevokeCredential, &lifeboatv1.RevokeCredentialRequest{CredentialId: doomed.GetCredential().GetId()})
	reboot(t, r.Host(0))
	if got := get(t, host, v, "a"); string(got.GetValue()) != "old" || got.GetFreshness().GetAgeSeconds() < age {
		t.Errorf("after a restart: %v", got)
	}
	do(t, r.Client(r.Host(0), doomed.GetToken()).WhoAmI, &lifeboatv1.WhoAmIRequest{})

	// Beyond the configured age it honours no credential, but by break-glass.
	short = true
	reboot(t, r.Host(0))
	eventually(t, "credentials are too old", func() bool {
		_, err := host.GetSecretValue(t.Context(), ask(reads(v, "a")))
		if err != nil && codeOf(err) != secret.CodeUnauthenticated && codeOf(err) != secret.CodeUnavailable {
			t.Fatal(err)
		}
		return err != nil
	})
	breakGlass(t, r, a)

	// Once healed it follows again, and the revocation counts.
	r.Heal(0)
	eventually(t, "the host follows again", func() bool {
		got, err := host.GetSecretValue(t.Context(), ask(newest(v, "a", fresh.GetRevisionToken())))
		return err == nil && string(got.Msg.GetValue()) == "new" && got.Msg.GetFreshness().GetAgeSeconds() == 0
	})
	eventually(t, "the revocation counts", func() bool {
		_, err := r.Client(r.Host(0), doomed.GetToken()).WhoAmI(t.Context(), ask(&lifeboatv1.WhoAmIRequest{}))
		return codeOf(err) == secret.CodeUnauthenticated
	})
	eventually(t, "it passes mutations on again", func() bool {
		_, err := host.CreateSecret(t.Context(), ask(&lifeboatv1.CreateSecretRequest{Vault: v, Name: "after", Value: []byte("v")}))
		return err == nil
	})
}

func reboot(t *testing.T, p *lifeboattest.Process) {
	t.Helper()
	must(t, p.Kill())
	must(t, p.Start(t.Context()))
	must(t, p.WaitReady(t.Context()))
}

// writesAreRefused checks that a host without a control process refuses each
// mutation, in the protocol of the client.
func writesAreRefused(t *testing.T, r *lifeboattest.Region, a *lifeboattest.Account) {
	t.Helper()
	for name, options := range map[string][]connect.ClientOption{
		"connect": nil, "json": {connect.WithProtoJSON()}, "grpc": {connect.WithGRPC()}, "grpc-web": {connect.WithGRPCWeb()},
	} {
		c := a.Client(r.Host(0), options...)
		_, err := c.CreateSecret(t.Context(), ask(&lifeboatv1.CreateSecretRequest{Vault: a.Vault, Name: "w", Value: []byte("v")}))
		if connect.CodeOf(err) != connect.CodeUnavailable || codeOf(err) != secret.CodeUnavailable {
			t.Errorf("%s: %v (%v)", name, err, infoOf(err))
			continue
		}
		if line := audited(t, r, infoOf(err).GetRequestId(), string(secret.CodeUnavailable)); line.Action != "CreateSecret" || line.Process != "host-1" {
			t.Errorf("%s: audited as %+v", name, line)
		}
	}
	fails(t, a.Client(r.Control()).DescribeSecret, &lifeboatv1.DescribeSecretRequest{Vault: a.Vault, Secret: "w"}, secret.CodeNotFound)
}

func breakGlass(t *testing.T, r *lifeboattest.Region, a *lifeboattest.Account) {
	t.Helper()
	socket := controlsocket.New(r.Host(0).SocketPath())
	defer socket.Close()
	must(t, socket.BreakGlass(t.Context(), true))
	got, err := a.Client(r.Host(0)).GetSecretValue(t.Context(), ask(reads(a.Vault, "a")))
	must(t, err)
	if line := audited(t, r, got.Header().Get("Lifeboat-Request-Id"), "ok"); !line.BreakGlass {
		t.Errorf("audited as %+v", line)
	}
	fails(t, r.Client(r.Host(0), "lb_unknown").GetSecretValue, reads(a.VaultID, "a"), secret.CodeUnauthenticated)
	must(t, socket.BreakGlass(t.Context(), false))
	if _, err := a.Client(r.Host(0)).GetSecretValue(t.Context(), ask(reads(a.Vault, "a"))); err == nil {
		t.Error("the override did not end")
	}
}

func TestAHostCutOffFromTheStoreAloneStillPassesMutationsOn(t *testing.T) {
	t.Parallel()
	r := lifeboattest.Start(t, lifeboattest.Options{Hosts: 1})
	a := r.Account()
	host := a.Client(r.Host(0))
	create(t, host, a.Vault, "a", "old")
	r.StoreLink(0).Blackhole()
	made := do(t, host.PutSecretVersion, &lifeboatv1.PutSecretVersionRequest{Vault: a.Vault, Secret: "a", Value: []byte("new")})
	if got := get(t, host, a.Vault, "a"); string(got.GetValue()) != "old" {
		t.Errorf("reads %q through a black hole", got.GetValue())
	}
	fails(t, host.GetSecretValue, newest(a.Vault, "a", made.GetRevisionToken()), secret.CodeNotReached)
	r.Heal(0)
	eventually(t, "the host catches up", func() bool {
		_, err := host.GetSecretValue(t.Context(), ask(newest(a.Vault, "a", made.GetRevisionToken())))
		return err == nil
	})
}
