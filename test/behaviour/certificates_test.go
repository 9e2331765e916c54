package behaviour_test

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/pki"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

// clientAuthority signs client certificates.
type clientAuthority struct{ *pki.Authority }

func newClientAuthority(t testing.TB) clientAuthority {
	t.Helper()
	a, err := pki.NewAuthority(pki.AuthorityOptions{Region: "clients"})
	must(t, err)
	return clientAuthority{a}
}

func (a clientAuthority) pem() string { return string(a.CertPEM()) }

func (a clientAuthority) issue(t testing.TB, r pki.Request) tls.Certificate {
	t.Helper()
	if r.Name == "" {
		r.Name = "client"
	}
	if r.Use == 0 {
		r.Use = pki.Client
	}
	pair, err := a.Issue(r)
	must(t, err)
	certificate, err := tls.X509KeyPair(pair.CertPEM, pair.KeyPEM.Reveal())
	must(t, err)
	return certificate
}

func (a clientAuthority) client(t testing.TB, uri string) tls.Certificate {
	t.Helper()
	return a.issue(t, pki.Request{URI: uri})
}

// showing returns a client of a process that presents a certificate.
func showing(t testing.TB, r *lifeboattest.Region, p *lifeboattest.Process, certificate tls.Certificate, options ...connect.ClientOption) *lifeboattest.Client {
	t.Helper()
	c := r.CertificateClient(p, certificate, options...)
	t.Cleanup(c.HTTP.CloseIdleConnections)
	return c
}

func pemOf(certificate tls.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]}))
}

func trusts(t testing.TB, c *lifeboattest.Client, name string, authority clientAuthority) {
	t.Helper()
	do(t, c.CreateTrust, &lifeboatv1.CreateTrustRequest{Name: name, CaPem: authority.pem()})
}

func bind(t testing.TB, c *lifeboattest.Client, principal, uri, trust string) *lifeboatv1.Binding {
	t.Helper()
	return do(t, c.BindPrincipal, &lifeboatv1.BindPrincipalRequest{Principal: principal, Uri: uri, Trust: trust}).GetBinding()
}

func TestClientCertificates(t *testing.T) {
	a := account(t, shared)
	admin := a.Client(shared.Host(0))
	p, _ := user(t, a, "web")
	policy(t, a, "web", `permit (principal == User::"`+p.GetId()+`", action, resource) when { context.method == "certificate" };`)
	authority := newClientAuthority(t)
	trusts(t, admin, "mesh", authority)
	b := bind(t, admin, "web", "spiffe://prod/ns/shop/*", "mesh")
	create(t, admin, a.Vault, "a", "v")
	certificate := authority.client(t, "spiffe://prod/ns/shop/sa/web")
	for _, process := range shared.Processes() {
		t.Run(process.ID, func(t *testing.T) {
			c := showing(t, shared, process, certificate)
			me := do(t, c.WhoAmI, &lifeboatv1.WhoAmIRequest{})
			if me.GetPrincipal().GetName() != "web" || me.GetMethod() != "certificate" || me.GetCredentialId() != b.GetId() || me.GetExpiresAt() == nil {
				t.Errorf("is %v", me)
			}
			answer, err := c.GetSecretValue(t.Context(), ask(reads(a.Vault, "a")))
			must(t, err)
			line := audited(t, shared, answer.Header().Get("Lifeboat-Request-Id"), "ok")
			if line.Method != "certificate" || line.Credential != b.GetId() || !strings.HasPrefix(line.Proof, "sha256:") || line.Principal != p.GetId() {
				t.Errorf("audited as %+v", line)
			}
			// A mutation, which a host passes on with the certificate.
			made, err := c.CreateSecret(t.Context(), ask(&lifeboatv1.CreateSecretRequest{Vault: a.Vault, Name: process.ID, Value: []byte("v")}))
			must(t, err)
			line = audited(t, shared, made.Header().Get("Lifeboat-Request-Id"), "ok")
			if line.Method != "certificate" || line.Process != "control-1" {
				t.Errorf("audited as %+v", line)
			}
		})
	}
}

func TestRefusedCertificates(t *testing.T) {
	a := account(t, shared)
	admin := a.Client(shared.Control())
	user(t, a, "web")
	user(t, a, "other")
	authority, stranger := newClientAuthority(t), newClientAuthority(t)
	trusts(t, admin, "mesh", authority)
	trusts(t, admin, "second", stranger)
	bind(t, admin, "web", "spiffe://refused/web", "mesh")
	bind(t, admin, "web", "spiffe://refused/both/*", "mesh")
	bind(t, admin, "other", "spiffe://refused/both/two", "mesh")
	past, err := pki.NewAuthority(pki.AuthorityOptions{Region: "clients", Now: func() time.Time { return time.Now().Add(-48 * time.Hour) }})
	must(t, err)
	do(t, admin.CreateTrust, &lifeboatv1.CreateTrustRequest{Name: "past", CaPem: string(past.CertPEM())})
	bind(t, admin, "web", "spiffe://refused/past", "past")
	for name, certificate := range map[string]tls.Certificate{
		"no URI":                 authority.issue(t, pki.Request{}),
		"not bound":              authority.client(t, "spiffe://refused/other"),
		"below an exact URI":     authority.client(t, "spiffe://refused/web/x"),
		"the pattern itself":     authority.client(t, "spiffe://refused/both"),
		"ambiguous":              authority.client(t, "spiffe://refused/both/two"),
		"of another authority":   stranger.client(t, "spiffe://refused/web"),
		"expired":                clientAuthority{past}.issue(t, pki.Request{URI: "spiffe://refused/past", Lifetime: time.Hour}),
		"a server's certificate": authority.issue(t, pki.Request{Use: pki.Server, Hosts: []string{"localhost"}}),
	} {
		t.Run(name, func(t *testing.T) {
			for _, process := range []*lifeboattest.Process{shared.Control(), shared.Host(0)} {
				c := showing(t, shared, process, certificate)
				fails(t, c.WhoAmI, &lifeboatv1.WhoAmIRequest{}, secret.CodeUnauthenticated)
				fails(t, c.CreateSecret, &lifeboatv1.CreateSecretRequest{Vault: a.VaultID, Name: "x", Value: []byte("v")}, secret.CodeUnauthenticated)
			}
		})
	}
	// A certificate may not stand in for a token that is wrong.
	c := showing(t, shared, shared.Host(0), authority.client(t, "spiffe://refused/web"))
	do(t, c.WhoAmI, &lifeboatv1.WhoAmIRequest{})
	r := ask(&lifeboatv1.WhoAmIRequest{})
	r.Header().Set("Authorization", "Basic eHh4")
	if _, err := c.WhoAmI(t.Context(), r); codeOf(err) != secret.CodeUnauthenticated {
		t.Errorf("another scheme: %v", err)
	}
}

// A client cannot say which certificates it has shown.
func TestCertificatesCannotBeClaimed(t *testing.T) {
	a := account(t, shared)
	admin := a.Client(shared.Control())
	user(t, a, "web")
	authority := newClientAuthority(t)
	trusts(t, admin, "mesh", authority)
	bind(t, admin, "web", "spiffe://claimed/web", "mesh")
	certificate := authority.client(t, "spiffe://claimed/web")
	for _, process := range shared.Processes() {
		c := shared.Client(process, "")
		for _, method := range []string{"AccountService/WhoAmI", "SecretService/CreateSecret"} {
			answer := post(t, c, method, asJSON, []byte(`{}`), "Authorization", "", "Lifeboat-Forwarded-By", "host-1",
				"Lifeboat-Forwarded-Certificate", base64.StdEncoding.EncodeToString(certificate.Certificate[0]))
			if answer.status != 401 {
				t.Errorf("%s of %s answers %d %s", method, process.ID, answer.status, answer.body)
			}
		}
	}
}

// Two accounts may trust the same authority; the caller says which one it means.
func TestCertificatesOfSeveralAccounts(t *testing.T) {
	authority := newClientAuthority(t)
	certificate := authority.client(t, "spiffe://several/web")
	var accounts []*lifeboattest.Account
	for range 2 {
		a := account(t, shared)
		user(t, a, "web")
		trusts(t, a.Client(shared.Control()), "mesh", authority)
		bind(t, a.Client(shared.Control()), "web", "spiffe://several/web", "mesh")
		accounts = append(accounts, a)
	}
	c := showing(t, shared, shared.Host(0), certificate)
	info := fails(t, c.WhoAmI, &lifeboatv1.WhoAmIRequest{}, secret.CodeUnauthenticated)
	if !strings.Contains(info.GetHint(), "Lifeboat-Account") {
		t.Errorf("hint %q", info.GetHint())
	}
	for _, a := range accounts {
		for _, ref := range []string{a.Name, a.ID} {
			r := ask(&lifeboatv1.WhoAmIRequest{})
			r.Header().Set("Lifeboat-Account", ref)
			me, err := c.WhoAmI(t.Context(), r)
			must(t, err)
			if me.Msg.GetAccount().GetId() != a.ID {
				t.Errorf("%s: is of account %s", ref, me.Msg.GetAccount().GetName())
			}
		}
	}
	for _, ref := range []string{"nobody", "../x", "system"} {
		r := ask(&lifeboatv1.WhoAmIRequest{})
		r.Header().Set("Lifeboat-Account", ref)
		if _, err := c.WhoAmI(t.Context(), r); codeOf(err) != secret.CodeUnauthenticated {
			t.Errorf("account %q: %v", ref, err)
		}
	}
}

func TestTrustsAndBindings(t *testing.T) {
	a := account(t, shared)
	c := a.Client(shared.Host(0))
	p, _ := user(t, a, "web")
	one, two := newClientAuthority(t), newClientAuthority(t)
	for name, pem := range map[string]string{
		"empty": "", "no PEM": "hello", "a key": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
		"text after": one.pem() + "x", "not an authority": pemOf(one.client(t, "spiffe://x/y")),
		"too many": strings.Repeat(one.pem(), 33),
	} {
		if info := fails(t, c.CreateTrust, &lifeboatv1.CreateTrustRequest{Name: "bad", CaPem: pem}, secret.CodeInvalid); info.GetField() != "ca_pem" {
			t.Errorf("%s: field %s", name, info.GetField())
		}
	}
	made := do(t, c.CreateTrust, &lifeboatv1.CreateTrustRequest{Name: "mesh", CaPem: one.pem(), Description: "d"}).GetTrust()
	if len(made.GetAuthorities()) != 1 || len(made.GetAuthorities()[0].GetFingerprint()) != 64 {
		t.Errorf("made %v", made)
	}
	fails(t, c.CreateTrust, &lifeboatv1.CreateTrustRequest{Name: "mesh", CaPem: one.pem()}, secret.CodeExists)
	fails(t, c.UpdateTrust, &lifeboatv1.UpdateTrustRequest{Name: "none", CaPem: one.pem()}, secret.CodeNotFound)
	updated := do(t, c.UpdateTrust, &lifeboatv1.UpdateTrustRequest{Name: "mesh", CaPem: one.pem() + two.pem()}).GetTrust()
	if len(updated.GetAuthorities()) != 2 || updated.GetOwnership().GetOrder().GetSeq() != 2 {
		t.Errorf("updated %v", updated)
	}
	for _, uri := range []string{"", "web", "https://x/y", "spiffe://X/y", "spiffe://x", "spiffe://x/", "spiffe://x/*/y", "spiffe://x/y*", "spiffe://x/a//b", "spiffe://x/../y", "spiffe://x/a b", "spiffe://x/a%2fb", "spiffe://x" + strings.Repeat("/a", 17)} {
		if info := fails(t, c.BindPrincipal, &lifeboatv1.BindPrincipalRequest{Principal: "web", Uri: uri, Trust: "mesh"}, secret.CodeInvalid); info.GetField() != "uri" {
			t.Errorf("%q: field %s", uri, info.GetField())
		}
	}
	fails(t, c.BindPrincipal, &lifeboatv1.BindPrincipalRequest{Principal: "web", Uri: "spiffe://x/y", Trust: "none"}, secret.CodeNotFound)
	fails(t, c.BindPrincipal, &lifeboatv1.BindPrincipalRequest{Principal: "none", Uri: "spiffe://x/y", Trust: "mesh"}, secret.CodeNotFound)
	b := bind(t, c, "web", "spiffe://x/y", "mesh")
	if again := bind(t, c, p.GetId(), "spiffe://x/y", "mesh"); again.GetId() != b.GetId() {
		t.Error("binding again makes another binding")
	}
	user(t, a, "other")
	fails(t, c.BindPrincipal, &lifeboatv1.BindPrincipalRequest{Principal: "other", Uri: "spiffe://x/y", Trust: "mesh"}, secret.CodeExists)
	fails(t, c.UnbindPrincipal, &lifeboatv1.UnbindPrincipalRequest{Principal: "other", Binding: "spiffe://x/y"}, secret.CodeNotFound)
	for i := range 9 {
		bind(t, c, "web", "spiffe://x/z/"+string(rune('a'+i)), "mesh")
	}
	fails(t, c.BindPrincipal, &lifeboatv1.BindPrincipalRequest{Principal: "web", Uri: "spiffe://x/z/more", Trust: "mesh"}, secret.CodeLimit)
	if n := len(do(t, c.ListBindings, &lifeboatv1.ListBindingsRequest{Principal: "web"}).GetBindings()); n != 10 {
		t.Errorf("%d bindings", n)
	}
	do(t, c.UnbindPrincipal, &lifeboatv1.UnbindPrincipalRequest{Principal: "web", Binding: b.GetId()})
	bind(t, c, "other", "spiffe://x/y", "mesh")
	// A principal with as much as it may have can be deleted, with all of it.
	for range 49 {
		do(t, c.CreateToken, &lifeboatv1.CreateTokenRequest{Principal: "web"})
	}
	bind(t, c, "web", "spiffe://x/last", "mesh")
	do(t, c.DeletePrincipal, &lifeboatv1.DeletePrincipalRequest{Principal: "web"})
	if left := do(t, c.ListBindings, &lifeboatv1.ListBindingsRequest{}).GetBindings(); len(left) != 1 || left[0].GetUri() != "spiffe://x/y" {
		t.Errorf("left are %v", left)
	}
	bind(t, c, "other", "spiffe://x/last", "mesh")
	do(t, c.DeleteTrust, &lifeboatv1.DeleteTrustRequest{Name: "mesh"})
	fails(t, c.DeleteTrust, &lifeboatv1.DeleteTrustRequest{Name: "mesh"}, secret.CodeNotFound)
}
