package authz

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const (
	acme  secret.AccountID = "01ACME"
	other secret.AccountID = "01OTHER"
)

var (
	alice    = &secret.Principal{ID: "ALICE", Account: acme, Name: "alice", Kind: secret.User, Roles: []string{"readers", "ops"}}
	robot    = &secret.Principal{ID: "ROBOT", Account: acme, Name: "robot", Kind: secret.Workload}
	mallory  = &secret.Principal{ID: "MALLORY", Account: other, Name: "mallory", Kind: secret.User, Roles: []string{"readers"}}
	operator = &secret.Principal{ID: "OLGA", Account: secret.SystemAccount, Name: "olga", Kind: secret.Operator}
)

func dbPassword() Resource {
	return Resource{
		Kind: SecretResource, ID: "VAULT1.S1", Name: "db/password", Account: acme, Vault: "VAULT1", VaultName: "prod",
		Tags: map[string]string{"env": "prod", "cost center": "7"},
	}
}

func get(p *secret.Principal) Request {
	return Request{
		Caller: p, Action: GetSecretValue, Resource: dbPassword(),
		Context: Context{
			SourceIP: netip.MustParseAddr("10.1.2.3"), Time: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Region: "east", Method: "token",
		},
	}
}

// decision is what policies p0, p1 and so on decide.
type decision struct {
	name     string
	policies []string
	request  Request
	want     bool
	by       []string
}

func with(r Request, change func(*Request)) Request {
	change(&r)
	return r
}

func mapped(r *Request)  { r.Context.SourceIP = netip.MustParseAddr("::ffff:10.1.2.3") }
func nowhere(r *Request) { r.Context.SourceIP = netip.Addr{} }

const inVault = `permit (principal in Role::"readers", action in Action::"read", resource in Vault::"VAULT1");`

// decisions about who belongs to the account.
var decisions = []decision{
	{"no policies", nil, get(alice), false, nil},
	{"everything", []string{`permit (principal, action, resource);`}, get(alice), true, []string{"p0/0"}},
	{"role in vault", []string{inVault}, get(alice), true, []string{"p0/0"}},
	{"no such role", []string{inVault}, get(robot), false, nil},
	{"group does not hold the action", []string{inVault}, with(get(alice), func(r *Request) { r.Action = PutSecretVersion }), false, nil},
	{"purge is not write", []string{`permit (principal, action in [Action::"write", Action::"manage"], resource);`},
		with(get(alice), func(r *Request) { r.Action = PurgeSecret }), false, nil},
	{"purge", []string{`permit (principal, action in Action::"purge", resource);`},
		with(get(alice), func(r *Request) { r.Action = PurgeSecret }), true, []string{"p0/0"}},
	{"a group is not an action", []string{`permit (principal, action == Action::"read", resource);`}, get(alice), false, nil},
	{"other vault", []string{`permit (principal, action, resource in Vault::"VAULT2");`}, get(alice), false, nil},
	{"secret in account", []string{`permit (principal, action, resource in Account::"01ACME");`}, get(alice), true, []string{"p0/0"}},
	{"exact vault is not its secrets", []string{`permit (principal, action, resource == Vault::"VAULT1");`}, get(alice), false, nil},
	{"type", []string{`permit (principal is Workload, action, resource is Secret);`}, get(robot), true, []string{"p0/0"}},
	{"other type", []string{`permit (principal is Workload, action, resource is Secret);`}, get(alice), false, nil},
	{"type in", []string{`permit (principal is User in Role::"ops", action, resource is Secret in Vault::"VAULT1");`}, get(alice), true, []string{"p0/0"}},
	{"forbid overrides", []string{`permit (principal, action, resource); forbid (principal == User::"ALICE", action, resource);`},
		get(alice), false, []string{"p0/1"}},
	{"all permits are named", []string{inVault, `permit (principal, action, resource); permit (principal, action, resource) when { true };`},
		get(alice), true, []string{"p0/0", "p1/0", "p1/1"}},
	{"tag", []string{`permit (principal, action, resource) when { resource.tags has env && resource.tags.env == "prod" };`}, get(alice), true, []string{"p0/0"}},
	{"tag with a space", []string{`permit (principal, action, resource) when { resource.tags["cost center"] == "7" };`}, get(alice), true, []string{"p0/0"}},
	{"name and vault", []string{`permit (principal, action, resource) when { resource.name like "db/*" && resource.vault == "prod" };`}, get(alice), true, []string{"p0/0"}},
	{"vault's name", []string{`permit (principal, action, resource) when { resource in Vault::"VAULT1" && Vault::"VAULT1".name == "prod" };`}, get(alice), true, []string{"p0/0"}},
	{"principal's attributes", []string{`permit (principal, action, resource) when { principal.name == "alice" && principal.kind == "USER" && principal.account == "01ACME" };`}, get(alice), true, []string{"p0/0"}},
	{"group in a condition", []string{`permit (principal, action, resource) when { action in Action::"read" && principal in Role::"ops" };`}, get(alice), true, []string{"p0/0"}},
	{"address", []string{`permit (principal, action, resource) when { context.source_ip.isInRange(ip("10.0.0.0/8")) };`}, get(alice), true, []string{"p0/0"}},
	{"mapped address", []string{`permit (principal, action, resource) when { context.source_ip.isInRange(ip("10.0.0.0/8")) };`}, with(get(alice), mapped), true, []string{"p0/0"}},
	{"time", []string{`permit (principal, action, resource) when { context.time < datetime("2026-04-01") };`}, get(alice), true, []string{"p0/0"}},
	{"region and method", []string{`permit (principal, action, resource) when { context.region == "east" } unless { context.method == "signature" };`}, get(alice), true, []string{"p0/0"}},
	{"permit that fails", []string{`permit (principal, action, resource) when { resource.tags.missing == "x" };`}, get(alice), false, nil},
	{"permit that fails beside one that does not", []string{`permit (principal, action, resource) when { resource.tags.missing == "x" };`, inVault}, get(alice), true, []string{"p1/0"}},
	{"forbid that fails forbids", []string{inVault, `forbid (principal, action, resource) when { resource.tags.missing == "x" };`}, get(alice), false, []string{"p1/0"}},
	{"unknown address fails closed", []string{inVault, `forbid (principal, action, resource) unless { context.source_ip.isLoopback() };`}, with(get(alice), nowhere), false, []string{"p1/0"}},
}

// foreignDecisions are about principals of another account.
var foreignDecisions = []decision{
	{"foreigner and everybody", []string{`permit (principal, action, resource);`}, get(mallory), false, nil},
	{"foreigner and everybody of a type", []string{`permit (principal is User, action, resource);`}, get(mallory), false, nil},
	{"foreigner's role", []string{inVault}, get(mallory), false, nil},
	{"foreigner by condition", []string{`permit (principal, action, resource) when { principal == User::"MALLORY" };`}, get(mallory), false, nil},
	{"foreigner by name", []string{`permit (principal == User::"MALLORY", action, resource);`}, get(mallory), true, []string{"p0/0"}},
	{"foreigner by account", []string{`permit (principal in Account::"01OTHER", action, resource);`}, get(mallory), true, []string{"p0/0"}},
	{"foreigner by type in account", []string{`permit (principal is User in Account::"01OTHER", action, resource);`}, get(mallory), true, []string{"p0/0"}},
	{"foreigner forbidden as everybody", []string{`permit (principal == User::"MALLORY", action, resource); forbid (principal, action, resource);`}, get(mallory), false, []string{"p0/1"}},
	{"operator in a customer's account", []string{`permit (principal, action, resource);`}, get(operator), false, nil},
}

func TestDecide(t *testing.T) {
	for _, tt := range slices.Concat(decisions, foreignDecisions) {
		t.Run(tt.name, func(t *testing.T) {
			m := newMemory()
			for i, text := range tt.policies {
				m.put(acme, "p"+string(rune('0'+i)), text)
			}
			m.put(other, "all", `permit (principal, action, resource);`) // of no account here
			for _, view := range []record.View{m, plain{m}} {
				d := decide(t, New(Options{}), view, tt.request)
				if d.Allowed != tt.want || !slices.Equal(d.Policies, tt.by) || d.Reason == "" {
					t.Errorf("decision %+v, want %v by %v", d, tt.want, tt.by)
				}
			}
		})
	}
}

func TestOperators(t *testing.T) {
	m := newMemory()
	m.put(secret.SystemAccount, "admin", AdminPolicy(operator))
	a := New(Options{})
	for _, action := range GroupOperate.Actions() {
		if d := decide(t, a, m, Request{Caller: operator, Action: action, Resource: RegionOf("east")}); !d.Allowed {
			t.Errorf("%s: %+v", action, d)
		}
		if d := decide(t, a, m, Request{Caller: alice, Action: action, Resource: RegionOf("east")}); d.Allowed {
			t.Errorf("%s permitted to a user: %+v", action, d)
		}
	}
}

// TestResources asks for each kind of resource, and by name for its account.
func TestResources(t *testing.T) {
	tests := []struct {
		scope    string
		resource Resource
	}{
		{`== Secret::"VAULT1.S1"`, dbPassword()},
		{`in Vault::"VAULT1"`, Resource{Kind: VaultResource, ID: "VAULT1", Account: acme}},
		{`== Account::"01ACME"`, Resource{Kind: AccountResource, ID: string(acme), Account: acme}},
		{`== Principal::"ALICE"`, Resource{Kind: PrincipalResource, ID: "ALICE", Name: "alice", Account: acme}},
		{`== Policy::"admin"`, Resource{Kind: PolicyResource, ID: "01ACME/admin", Name: "admin", Account: acme}},
		{`in Principal::"ALICE"`, Resource{Kind: CredentialResource, ID: "C1", Principal: "ALICE", Account: acme}},
		{`is Credential in Account::"01ACME"`, Resource{Kind: CredentialResource, ID: "C1", Account: acme}},
	}
	for _, tt := range tests {
		for _, scope := range []string{tt.scope, `in Account::"01ACME"`} {
			for _, condition := range []string{"", " when { resource.name == resource.name }"} {
				m := newMemory()
				m.put(acme, "p", "permit (principal, action, resource "+scope+")"+condition+";")
				d := decide(t, New(Options{}), m, Request{Caller: alice, Action: GetSecretValue, Resource: tt.resource})
				if !d.Allowed {
					t.Errorf("%s%s on a %s: %+v", scope, condition, tt.resource.Kind, d)
				}
			}
		}
	}
}

func TestRequestsThatMakeNoSense(t *testing.T) {
	m := newMemory()
	m.put(acme, "all", `permit (principal, action, resource);`)
	tests := map[string]func(*Request){
		"no caller":        func(r *Request) { r.Caller = nil },
		"unknown action":   func(r *Request) { r.Action = "Get" },
		"a group":          func(r *Request) { r.Action = Action(GroupRead) },
		"unknown resource": func(r *Request) { r.Resource.Kind = "thing" },
		"no account":       func(r *Request) { r.Resource.Account = "" },
		"unknown kind":     func(r *Request) { r.Caller = &secret.Principal{ID: "X", Account: acme, Kind: "ALIEN"} },
		"stateless caller": func(r *Request) { r.Caller = &secret.Principal{ID: "X", Kind: secret.User} },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			r := get(alice)
			change(&r)
			if d, err := New(Options{}).Decide(m, r); err == nil || d.Allowed {
				t.Errorf("decision %+v, error %v", d, err)
			}
		})
	}
}
