package authz

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func TestParsePolicyAccepts(t *testing.T) {
	for _, text := range []string{
		`permit (principal, action, resource);`,
		"// a comment\npermit (principal in Role::\"readers\", action in Action::\"read\", resource in Vault::\"V\");\nforbid (principal, action == Action::\"PurgeSecret\", resource);",
		`permit (principal is Workload, action in [Action::"write", Action::"PurgeSecret"], resource is Secret in Vault::"V");`,
		`permit (principal in Account::"A", action == Action::"GetSecretValue", resource == Secret::"V.S");`,
		`permit (principal, action in Action::"read", resource in Vault::"V") when { resource.tags has env && resource.tags.env == "test" };`,
		`permit (principal, action, resource is Secret) when { resource.tags has "cost center" && resource.tags["cost center"] like "7*" };`,
		`permit (principal, action, resource is Secret) when { resource.name like "db/*" && resource.vault == "prod" };`,
		`forbid (principal, action, resource) unless { context.source_ip.isInRange(ip("10.0.0.0/8")) || context.source_ip.isLoopback() };`,
		`permit (principal, action, resource) when { context.time < datetime("2026-04-01") && context.region == "east" && context.method == "token" };`,
		`permit (principal, action, resource) when { principal is User && principal in [Role::"a", Role::"b"] && principal.name != "eve" };`,
		`permit (principal, action in Action::"operate", resource == Region::"east");`,
		`permit (principal, action == Action::"RevokeCredential", resource in Principal::"P");`,
		AdminPolicy(alice),
		AdminPolicy(operator),
	} {
		if err := ParsePolicy("name", text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestParsePolicyRefuses(t *testing.T) {
	tests := []struct{ text, message, hint string }{
		{``, "holds no policy", ""},
		{`// nothing`, "holds no policy", ""},
		{"permit (principal, action, resource);\npermit (principal, action resource);", "line 2, column 35", ""},
		{`permit (principal, action, resource)`, "line 1, column 37", ""},
		{`permit (principal == ?principal, action, resource);`, "line 1", ""},
		{"\n  permit (principal, action == Action::\"GetSecret\", resource);", `policy 0 at line 2, column 3: there is no action "GetSecret"`, "known are"},
		{`permit (principal, action == Action::"GetSecretvalue", resource);`, "there is no action", "did you mean GetSecretValue?"},
		{`permit (principal, action in [Action::"raed"], resource);`, "there is no action", "did you mean read?"},
		{`permit (principal == Usr::"x", action, resource);`, "there is no entity type", "did you mean User?"},
		{`permit (principal, action, resource is Sekret in Vault::"V");`, "there is no entity type", "did you mean Secret?"},
		{`permit (principal, action, resource) when { principal in Roles::"x" };`, "there is no entity type", "did you mean Role?"},
		{`permit (principal, action, resource) when { [Action::"Nope"].contains(action) };`, "there is no action", ""},
		{`permit (principal, action, resource) when { resource is Thing };`, "there is no entity type", ""},
		{`permit (principal, action, resource is Secret) when { resource.nam == "x" };`, "attribute `nam`", "secrets name"},
		{`permit (principal, action, resource) when { context.sourceip == "x" };`, "attribute `sourceip`", "source_ip"},
		{`permit (principal, action, resource) when { resource.tags has env };`, "attribute `tags`", "only secrets and vaults"},
		{`permit (principal, action, resource is Secret) when { resource.tags.env == "x" };`, "tags.env", "ask first"},
		{`permit (principal, action, resource) when { context.source_ip == "10.0.0.1" };`, "not compatible", ""},
		{`permit (principal, action, resource) when { context.source_ip.isInRange(ip("10.0.0/8")) };`, "failed to parse as IP address", ""},
		{`permit (principal, action, resource) when { principal.name };`, "expected Bool", ""},
		{`permit (principal, action == Action::"GetSecretValue", resource == Vault::"V");`, "applicable action", "resource in Vault"},
		{strings.Repeat(" ", secret.MaxPolicyBytes) + ";", "65537 bytes", ""},
		{"permit (principal, action, resource) when { \xff };", "UTF-8", ""},
		{`permit (principal, action, resource) when { ` + strings.Repeat("(", 200) + "true" + strings.Repeat(")", 200) + ` };`, "nested deeper", ""},
		{`permit (principal, action, resource) when { true` + strings.Repeat(" || false", 200) + ` };`, "the limit is 200", "split"},
	}
	for _, tt := range tests {
		t.Run(tt.message, func(t *testing.T) {
			err := ParsePolicy("name", tt.text)
			e, ok := errors.AsType[*secret.Error](err)
			if !ok || e.Code != secret.CodeInvalid || e.Field != "text" {
				t.Fatalf("error %v", err)
			}
			if !strings.Contains(e.Message, tt.message) || !strings.Contains(e.Hint, tt.hint) {
				t.Errorf("message %q, hint %q; want %q, %q", e.Message, e.Hint, tt.message, tt.hint)
			}
		})
	}
	if err := ParsePolicy("a name", `permit (principal, action, resource);`); !secret.HasCode(err, secret.CodeInvalid) {
		t.Errorf("a name with a space: %v", err)
	}
}

func TestGrantPolicy(t *testing.T) {
	tests := []struct {
		grant  Grant
		caller *secret.Principal
		action Action
		want   bool
	}{
		{Grant{Principal: alice, Groups: []Group{GroupRead}, Vault: "VAULT1"}, alice, GetSecretValue, true},
		{Grant{Principal: alice, Groups: []Group{GroupRead}, Vault: "VAULT2"}, alice, GetSecretValue, false},
		{Grant{Principal: alice, Groups: []Group{GroupRead}}, robot, GetSecretValue, false},
		{Grant{Principal: robot, Actions: []Action{PurgeSecret, GetSecretValue}}, robot, PurgeSecret, true},
		{Grant{Role: "ops", Groups: []Group{GroupWrite}, Actions: []Action{GetSecretValue}}, alice, DeleteSecret, true},
		{Grant{Principal: mallory, Actions: []Action{GetSecretValue}}, mallory, GetSecretValue, true},
	}
	for _, tt := range tests {
		text, err := GrantPolicy(tt.grant)
		if err != nil {
			t.Fatal(err)
		}
		if err := ParsePolicy("grant", text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		m := newMemory()
		m.put(acme, "grant", text)
		r := get(tt.caller)
		r.Action = tt.action
		if d := decide(t, New(Options{}), m, r); d.Allowed != tt.want {
			t.Errorf("%s: %+v", text, d)
		}
	}
	for _, g := range []Grant{
		{}, {Principal: alice}, {Principal: alice, Role: "x", Groups: []Group{GroupRead}}, {Role: `a"b`, Groups: []Group{GroupRead}},
		{Principal: alice, Actions: []Action{"Get"}}, {Principal: alice, Groups: []Group{"all"}},
	} {
		if text, err := GrantPolicy(g); !secret.HasCode(err, secret.CodeInvalid) {
			t.Errorf("%+v: %q, %v", g, text, err)
		}
	}
}

func TestActions(t *testing.T) {
	if n := len(Actions()); n > maxActions {
		t.Fatalf("%d actions do not fit a word", n)
	}
	grouped := map[Action]bool{}
	for _, g := range Groups() {
		for _, a := range g.Actions() {
			grouped[a] = true
		}
		if _, ok := newActionTable().bits[Action(g)]; ok {
			t.Errorf("group %s is also an action", g)
		}
	}
	for _, a := range Actions() {
		if !grouped[a] {
			t.Errorf("%s is in no group", a)
		}
	}
}

// FuzzParsePolicy checks that what is accepted can be decided by, and that what
// is refused is refused as bad input.
func FuzzParsePolicy(f *testing.F) {
	for _, seed := range []string{
		`permit (principal, action, resource);`,
		`forbid (principal == User::"A", action in [Action::"read"], resource is Secret in Vault::"V") when { resource.tags has env };`,
		`permit (principal, action, resource) unless { context.source_ip.isInRange(ip("10.0.0.0/8")) && 1 + 2 * 3 < -4 };`,
		`@id("x") permit (principal, action, resource) when { if true then {"a": [1, "b"]}.a.isEmpty() else principal.name like "a*\*" };`,
		`permit (principal, action, resource) when { decimal("1.0").lessThan(decimal("2.0")) && !!duration("1h").toHours() };`,
		"permit(", `"\u{10ffff}`, ";", "//",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if err := ParsePolicy("fuzzed", text); err != nil {
			if e, ok := errors.AsType[*secret.Error](err); !ok || e.Code != secret.CodeInvalid || e.Field != "text" {
				t.Fatalf("error %v", err)
			}
			return
		}
		m := newMemory()
		m.put(acme, "fuzzed", text)
		for _, view := range []record.View{m, plain{m}} {
			if _, err := New(Options{}).Decide(view, get(alice)); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func ExampleGrantPolicy() {
	text, _ := GrantPolicy(Grant{Role: "readers", Groups: []Group{GroupRead}, Vault: "01JV"})
	fmt.Print(text)
	// Output:
	// permit (
	//   principal in Role::"readers",
	//   action in [Action::"read"],
	//   resource in Vault::"01JV"
	// );
}
