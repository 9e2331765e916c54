package authz

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cedar-policy/cedar-go"
	"pgregory.net/rapid"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// generated is a policy with what its generator knows of it.
type generated struct {
	text   string
	forbid bool
	// names says that the principal scope names an entity that only a foreign
	// principal or a foreign account can match.
	names []cedar.EntityUID
}

var (
	entityPrincipals = []string{`User::"ALICE"`, `Workload::"ROBOT"`, `User::"MALLORY"`, `User::"ROBOT"`}
	entityGroups     = []string{`Role::"readers"`, `Role::"ops"`, `Account::"01ACME"`, `Account::"01OTHER"`, `User::"ALICE"`, `User::"MALLORY"`}
	entityResources  = []string{`Secret::"VAULT1.S1"`, `Secret::"VAULT1.S2"`, `Vault::"VAULT1"`, `Vault::"VAULT2"`, `Account::"01ACME"`, `Credential::"C1"`}
	entityContainers = []string{`Vault::"VAULT1"`, `Vault::"VAULT2"`, `Account::"01ACME"`, `Account::"01OTHER"`, `Principal::"ALICE"`, `Secret::"VAULT1.S1"`}
	resourceTypes    = []string{"Secret", "Vault", "Account", "Credential"}
	conditions       = []string{
		`true`, `false`,
		`resource.tags has env && resource.tags.env == "prod"`,
		`resource.tags.env == "prod"`, // fails without the tag
		`resource has tags && resource.tags == {"env": "prod"}`,
		`resource.vault == "prod"`, // fails for all but secrets
		`resource.name like "db/*"`,
		`principal.name == "alice"`, `principal has kind && principal.kind == "USER"`, `principal.account == "01OTHER"`,
		`principal in Role::"ops"`, `principal in [Role::"readers", Account::"01OTHER"]`, `principal is User in Account::"01ACME"`,
		`resource in Vault::"VAULT1"`, `resource in Account::"01ACME"`, `resource is Secret`,
		`action in Action::"read"`, `action in [Action::"purge", Action::"GetSecretValue"]`, `action == Action::"PurgeSecret"`,
		`context.source_ip.isInRange(ip("10.0.0.0/8"))`, `context has source_ip`, `context.region == "east"`, `context.method != "token"`,
		`context.time < datetime("2026-03-02")`,
		`context == {"region": "east"}`, `{"c": context}.c.region == "east"`,
		`(if principal is User then principal else resource).name == "alice"`,
		`Vault::"VAULT1".name == "prod"`, `Vault::"VAULT1" in Account::"01ACME"`, `User::"ALICE".name == "alice"`,
		`principal.nothing`, `1 + 9223372036854775807 > 0`,
	}
)

func drawPolicy(t *rapid.T) generated {
	pick := func(label string, from []string) string { return rapid.SampledFrom(from).Draw(t, label) }
	var g generated
	principal, named := drawPrincipal(t)
	if named != "" {
		var id cedar.EntityUID
		if err := id.UnmarshalCedar([]byte(named)); err != nil {
			t.Fatal(err)
		}
		g.names = append(g.names, id)
	}
	action := pick("action", []string{
		"action", "action", `action == Action::"GetSecretValue"`, `action in Action::"read"`, `action == Action::"read"`,
		`action in [Action::"write", Action::"PurgeSecret"]`, `action in [Action::"manage", Action::"GetSecretValue"]`, `action in Action::"GetVault"`,
	})
	resource := "resource"
	switch rapid.IntRange(0, 5).Draw(t, "resource scope") {
	case 0:
		resource += " == " + pick("resource", entityResources)
	case 1, 2:
		resource += " in " + pick("container", entityContainers)
	case 3:
		resource += " is " + pick("type", resourceTypes)
	case 4:
		resource += " is " + pick("type", resourceTypes) + " in " + pick("container", entityContainers)
	}
	g.forbid = rapid.IntRange(0, 4).Draw(t, "effect") == 0
	effect := "permit"
	if g.forbid {
		effect = "forbid"
	}
	g.text = fmt.Sprintf("%s (%s, %s, %s)", effect, principal, action, resource)
	for range rapid.IntRange(0, 2).Draw(t, "conditions") {
		g.text += " " + pick("when", []string{"when", "when", "unless"}) + " { " + pick("condition", conditions) + " }"
	}
	g.text += ";"
	return g
}

func drawPrincipal(t *rapid.T) (scope, named string) {
	pick := func(label string, from []string) string { return rapid.SampledFrom(from).Draw(t, label) }
	switch rapid.IntRange(0, 5).Draw(t, "principal scope") {
	case 0:
		named = pick("principal", entityPrincipals)
		return "principal == " + named, named
	case 1, 2:
		named = pick("group", entityGroups)
		return "principal in " + named, named
	case 3:
		return "principal is " + pick("type", []string{"User", "Workload"}), ""
	case 4:
		named = pick("group", entityGroups)
		return "principal is " + pick("type", []string{"User", "Workload"}) + " in " + named, named
	}
	return "principal", ""
}

func drawRequest(t *rapid.T) Request {
	r := get(rapid.SampledFrom([]*secret.Principal{alice, robot, mallory, operator}).Draw(t, "caller"))
	r.Action = rapid.SampledFrom([]Action{GetSecretValue, PurgeSecret, PutSecretVersion, GetVault, RevokeCredential}).Draw(t, "asked")
	switch rapid.IntRange(0, 4).Draw(t, "resource") {
	case 0:
		r.Resource = Resource{Kind: VaultResource, ID: "VAULT1", Name: "prod", Account: acme, Tags: map[string]string{"env": "test"}}
	case 1:
		r.Resource = Resource{Kind: AccountResource, ID: string(acme), Name: "acme", Account: acme}
	case 2:
		r.Resource = Resource{Kind: CredentialResource, ID: "C1", Account: acme, Principal: "ALICE"}
	case 3:
		r.Resource.ID, r.Resource.Tags = "VAULT1.S2", nil
	}
	if rapid.Bool().Draw(t, "no address") {
		r.Context.SourceIP = netip.Addr{}
	}
	if rapid.Bool().Draw(t, "later") {
		r.Context.Time = r.Context.Time.Add(48 * time.Hour)
		r.Context.Region = "west"
	}
	return r
}

// entities are all that a request is about, with all their attributes.
func entities(r Request) cedar.EntityMap {
	text := func(s string) cedar.String { return cedar.String(s) }
	m := cedar.EntityMap{}
	add := func(id cedar.EntityUID, attributes cedar.RecordMap, parents ...cedar.EntityUID) {
		m[id] = cedar.Entity{UID: id, Attributes: cedar.NewRecord(attributes), Parents: cedar.NewEntityUIDSet(parents...)}
	}
	who, _ := principalType(r.Caller.Kind)
	groups := []cedar.EntityUID{uid(typeAccount, r.Caller.Account)}
	if r.Caller.Account == r.Resource.Account {
		for _, role := range r.Caller.Roles {
			groups = append(groups, uid(typeRole, role))
		}
	}
	add(uid(who, r.Caller.ID), cedar.RecordMap{
		"name": text(r.Caller.Name), "kind": text(string(r.Caller.Kind)), "account": text(string(r.Caller.Account)),
	}, groups...)
	tags := cedar.RecordMap{}
	for k, v := range r.Resource.Tags {
		tags[text(k)] = text(v)
	}
	account, name := uid(typeAccount, r.Resource.Account), text(r.Resource.Name)
	switch r.Resource.Kind {
	case SecretResource:
		add(uid(typeSecret, r.Resource.ID), cedar.RecordMap{"name": name, "vault": text(r.Resource.VaultName), "tags": cedar.NewRecord(tags)}, uid(typeVault, r.Resource.Vault))
		add(uid(typeVault, r.Resource.Vault), cedar.RecordMap{"name": text(r.Resource.VaultName)}, account)
	case VaultResource:
		add(uid(typeVault, r.Resource.ID), cedar.RecordMap{"name": name, "tags": cedar.NewRecord(tags)}, account)
	case AccountResource:
		add(account, cedar.RecordMap{"name": name})
	case CredentialResource:
		add(uid(typeCredential, r.Resource.ID), cedar.RecordMap{"name": name}, uid(typePrincipal, r.Resource.Principal))
		add(uid(typePrincipal, r.Resource.Principal), nil, account)
	}
	for id, e := range newActionTable().entities {
		m[id] = e
	}
	return m
}

func cedarRequest(r Request) cedar.Request {
	who, _ := principalType(r.Caller.Kind)
	what, _ := resourceType(r.Resource.Kind)
	context := cedar.RecordMap{
		"time": cedar.NewDatetime(r.Context.Time), "region": cedar.String(r.Context.Region), "method": cedar.String(r.Context.Method),
	}
	if a := r.Context.SourceIP; a.IsValid() {
		context["source_ip"] = cedar.IPAddr(netip.PrefixFrom(a, a.BitLen()))
	}
	return cedar.Request{
		Principal: uid(who, r.Caller.ID), Action: uid(typeAction, r.Action), Resource: uid(what, r.Resource.ID), Context: cedar.NewRecord(context),
	}
}

// reference decides by evaluating every policy with Cedar alone.
func reference(t *rapid.T, policies []generated, r Request) (allowed bool, by []string) {
	var permits, forbids []string
	request, all := cedarRequest(r), entities(r)
	foreign := r.Caller.Account != r.Resource.Account
	for i, g := range policies {
		var p cedar.Policy
		if err := p.UnmarshalCedar([]byte(g.text)); err != nil {
			t.Fatal(g.text, err)
		}
		if foreign && !g.forbid && !slices.Contains(g.names, request.Principal) &&
			!slices.Contains(g.names, uid(typeAccount, r.Caller.Account)) {
			continue
		}
		one := cedar.PolicyMap{"p": &p}
		decision, diagnostic := cedar.Authorize(one, all, request)
		id := fmt.Sprintf("p%02d/0", i)
		switch {
		case g.forbid && len(diagnostic.Reasons)+len(diagnostic.Errors) > 0:
			forbids = append(forbids, id)
		case !g.forbid && decision == cedar.Allow:
			permits = append(permits, id)
		}
	}
	if len(forbids) > 0 {
		return false, forbids
	}
	return len(permits) > 0, permits
}

func TestSliceDecidesAsTheFullSet(t *testing.T) {
	allowed, denied := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		policies := rapid.SliceOfN(rapid.Custom(drawPolicy), 1, 12).Draw(t, "policies")
		m := newMemory()
		for i, p := range policies {
			m.put(acme, fmt.Sprintf("p%02d", i), p.text)
		}
		a := New(Options{})
		for range 8 {
			r := drawRequest(t)
			want, by := reference(t, policies, r)
			d, err := a.Decide(m, r)
			if err != nil {
				t.Fatal(err)
			}
			if d.Allowed != want || !slices.Equal(d.Policies, by) {
				t.Fatalf("%s by %s: %+v, the full set says %v by %v", r.Action, r.Caller.Name, d, want, by)
			}
			if want {
				allowed++
			} else {
				denied++
			}
		}
	})
	if allowed == 0 || denied == 0 {
		t.Errorf("%d allowed and %d denied: the generator is lopsided", allowed, denied)
	}
}

// TestForeignersNeedToBeNamed checks the rule across accounts by itself: what
// allows a foreign caller is a permit that names it or its account.
func TestForeignersNeedToBeNamed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		policies := rapid.SliceOfN(rapid.Custom(drawPolicy), 1, 12).Draw(t, "policies")
		r := drawRequest(t)
		r.Caller = rapid.SampledFrom([]*secret.Principal{mallory, operator}).Draw(t, "foreigner")
		m := newMemory()
		for i, p := range policies {
			m.put(acme, fmt.Sprintf("p%02d", i), p.text)
		}
		d, err := New(Options{}).Decide(m, r)
		if err != nil {
			t.Fatal(err)
		}
		if !d.Allowed {
			return
		}
		for _, id := range d.Policies {
			var i int
			if _, err := fmt.Sscanf(id, "p%02d/0", &i); err != nil {
				t.Fatal(err)
			}
			scope, _, _ := strings.Cut(policies[i].text, ", action")
			if !strings.Contains(scope, `"`+string(r.Caller.ID)+`"`) && !strings.Contains(scope, `Account::"`+string(r.Caller.Account)+`"`) {
				t.Fatalf("%s permitted by %s", r.Caller.Name, policies[i].text)
			}
		}
	})
}
