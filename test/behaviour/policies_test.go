package behaviour_test

import (
	"strings"
	"testing"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

func reads(vault, name string) *lifeboatv1.GetSecretValueRequest {
	return &lifeboatv1.GetSecretValueRequest{Vault: vault, Secret: name}
}

func TestNothingIsPermittedByDefault(t *testing.T) {
	a := account(t, shared)
	create(t, a.Client(shared.Control()), a.Vault, "a", "v")
	_, made := user(t, a, "alice", "readers")
	everywhere(t, made.GetToken(), func(t *testing.T, c *lifeboattest.Client) {
		info := fails(t, c.GetSecretValue, reads(a.Vault, "a"), secret.CodeDenied)
		if line := audited(t, shared, info.GetRequestId(), "permission_denied"); line.Decision != "deny" || line.PrincipalName != "alice" || line.Name != "a" {
			t.Errorf("audited as %+v", line)
		}
		// Whether a secret exists is not told to who may not know.
		fails(t, c.GetSecretValue, reads(a.Vault, "nothing"), secret.CodeDenied)
		fails(t, c.DescribeSecret, &lifeboatv1.DescribeSecretRequest{Vault: a.Vault, Secret: "a"}, secret.CodeDenied)
		fails(t, c.ListSecrets, &lifeboatv1.ListSecretsRequest{Vault: a.Vault}, secret.CodeDenied)
		fails(t, c.CreateSecret, &lifeboatv1.CreateSecretRequest{Vault: a.Vault, Name: "b", Value: []byte("v")}, secret.CodeDenied)
		fails(t, c.DeleteSecret, &lifeboatv1.DeleteSecretRequest{Vault: a.Vault, Secret: "a"}, secret.CodeDenied)
		fails(t, c.CreateToken, &lifeboatv1.CreateTokenRequest{}, secret.CodeDenied)
		fails(t, c.PutPolicy, &lifeboatv1.PutPolicyRequest{Name: "x", Text: "permit (principal, action, resource);"}, secret.CodeDenied)
		fails(t, c.GetStatus, &lifeboatv1.GetStatusRequest{}, secret.CodeDenied)
		fails(t, c.GenerateValue, &lifeboatv1.GenerateValueRequest{Rule: &lifeboatv1.GenerateValueRequest_Bytes{Bytes: 8}}, secret.CodeDenied)
	})
}

func TestRolesTagsAndForbids(t *testing.T) {
	a := account(t, shared)
	admin := a.Client(shared.Control())
	for name, env := range map[string]string{"test/a": "test", "prod/a": "prod", "none": ""} {
		m := &lifeboatv1.CreateSecretRequest{Vault: a.Vault, Name: name, Value: []byte(name), Wait: lifeboatv1.Wait_WAIT_CLEARED}
		if env != "" {
			m.Tags = map[string]string{"env": env}
		}
		do(t, admin.CreateSecret, m)
	}
	alice, aliceToken := user(t, a, "alice", "readers")
	_, bobToken := user(t, a, "bob", "readers", "suspended")
	_, carolToken := user(t, a, "carol")
	policy(t, a, "readers", `permit (principal in Role::"readers", action in Action::"read", resource in Vault::"`+a.VaultID+`")
		when { resource has tags && resource.tags has env && resource.tags.env == "test" };`)
	policy(t, a, "suspended", `forbid (principal in Role::"suspended", action, resource);`)
	for _, p := range shared.Processes() {
		c := shared.Client(p, aliceToken.GetToken())
		if got := get(t, c, a.Vault, "test/a"); string(got.GetValue()) != "test/a" {
			t.Errorf("alice reads %q", got.GetValue())
		}
		fails(t, c.GetSecretValue, reads(a.Vault, "prod/a"), secret.CodeDenied)
		fails(t, c.GetSecretValue, reads(a.Vault, "none"), secret.CodeDenied)
		fails(t, shared.Client(p, bobToken.GetToken()).GetSecretValue, reads(a.Vault, "test/a"), secret.CodeDenied)
		fails(t, shared.Client(p, carolToken.GetToken()).GetSecretValue, reads(a.Vault, "test/a"), secret.CodeDenied)
	}
	// Roles and policies act as soon as their change is answered.
	do(t, admin.UpdatePrincipal, &lifeboatv1.UpdatePrincipalRequest{Principal: "alice", SetRoles: true})
	for _, p := range shared.Processes() {
		fails(t, shared.Client(p, aliceToken.GetToken()).GetSecretValue, reads(a.Vault, "test/a"), secret.CodeDenied)
	}
	policy(t, a, "alice", `permit (principal == User::"`+alice.GetId()+`", action == Action::"GetSecretValue", resource);`)
	for _, p := range shared.Processes() {
		get(t, shared.Client(p, aliceToken.GetToken()), a.Vault, "prod/a")
	}
	do(t, admin.DeletePolicy, &lifeboatv1.DeletePolicyRequest{Name: "alice"})
	for _, p := range shared.Processes() {
		fails(t, shared.Client(p, aliceToken.GetToken()).GetSecretValue, reads(a.Vault, "prod/a"), secret.CodeDenied)
	}
}

func TestTagsOfANewSecretCount(t *testing.T) {
	a := account(t, shared)
	_, made := user(t, a, "alice")
	policy(t, a, "test", `permit (principal, action == Action::"CreateSecret", resource)
		when { resource.tags has env && resource.tags.env == "test" };`)
	c := shared.Client(shared.Host(0), made.GetToken())
	fails(t, c.CreateSecret, &lifeboatv1.CreateSecretRequest{Vault: a.Vault, Name: "a", Value: []byte("v")}, secret.CodeDenied)
	fails(t, c.CreateSecret, &lifeboatv1.CreateSecretRequest{
		Vault: a.Vault, Name: "a", Value: []byte("v"), Tags: map[string]string{"env": "prod"},
	}, secret.CodeDenied)
	do(t, c.CreateSecret, &lifeboatv1.CreateSecretRequest{Vault: a.Vault, Name: "a", Value: []byte("v"), Tags: map[string]string{"env": "test"}})
}

// An update is judged by the tags that the secret has, but must not be a way to
// take it from under a policy that forbids by tag.
func TestPurgeIsPermittedByItself(t *testing.T) {
	a := account(t, shared)
	admin := a.Client(shared.Control())
	create(t, admin, a.Vault, "a", "v")
	_, made := user(t, a, "alice")
	policy(t, a, "alice", `permit (principal, action in Action::"write", resource);`)
	c := shared.Client(shared.Host(1), made.GetToken())
	info := fails(t, c.DeleteSecret, &lifeboatv1.DeleteSecretRequest{Vault: a.Vault, Secret: "a", Immediate: true}, secret.CodeDenied)
	if line := audited(t, shared, info.GetRequestId(), "permission_denied"); line.Action != "PurgeSecret" {
		t.Errorf("audited as %s", line.Action)
	}
	do(t, c.DeleteSecret, &lifeboatv1.DeleteSecretRequest{Vault: a.Vault, Secret: "a"})
	policy(t, a, "purge", `permit (principal, action in Action::"purge", resource);`)
	do(t, c.DeleteSecret, &lifeboatv1.DeleteSecretRequest{Vault: a.Vault, Secret: "a", Immediate: true})
}

func TestAccountsAreApart(t *testing.T) {
	a, b := account(t, shared), account(t, shared)
	create(t, a.Client(shared.Control()), a.Vault, "a", "of a")
	guest := b.Client(shared.Host(0))
	me := do(t, guest.WhoAmI, &lifeboatv1.WhoAmIRequest{})
	there := a.Name + "/" + a.Vault
	for _, vault := range []string{there, a.VaultID, a.ID + "/" + a.Vault} {
		fails(t, guest.GetSecretValue, reads(vault, "a"), secret.CodeDenied)
	}
	fails(t, guest.GetSecretValue, reads(a.Vault, "a"), secret.CodeNotFound)
	fails(t, guest.CreatePrincipal, &lifeboatv1.CreatePrincipalRequest{
		Account: a.Name, Name: "mole", Kind: lifeboatv1.PrincipalKind_PRINCIPAL_KIND_USER,
	}, secret.CodeDenied)
	fails(t, guest.CreateToken, &lifeboatv1.CreateTokenRequest{Account: a.Name, Principal: "admin"}, secret.CodeDenied)
	fails(t, guest.PutPolicy, &lifeboatv1.PutPolicyRequest{Account: a.Name, Name: "x", Text: "permit (principal, action, resource);"}, secret.CodeDenied)
	// A permit for every principal means those of the own account.
	policy(t, a, "all", `permit (principal, action in Action::"read", resource);`)
	fails(t, guest.GetSecretValue, reads(there, "a"), secret.CodeDenied)
	// A policy of the caller's account says nothing of another one's resources.
	policy(t, b, "self", `permit (principal, action, resource in Account::"`+a.ID+`");`)
	fails(t, guest.GetSecretValue, reads(there, "a"), secret.CodeDenied)
	policy(t, a, "guest", `permit (principal == User::"`+me.GetPrincipal().GetId()+`", action == Action::"GetSecretValue", resource);`)
	for _, p := range shared.Processes() {
		info, err := b.Client(p).GetSecretValue(t.Context(), ask(reads(there, "a")))
		must(t, err)
		if string(info.Msg.GetValue()) != "of a" {
			t.Errorf("%s answers %q", p.ID, info.Msg.GetValue())
		}
		line := audited(t, shared, info.Header().Get("Lifeboat-Request-Id"), "ok")
		if line.Account != b.ID || line.Owner != a.ID {
			t.Errorf("audited as %+v", line)
		}
	}
	fails(t, guest.DescribeSecret, &lifeboatv1.DescribeSecretRequest{Vault: there, Secret: "a"}, secret.CodeDenied)
}

func TestOperatorsReadNoSecrets(t *testing.T) {
	a := account(t, shared)
	create(t, a.Client(shared.Control()), a.Vault, "a", "v")
	operator := shared.Operator()
	there := a.Name + "/" + a.Vault
	fails(t, operator.GetSecretValue, reads(there, "a"), secret.CodeDenied)
	fails(t, operator.ListSecrets, &lifeboatv1.ListSecretsRequest{Vault: there}, secret.CodeDenied)
	fails(t, operator.CreateToken, &lifeboatv1.CreateTokenRequest{Account: a.Name, Principal: "admin"}, secret.CodeDenied)
	fails(t, operator.PutPolicy, &lifeboatv1.PutPolicyRequest{Account: a.Name, Name: "x", Text: "permit (principal, action, resource);"}, secret.CodeDenied)
	fails(t, operator.CreateVault, &lifeboatv1.CreateVaultRequest{Name: "mine"}, secret.CodeWrongState)
	// Nor by policies of their own account, which they may write.
	text := `permit (principal, action, resource in Account::"` + a.ID + `");`
	do(t, operator.PutPolicy, &lifeboatv1.PutPolicyRequest{Name: "grab", Text: text})
	defer do(t, operator.DeletePolicy, &lifeboatv1.DeletePolicyRequest{Name: "grab"})
	fails(t, operator.GetSecretValue, reads(there, "a"), secret.CodeDenied)
	if !strings.Contains(text, a.ID) {
		t.Error("the policy is about another account")
	}
}
