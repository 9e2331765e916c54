package behaviour_test

import (
	"testing"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// A value that is generated where it is stored is in no answer, and a repeated
// request gives the first result although it would make another value.
func TestValuesAreGeneratedWhereTheyAreStored(t *testing.T) {
	a := account(t, shared)
	c, v := a.Client(shared.Host(0)), a.Vault
	password := &lifeboatv1.GenerateValueRequest{Rule: &lifeboatv1.GenerateValueRequest_Password{Password: &lifeboatv1.PasswordRules{Length: 24}}}
	key := &lifeboatv1.GenerateValueRequest{Rule: &lifeboatv1.GenerateValueRequest_SshKey{SshKey: &lifeboatv1.SSHKeyRules{}}}
	creation := &lifeboatv1.CreateSecretRequest{
		Vault: v, Name: "a", Generate: password, RequestToken: "first", Metadata: map[string]string{"owner": "me"}, Wait: lifeboatv1.Wait_WAIT_CLEARED,
	}
	made := do(t, c.CreateSecret, creation)
	value := string(do(t, c.GetSecretValue, reads(v, "a")).GetValue())
	if len(value) != 24 || made.GetPublicKey() != "" {
		t.Errorf("%d characters, public key %q", len(value), made.GetPublicKey())
	}
	if again := do(t, c.CreateSecret, creation); !again.GetReplayed() || string(do(t, c.GetSecretValue, reads(v, "a")).GetValue()) != value {
		t.Error("the creation was done twice")
	}
	creation.Generate = key
	fails(t, c.CreateSecret, creation, secret.CodeTokenReused)

	addition := &lifeboatv1.PutSecretVersionRequest{Vault: v, Secret: "a", Generate: key, RequestToken: "second", Wait: lifeboatv1.Wait_WAIT_CLEARED}
	added := do(t, c.PutSecretVersion, addition)
	again := do(t, c.PutSecretVersion, addition)
	if !again.GetReplayed() || again.GetVersion().GetId() != added.GetVersion().GetId() || added.GetPublicKey() == "" || again.GetPublicKey() != added.GetPublicKey() {
		t.Errorf("repeated: %v; at first: %v", again, added)
	}
	if m := describe(t, c, v, "a").GetMetadata(); m["ssh-public-key"] != added.GetPublicKey() || m["owner"] != "me" {
		t.Errorf("metadata %v", m)
	}
	fails(t, c.PutSecretVersion, &lifeboatv1.PutSecretVersionRequest{Vault: v, Secret: "a", Generate: key, Value: []byte("x")}, secret.CodeInvalid)
	fails(t, c.PutSecretVersion, &lifeboatv1.PutSecretVersionRequest{Vault: v, Secret: "a", Generate: &lifeboatv1.GenerateValueRequest{}}, secret.CodeInvalid)
	fails(t, c.CreateSecret, &lifeboatv1.CreateSecretRequest{Vault: v, Name: "b", Generate: password, Value: []byte("x")}, secret.CodeInvalid)
}
