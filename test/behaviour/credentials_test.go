package behaviour_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"connectrpc.com/connect"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

// user makes a user with a token, who may do nothing yet.
func user(t testing.TB, a *lifeboattest.Account, name string, roles ...string) (*lifeboatv1.Principal, *lifeboatv1.CreateTokenResponse) {
	t.Helper()
	c := a.Client(shared.Control())
	p := do(t, c.CreatePrincipal, &lifeboatv1.CreatePrincipalRequest{
		Name: name, Kind: lifeboatv1.PrincipalKind_PRINCIPAL_KIND_USER, Roles: roles,
	}).GetPrincipal()
	return p, do(t, c.CreateToken, &lifeboatv1.CreateTokenRequest{Principal: name})
}

func policy(t testing.TB, a *lifeboattest.Account, name, text string) {
	t.Helper()
	do(t, a.Client(shared.Control()).PutPolicy, &lifeboatv1.PutPolicyRequest{Name: name, Text: text})
}

// everywhere runs a check on each process of the shared region.
func everywhere(t *testing.T, token string, check func(*testing.T, *lifeboattest.Client)) {
	t.Helper()
	for _, p := range shared.Processes() {
		t.Run(p.ID, func(t *testing.T) { check(t, shared.Client(p, token)) })
	}
}

func TestRefusedCredentials(t *testing.T) {
	a := account(t, shared)
	admin := a.Client(shared.Control())
	create(t, admin, a.Vault, "a", "v")
	key := do(t, admin.CreateAccessKey, &lifeboatv1.CreateAccessKeyRequest{})
	_, other := user(t, a, "other")
	swapped := a.Token[:len(a.Token)-8] + other.GetToken()[len(other.GetToken())-8:]
	for name, token := range map[string]string{
		"none": "", "malformed": "hunter2", "unknown": strings.Replace(a.Token, a.Token[8:16], "00000000", 1),
		"wrong secret": swapped, "access key ID": key.GetCredential().GetId(),
		"access key": key.GetSecretAccessKey(), "long": strings.Repeat("x", 10_000),
	} {
		t.Run(name, func(t *testing.T) {
			everywhere(t, token, func(t *testing.T, c *lifeboattest.Client) {
				for method, m := range map[string]func() *lifeboatv1.ErrorInfo{
					"GetSecretValue": func() *lifeboatv1.ErrorInfo {
						return fails(t, c.GetSecretValue, &lifeboatv1.GetSecretValueRequest{Vault: a.VaultID, Secret: "a"}, secret.CodeUnauthenticated)
					},
					"CreateSecret": func() *lifeboatv1.ErrorInfo {
						return fails(t, c.CreateSecret, &lifeboatv1.CreateSecretRequest{Vault: a.VaultID, Name: "b", Value: []byte("v")}, secret.CodeUnauthenticated)
					},
				} {
					line := audited(t, shared, m().GetRequestId(), string(secret.CodeUnauthenticated))
					if line.Action != method || line.Decision != "none" || line.Principal != "" {
						t.Errorf("audited as %+v", line)
					}
				}
			})
		})
	}
	fails(t, admin.DescribeSecret, &lifeboatv1.DescribeSecretRequest{Vault: a.Vault, Secret: "b"}, secret.CodeNotFound)
}

func TestOtherSchemesThanBearerAreRefused(t *testing.T) {
	a := account(t, shared)
	c := a.Client(shared.Host(0))
	for _, header := range []string{"Basic " + a.Token, a.Token, "Bearer", "Bearer ", "Bearer  " + a.Token} {
		answer := post(t, c, "AccountService/WhoAmI", asJSON, []byte("{}"), "Authorization", header)
		if answer.status != 401 || strings.Contains(answer.body, a.Token) {
			t.Errorf("%q answers %d %s", header[:6], answer.status, answer.body)
		}
	}
	if answer := post(t, c, "AccountService/WhoAmI", asJSON, []byte("{}"), "Authorization", "bearer "+a.Token); answer.status != 200 {
		t.Errorf("the scheme counts in one case only: %d", answer.status)
	}
}

func TestExpiredCredentials(t *testing.T) {
	a := account(t, shared)
	made := do(t, a.Client(shared.Control()).CreateToken, &lifeboatv1.CreateTokenRequest{
		ExpiresAt: timestamppb.New(time.Now().Add(2 * time.Second)),
	})
	everywhere(t, made.GetToken(), func(t *testing.T, c *lifeboattest.Client) {
		eventually(t, "the token expires", func() bool {
			_, err := c.WhoAmI(t.Context(), connect.NewRequest(&lifeboatv1.WhoAmIRequest{}))
			if err != nil && codeOf(err) != secret.CodeUnauthenticated {
				t.Fatal(err)
			}
			return err != nil
		})
		if time.Now().Before(made.GetCredential().GetExpiresAt().AsTime()) {
			t.Error("the token was refused before its time")
		}
	})
}

// stopsWorking uses a token until it is refused, on every process, and fails
// unless that happens within a second of the change.
func stopsWorking(t *testing.T, token string, change func()) {
	t.Helper()
	everywhere(t, token, func(t *testing.T, c *lifeboattest.Client) { do(t, c.WhoAmI, &lifeboatv1.WhoAmIRequest{}) })
	change()
	limit := time.Now().Add(time.Second)
	for _, p := range shared.Processes() {
		c := shared.Client(p, token)
		for {
			_, err := c.WhoAmI(t.Context(), connect.NewRequest(&lifeboatv1.WhoAmIRequest{}))
			if codeOf(err) == secret.CodeUnauthenticated {
				break
			}
			if time.Now().After(limit) {
				t.Fatalf("%s still takes the token: %v", p.ID, err)
			}
		}
	}
}

func TestRevokedCredentialsStopWithinASecondEverywhere(t *testing.T) {
	a := account(t, shared)
	admin := a.Client(shared.Host(0))
	_, made := user(t, a, "alice")
	id := made.GetCredential().GetId()
	stopsWorking(t, made.GetToken(), func() {
		do(t, admin.RevokeCredential, &lifeboatv1.RevokeCredentialRequest{CredentialId: id})
	})
	again := do(t, admin.RevokeCredential, &lifeboatv1.RevokeCredentialRequest{CredentialId: id})
	if again.GetCredential().GetRevokedAt() == nil {
		t.Error("revoking again answers a live credential")
	}
}

func TestDisabledAndDeletedPrincipals(t *testing.T) {
	a := account(t, shared)
	admin := a.Client(shared.Control())
	_, made := user(t, a, "alice")
	yes, no := true, false
	stopsWorking(t, made.GetToken(), func() {
		do(t, admin.UpdatePrincipal, &lifeboatv1.UpdatePrincipalRequest{Principal: "alice", Disabled: &yes})
	})
	do(t, admin.UpdatePrincipal, &lifeboatv1.UpdatePrincipalRequest{Principal: "alice", Disabled: &no})
	stopsWorking(t, made.GetToken(), func() {
		do(t, admin.DeletePrincipal, &lifeboatv1.DeletePrincipalRequest{Principal: "alice"})
	})
	fails(t, admin.UpdatePrincipal, &lifeboatv1.UpdatePrincipalRequest{Principal: "admin", Disabled: &yes}, secret.CodeWrongState)
	// A new principal of the same name does not inherit the credentials.
	user(t, a, "alice")
	fails(t, shared.Client(shared.Host(0), made.GetToken()).WhoAmI, &lifeboatv1.WhoAmIRequest{}, secret.CodeUnauthenticated)
}

func TestNewCredentialsWorkEverywhereAtOnce(t *testing.T) {
	a := account(t, shared)
	for range 5 {
		made := do(t, a.Client(shared.Host(0)).CreateToken, &lifeboatv1.CreateTokenRequest{})
		for _, p := range shared.Processes() {
			do(t, shared.Client(p, made.GetToken()).WhoAmI, &lifeboatv1.WhoAmIRequest{})
		}
	}
}

func TestCredentialsOfAPrincipalAreBounded(t *testing.T) {
	a := account(t, shared)
	admin := a.Client(shared.Control())
	for range 49 {
		do(t, admin.CreateToken, &lifeboatv1.CreateTokenRequest{})
	}
	fails(t, admin.CreateToken, &lifeboatv1.CreateTokenRequest{}, secret.CodeLimit)
	fails(t, admin.CreateAccessKey, &lifeboatv1.CreateAccessKeyRequest{}, secret.CodeLimit)
}
