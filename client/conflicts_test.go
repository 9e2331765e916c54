package client_test

import (
	"testing"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
)

// What is refused is refused without asking anybody, and so is what is done already.
func TestConflictsThatAreNotAdopted(t *testing.T) {
	c, err := client.New(client.Config{Address: "https://127.0.0.1:1", Token: client.NewValue("x")})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	principal := func(disabled bool) *lifeboatv1.ConflictState {
		return &lifeboatv1.ConflictState{Record: &lifeboatv1.ConflictState_Principal{Principal: &lifeboatv1.Principal{Name: "bob", Disabled: disabled}}}
	}
	vault := func(state lifeboatv1.State, home, target string) *lifeboatv1.ConflictState {
		return &lifeboatv1.ConflictState{Record: &lifeboatv1.ConflictState_Vault{Vault: &lifeboatv1.Vault{
			State: state, Ownership: &lifeboatv1.Ownership{HomeRegion: home}, Replication: &lifeboatv1.Replication{Targets: []*lifeboatv1.Target{{Region: target}}},
		}}}
	}
	active := lifeboatv1.State_STATE_ACTIVE
	credential := &lifeboatv1.ConflictState{Record: &lifeboatv1.ConflictState_Credential{Credential: &lifeboatv1.Credential{Id: "c"}}}
	policy := &lifeboatv1.ConflictState{Record: &lifeboatv1.ConflictState_Policy{Policy: &lifeboatv1.Policy{Name: "p", Text: "t"}}}
	trust := &lifeboatv1.ConflictState{Record: &lifeboatv1.ConflictState_Trust{Trust: &lifeboatv1.TrustBundle{Name: "t"}}}
	for what, test := range map[string]struct {
		conflict *lifeboatv1.Conflict
		want     client.Code
	}{
		"deleted":           {&lifeboatv1.Conflict{Kind: "POLICY", Deleted: true, Present: policy}, client.CodeWrongState},
		"no version":        {&lifeboatv1.Conflict{Kind: "SECRET", SecretId: "s"}, client.CodeWrongState},
		"authorities":       {&lifeboatv1.Conflict{Kind: "TRUST", Held: trust}, client.CodeWrongState},
		"enabled":           {&lifeboatv1.Conflict{Kind: "PRINCIPAL", Held: principal(false), Present: principal(true)}, client.CodeWrongState},
		"a principal gone":  {&lifeboatv1.Conflict{Kind: "PRINCIPAL", Held: principal(true)}, client.CodeWrongState},
		"a credential":      {&lifeboatv1.Conflict{Kind: "CREDENTIAL", Held: credential}, client.CodeWrongState},
		"targets":           {&lifeboatv1.Conflict{Kind: "VAULT", Held: vault(active, "east", "south"), Present: vault(active, "east", "west")}, client.CodeWrongState},
		"being deleted":     {&lifeboatv1.Conflict{Kind: "VAULT", Held: vault(lifeboatv1.State_STATE_PENDING_DELETION, "east", ""), Present: vault(active, "east", "")}, client.CodeWrongState},
		"adopted policy":    {&lifeboatv1.Conflict{Kind: "POLICY", Held: policy, Present: policy}, ""},
		"adopted principal": {&lifeboatv1.Conflict{Kind: "PRINCIPAL", Held: principal(true), Present: principal(true)}, ""},
		"adopted vault":     {&lifeboatv1.Conflict{Kind: "VAULT", Held: vault(active, "east", "west"), Present: vault(active, "west", "east")}, ""},
	} {
		if _, err := c.AdoptConflict(t.Context(), test.conflict); client.CodeOf(err) != test.want {
			t.Errorf("%s: %v", what, err)
		}
	}
}
