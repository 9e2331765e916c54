package behaviour_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

// walk returns the names on all pages of a list.
func walk(t testing.TB, c *lifeboattest.Client, m *lifeboatv1.ListSecretsRequest) (names []string) {
	t.Helper()
	for {
		page := do(t, c.ListSecrets, m)
		if m.GetPageSize() > 0 && len(page.GetSecrets()) > int(m.GetPageSize()) {
			t.Fatalf("a page of %d has %d secrets", m.GetPageSize(), len(page.GetSecrets()))
		}
		for _, s := range page.GetSecrets() {
			names = append(names, s.GetName())
			if s.GetDescription() != "" || s.GetMetadata() != nil || s.GetVersions() != nil {
				t.Errorf("a list shows %v", s)
			}
		}
		if page.GetNextPageToken() == "" {
			return names
		}
		m.PageToken = page.GetNextPageToken()
	}
}

func TestListsFilter(t *testing.T) {
	a := account(t, shared)
	c, v := a.Client(shared.Host(0)), a.Vault
	for name, tags := range map[string]map[string]string{
		"a/1": {"env": "test", "team": "x"}, "a/2": {"env": "prod"}, "b/1": {"env": "test"}, "b/2": nil,
	} {
		do(t, c.CreateSecret, &lifeboatv1.CreateSecretRequest{
			Vault: v, Name: name, Value: []byte("v"), Tags: tags, Description: "d", Wait: lifeboatv1.Wait_WAIT_CLEARED,
		})
	}
	do(t, c.DeleteSecret, &lifeboatv1.DeleteSecretRequest{Vault: v, Secret: "b/2", Wait: lifeboatv1.Wait_WAIT_CLEARED})
	pending := []lifeboatv1.State{lifeboatv1.State_STATE_PENDING_DELETION}
	for _, test := range []struct {
		m    *lifeboatv1.ListSecretsRequest
		want []string
	}{
		{&lifeboatv1.ListSecretsRequest{}, []string{"a/1", "a/2", "b/1"}},
		{&lifeboatv1.ListSecretsRequest{PageSize: 1}, []string{"a/1", "a/2", "b/1"}},
		{&lifeboatv1.ListSecretsRequest{NamePrefix: "a/"}, []string{"a/1", "a/2"}},
		{&lifeboatv1.ListSecretsRequest{NamePrefix: "c"}, nil},
		{&lifeboatv1.ListSecretsRequest{Tags: map[string]string{"env": "test"}}, []string{"a/1", "b/1"}},
		{&lifeboatv1.ListSecretsRequest{Tags: map[string]string{"env": ""}, PageSize: 2}, []string{"a/1", "a/2", "b/1"}},
		{&lifeboatv1.ListSecretsRequest{Tags: map[string]string{"env": "test", "team": "x"}}, []string{"a/1"}},
		{&lifeboatv1.ListSecretsRequest{States: pending}, []string{"b/2"}},
		{&lifeboatv1.ListSecretsRequest{States: append(pending, lifeboatv1.State_STATE_ACTIVE), NamePrefix: "b"}, []string{"b/1", "b/2"}},
	} {
		for _, p := range shared.Processes() {
			test.m.Vault, test.m.PageToken = v, ""
			eventually(t, test.m.String(), func() bool { // until the states are those after the last work item
				return slices.Equal(walk(t, a.Client(p), test.m), test.want)
			})
		}
	}
}

func TestPageTokensAreOfOneList(t *testing.T) {
	a, b := account(t, shared), account(t, shared)
	c := a.Client(shared.Host(0))
	for i := range 3 {
		create(t, c, a.Vault, fmt.Sprint("s", i), "v")
		create(t, b.Client(shared.Host(0)), b.Vault, fmt.Sprint("s", i), "v")
	}
	token := do(t, c.ListSecrets, &lifeboatv1.ListSecretsRequest{Vault: a.Vault, PageSize: 1}).GetNextPageToken()
	// Another host takes it, with another page size too.
	if got := do(t, a.Client(shared.Host(1)).ListSecrets, &lifeboatv1.ListSecretsRequest{Vault: a.Vault, PageSize: 9, PageToken: token}); len(got.GetSecrets()) != 2 {
		t.Errorf("the second page has %d secrets", len(got.GetSecrets()))
	}
	for _, m := range []*lifeboatv1.ListSecretsRequest{
		{Vault: a.Vault, NamePrefix: "s", PageToken: token},
		{Vault: a.Vault, Tags: map[string]string{"a": ""}, PageToken: token},
		{Vault: a.Vault, States: []lifeboatv1.State{lifeboatv1.State_STATE_ACTIVE}, PageToken: token},
	} {
		if info := fails(t, c.ListSecrets, m, secret.CodeInvalid); info.GetField() != "page_token" {
			t.Errorf("refused for the field %q", info.GetField())
		}
	}
	fails(t, b.Client(shared.Host(0)).ListSecrets, &lifeboatv1.ListSecretsRequest{Vault: b.Vault, PageToken: token}, secret.CodeInvalid)
	fails(t, c.ListVaults, &lifeboatv1.ListVaultsRequest{PageToken: token}, secret.CodeInvalid)
}

func TestPagesAreStableWhileOthersCreateAndDelete(t *testing.T) {
	a := account(t, shared)
	c, v := a.Client(shared.Host(0)), a.Vault
	var want []string
	for i := range 20 {
		name := fmt.Sprintf("keep-%02d", i)
		create(t, c, v, name, "v")
		want = append(want, name)
	}
	stop := make(chan struct{})
	var running sync.WaitGroup
	for w := range 2 {
		running.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				name := fmt.Sprintf("keep-%02d-passing-%d-%d", i%20, w, i)
				if _, err := c.CreateSecret(t.Context(), ask(&lifeboatv1.CreateSecretRequest{Vault: v, Name: name, Value: []byte("v")})); err != nil {
					t.Error(err)
				}
				if _, err := c.DeleteSecret(t.Context(), ask(&lifeboatv1.DeleteSecretRequest{Vault: v, Secret: name, Immediate: true})); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 10 {
		for _, p := range shared.Processes() {
			names := walk(t, a.Client(p), &lifeboatv1.ListSecretsRequest{Vault: v, PageSize: 3})
			if !slices.IsSorted(names) || len(slices.Compact(slices.Clone(names))) != len(names) {
				t.Errorf("%s: not in order, or twice: %v", p.ID, names)
			}
			kept := slices.DeleteFunc(names, func(n string) bool { return len(n) != len("keep-00") })
			if !slices.Equal(kept, want) {
				t.Errorf("%s: saw %v", p.ID, kept)
			}
		}
	}
	close(stop)
	running.Wait()
}

func TestOtherLists(t *testing.T) {
	a := account(t, shared)
	c := a.Client(shared.Host(0))
	for i := range 3 {
		do(t, c.CreateVault, &lifeboatv1.CreateVaultRequest{Name: fmt.Sprint("v", i)})
		user(t, a, fmt.Sprint("u", i))
		policy(t, a, fmt.Sprint("p", i), "forbid (principal, action, resource) when { false };")
	}
	var vaults, principals, policies []string
	credentials := 0
	for token := ""; ; {
		page := do(t, c.ListVaults, &lifeboatv1.ListVaultsRequest{PageSize: 2, PageToken: token})
		for _, v := range page.GetVaults() {
			vaults = append(vaults, v.GetName())
		}
		if token = page.GetNextPageToken(); token == "" {
			break
		}
	}
	for token := ""; ; {
		page := do(t, c.ListPrincipals, &lifeboatv1.ListPrincipalsRequest{PageSize: 2, PageToken: token})
		for _, p := range page.GetPrincipals() {
			principals = append(principals, p.GetName())
		}
		if token = page.GetNextPageToken(); token == "" {
			break
		}
	}
	for token := ""; ; {
		page := do(t, c.ListPolicies, &lifeboatv1.ListPoliciesRequest{PageSize: 2, PageToken: token})
		for _, p := range page.GetPolicies() {
			policies = append(policies, p.GetName())
		}
		if token = page.GetNextPageToken(); token == "" {
			break
		}
	}
	for token := ""; ; {
		page := do(t, c.ListCredentials, &lifeboatv1.ListCredentialsRequest{PageSize: 2, PageToken: token})
		credentials += len(page.GetCredentials())
		if token = page.GetNextPageToken(); token == "" {
			break
		}
	}
	if want := []string{a.Name, "v0", "v1", "v2"}; !slices.Equal(vaults, want) {
		t.Errorf("vaults %v", vaults)
	}
	if want := []string{"admin", "u0", "u1", "u2"}; !slices.Equal(principals, want) {
		t.Errorf("principals %v", principals)
	}
	if want := []string{"admin", "p0", "p1", "p2"}; !slices.Equal(policies, want) {
		t.Errorf("policies %v", policies)
	}
	if credentials != 4 {
		t.Errorf("%d credentials", credentials)
	}
}

func TestBatchesFailInPart(t *testing.T) {
	a := account(t, shared)
	admin := a.Client(shared.Control())
	create(t, admin, a.Vault, "a", "1")
	create(t, admin, a.Vault, "b", "2")
	_, made := user(t, a, "alice")
	policy(t, a, "alice", `permit (principal, action == Action::"GetSecretValue", resource) unless { resource.name == "b" };`)
	for _, p := range shared.Processes() {
		answer, err := shared.Client(p, made.GetToken()).BatchGetSecretValues(t.Context(), ask(&lifeboatv1.BatchGetSecretValuesRequest{
			Vault: a.Vault, Secrets: []string{"a", "b", "nothing", "not a name"},
		}))
		must(t, err)
		if got := answer.Msg.GetValues(); len(got) != 1 || string(got[0].GetValue()) != "1" {
			t.Errorf("values %v", got)
		}
		codes := map[string]string{}
		for _, e := range answer.Msg.GetErrors() {
			codes[e.GetSecret()] = e.GetCode()
		}
		if len(codes) != 3 || codes["b"] != "permission_denied" || codes["nothing"] != "not_found" || codes["not a name"] != "invalid_argument" {
			t.Errorf("errors %v", codes)
		}
		if lines := linesOf(t, shared, answer.Header().Get("Lifeboat-Request-Id")); len(lines) != 4 {
			t.Errorf("%d audit lines for 4 secrets", len(lines))
		}
	}
}
