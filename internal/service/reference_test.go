package service_test

import (
	"slices"
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// TestAReferenceSaysWhichOneIsMeant: another secret of the name counts as missing,
// and then the second name is looked for.
func TestAReferenceSaysWhichOneIsMeant(t *testing.T) {
	h := start(t)
	a, b := h.create(service.NewSecret{Name: "a"}).Secret, h.create(service.NewSecret{Name: "b"}).Secret
	is := func(want *secret.Secret) func(secret.AccountID, secret.ID) bool {
		return func(account secret.AccountID, id secret.ID) bool { return account == want.Account && id == want.ID }
	}
	for name, c := range map[string]struct {
		ref  service.SecretRef
		want secret.ID
	}{
		"the one":                 {service.SecretRef{Secret: "a", Is: is(a)}, a.ID},
		"another one":             {service.SecretRef{Secret: "a", Is: is(b)}, ""},
		"its second name":         {service.SecretRef{Secret: "a", Is: is(b), Or: "b"}, b.ID},
		"a first name that fits":  {service.SecretRef{Secret: "a", Or: "b"}, a.ID},
		"none of that name":       {service.SecretRef{Secret: "c", Or: "b", OrIs: is(b)}, b.ID},
		"neither":                 {service.SecretRef{Secret: "c", Or: "b", OrIs: is(a)}, ""},
		"a second that is absent": {service.SecretRef{Secret: "c", Or: "d"}, ""},
	} {
		c.ref.Vault = "v"
		d, err := h.DescribeSecret(h.ctx(), c.ref, service.RevisionToken{})
		if c.want == "" {
			if !secret.HasCode(err, secret.CodeNotFound) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil || d.Secret.ID != c.want {
			t.Errorf("%s: %+v, %v", name, d.Secret, err)
		}
	}
}

// TestACheckOfTheCallerRefuses reads and mutations, once the caller is permitted.
func TestACheckOfTheCallerRefuses(t *testing.T) {
	h := start(t)
	h.create(service.NewSecret{Name: "a"})
	asked := 0
	ref := service.SecretRef{Vault: "v", Secret: "a", Check: func(s *secret.Secret) error {
		asked++
		return secret.Errorf(secret.CodeWrongState, "%s is not to be touched", s.Name)
	}}
	_, err := h.GetSecretValue(h.ctx(), service.ValueRef{SecretRef: ref})
	refused := []error{err}
	_, err = h.DescribeSecret(h.ctx(), ref, service.RevisionToken{})
	refused = append(refused, err)
	_, err = h.UpdateSecret(h.ctx(), service.Update{SecretRef: ref})
	refused = append(refused, err)
	for _, err := range refused {
		if !secret.HasCode(err, secret.CodeWrongState) {
			t.Errorf("the check did not count: %v", err)
		}
	}
	if asked < len(refused) {
		t.Errorf("it was asked %d times", asked)
	}
	_, err = h.PutPolicy(h.ctx(), service.NewPolicy{Name: "no", Text: `forbid (principal, action, resource is Secret);`})
	must(t, err)
	asked = 0
	if _, err = h.DescribeSecret(h.ctx(), ref, service.RevisionToken{}); !secret.HasCode(err, secret.CodeDenied) || asked > 0 {
		t.Errorf("who is not permitted had the secret checked %d times: %v", asked, err)
	}
}

// TestAListInTheOrderOfCreation has each secret once, a page at a time, and tells
// descriptions only to those who may describe.
func TestAListInTheOrderOfCreation(t *testing.T) {
	h := start(t)
	var want []string
	for _, name := range []string{"c", "a", "d", "b", "e"} {
		h.create(service.NewSecret{Name: name, Description: secret.NewPlaintext([]byte("about " + name))})
		h.clock.now = h.clock.now.Add(time.Millisecond)
		want = append(want, name)
	}
	_, err := h.DeleteSecret(h.ctx(), service.Deletion{SecretRef: ref("d"), Immediate: true})
	must(t, err)
	want = slices.DeleteFunc(want, func(name string) bool { return name == "d" || name == "e" })
	_, err = h.PutPolicy(h.ctx(), service.NewPolicy{Name: "no", Text: `forbid (principal, action == Action::"` + string(authz.DescribeSecret) + `", resource is Secret) when { resource.name == "a" };`})
	must(t, err)
	q := service.ListQuery{
		Vault: "v", ByCreation: true, Describe: true, PageSize: 2, Selection: "all but e",
		Match: func(item *service.ListItem) bool { return item.Secret.Name != "e" },
	}
	var got []string
	for {
		page, err := h.ListSecrets(h.ctx(), q)
		must(t, err)
		for _, item := range page.Items {
			got = append(got, item.Secret.Name)
			text := string(item.Description.Reveal())
			if hidden := item.Secret.Name == "a"; hidden != (text == "") {
				t.Errorf("%s is described as %q", item.Secret.Name, text)
			}
		}
		if q.PageToken = page.NextPageToken; q.PageToken == "" {
			break
		}
		other := q
		other.Selection = "another"
		if _, err := h.ListSecrets(h.ctx(), other); !secret.HasCode(err, secret.CodeInvalid) {
			t.Errorf("a page token of another list: %v", err)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the list is %v, want %v", got, want)
	}
}

// TestTargetsAreAddedAndRemovedOneByOne, whatever others there are.
func TestTargetsAreAddedAndRemovedOneByOne(t *testing.T) {
	h := start(t)
	h.create(service.NewSecret{Name: "a"})
	replicate := func(r service.SecretReplication) ([]secret.Target, error) {
		r.SecretRef = ref("a")
		o, err := h.ReplicateSecret(h.ctx(), r)
		if err != nil {
			return nil, err
		}
		return o.Secret.Targets, nil
	}
	for _, c := range []struct {
		r    service.SecretReplication
		want []secret.Target
	}{
		{service.SecretReplication{Add: []secret.Target{{Region: "west"}}}, []secret.Target{{Region: "west"}}},
		{service.SecretReplication{Add: []secret.Target{{Region: "south"}}}, []secret.Target{{Region: "south"}, {Region: "west"}}},
		{service.SecretReplication{Add: []secret.Target{{Region: "west", ForceOverwrite: true}}}, []secret.Target{{Region: "south"}, {Region: "west", ForceOverwrite: true}}},
		{service.SecretReplication{Remove: []secret.RegionName{"south"}}, []secret.Target{{Region: "west", ForceOverwrite: true}}},
		{service.SecretReplication{}, nil},
	} {
		if got, err := replicate(c.r); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%+v: %v, %v, want %v", c.r, got, err, c.want)
		}
	}
	if _, err := replicate(service.SecretReplication{Remove: []secret.RegionName{"west"}}); !secret.HasCode(err, secret.CodeNotFound) {
		t.Errorf("what is no target was removed: %v", err)
	}
}

// TestASecretMayBeMadeInAReplicaOfItsVault, where that is asked for: it is at home
// there, and goes nowhere.
func TestASecretMayBeMadeInAReplicaOfItsVault(t *testing.T) {
	p := startPair(t)
	n := service.NewSecret{Vault: "v", Name: "own", Value: secret.NewPlaintext([]byte("west's"))}
	if _, err := p.west.CreateSecret(p.west.as(p.east.token), n); !secret.HasCode(err, secret.CodeNotHome) {
		t.Errorf("without being asked for: %v", err)
	}
	n.InReplica = true
	o, err := p.west.CreateSecret(p.west.as(p.east.token), n)
	must(t, err)
	if o.Secret.Ownership.Home != "west" {
		t.Errorf("it is at home in %s", o.Secret.Ownership.Home)
	}
	p.wantInWest("own", "west's")
	_, err = p.west.PutSecretVersion(p.west.as(p.east.token), service.NewValue{SecretRef: ref("own"), Value: secret.NewPlaintext([]byte("newer"))})
	must(t, err)
	p.wantInWest("own", "newer")
	_, err = p.west.ReplicateSecret(p.west.as(p.east.token), service.SecretReplication{SecretRef: ref("own"), Targets: []secret.Target{{Region: "south"}}})
	if !secret.HasCode(err, secret.CodeNotHome) {
		t.Errorf("where it goes was changed away from the home of its vault: %v", err)
	}
}

// TestBytesAreNotText: the same token with the same bytes as the other kind of value
// is another request.
func TestBytesAreNotText(t *testing.T) {
	h := start(t)
	h.create(service.NewSecret{Name: "a", Binary: true})
	put := func(binary bool) (service.Outcome, error) {
		return h.PutSecretVersion(h.ctx(), service.NewValue{
			SecretRef: ref("a"), Value: secret.NewPlaintext([]byte("x")), Binary: binary, RequestToken: "token", VersionID: "id",
		})
	}
	if o, err := put(true); err != nil || !o.Version.Binary {
		t.Fatalf("%+v, %v", o.Version, err)
	}
	if o, err := put(true); err != nil || !o.Replayed {
		t.Errorf("repeated: %+v, %v", o, err)
	}
	if _, err := put(false); !secret.HasCode(err, secret.CodeTokenReused) {
		t.Errorf("as text: %v", err)
	}
	v, err := h.GetSecretValue(h.ctx(), service.ValueRef{SecretRef: ref("a"), VersionNumber: 1})
	if err != nil || !v.Version.Binary {
		t.Errorf("the first version is %+v, %v", v.Version, err)
	}
}
