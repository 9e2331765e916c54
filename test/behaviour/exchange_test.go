package behaviour_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/issuer/issuertest"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

// identity is the principal web with one proof of each kind.
type identity struct {
	account   *lifeboattest.Account
	admin     *lifeboattest.Client
	principal *lifeboatv1.Principal
	token     *lifeboatv1.CreateTokenResponse
	authority clientAuthority
	binding   *lifeboatv1.Binding
	issuer    *issuertest.Issuer
	// proofs make a client of a process, by kind of proof.
	proofs map[string]func(p *lifeboattest.Process) *lifeboattest.Client
}

var uris int

// newIdentity makes one whose proofs work on every process.
func newIdentity(t testing.TB, r *lifeboattest.Region, a *lifeboattest.Account) *identity {
	t.Helper()
	admin := a.Client(r.Control())
	uris++
	uri := fmt.Sprintf("spiffe://identity/%s/%d", a.Name, uris)
	i := &identity{account: a, admin: admin, authority: newClientAuthority(t), issuer: issuertest.New(t)}
	i.principal = do(t, admin.CreatePrincipal, &lifeboatv1.CreatePrincipalRequest{
		Name: "web", Kind: lifeboatv1.PrincipalKind_PRINCIPAL_KIND_WORKLOAD,
	}).GetPrincipal()
	i.token = do(t, admin.CreateToken, &lifeboatv1.CreateTokenRequest{Principal: "web"})
	trusts(t, admin, "mesh", i.authority)
	i.binding = bind(t, admin, "web", uri, "mesh")
	request := newIssuerRequest(i.issuer)
	request.KeySource, request.Jwks, request.CaPem = lifeboatv1.KeySource_KEY_SOURCE_STATIC, i.issuer.Set(t), ""
	do(t, admin.CreateIssuer, request)
	certificate, jwt := i.authority.client(t, uri), i.issuer.Token(t, "web")
	i.proofs = map[string]func(p *lifeboattest.Process) *lifeboattest.Client{
		"token":       func(p *lifeboattest.Process) *lifeboattest.Client { return r.Client(p, i.token.GetToken()) },
		"certificate": func(p *lifeboattest.Process) *lifeboattest.Client { return showing(t, r, p, certificate) },
		"jwt":         func(p *lifeboattest.Process) *lifeboattest.Client { return r.Client(p, jwt) },
	}
	for _, kind := range []string{"token", "certificate", "jwt"} {
		c := i.proofs[kind](r.Host(0))
		eventually(t, kind+" works", func() bool { return whoAmI(t, c) == "" })
		exchanged := do(t, c.ExchangeToken, &lifeboatv1.ExchangeTokenRequest{}).GetAccessToken()
		i.proofs[kind+", exchanged"] = func(p *lifeboattest.Process) *lifeboattest.Client { return r.Client(p, exchanged) }
	}
	for kind := range i.proofs {
		for _, p := range r.Processes() {
			c := i.proofs[kind](p)
			eventually(t, kind+" works on "+p.ID, func() bool { return whoAmI(t, c) == "" })
		}
	}
	return i
}

func TestExchangedTokens(t *testing.T) {
	a := account(t, shared)
	i := newIdentity(t, shared, a)
	policy(t, a, "web", `permit (principal == Workload::"`+i.principal.GetId()+`", action, resource) when { context.method == "exchange" };`)
	create(t, i.admin, a.Vault, "a", "v")
	for kind, proof := range i.proofs {
		if strings.HasSuffix(kind, "exchanged") {
			continue
		}
		t.Run(kind, func(t *testing.T) {
			answer, err := proof(shared.Host(1)).ExchangeToken(t.Context(), ask(&lifeboatv1.ExchangeTokenRequest{
				GrantType: "urn:ietf:params:oauth:grant-type:token-exchange", ExpiresIn: 60,
			}))
			must(t, err)
			m := answer.Msg
			if m.GetTokenType() != "Bearer" || m.GetExpiresIn() > 60 || m.GetExpiresIn() < 58 || m.GetPrincipal().GetId() != i.principal.GetId() {
				t.Errorf("answer %v", m)
			}
			issued := audited(t, shared, answer.Header().Get("Lifeboat-Request-Id"), "ok")
			if issued.Action != "ExchangeToken" || issued.Method != kind || issued.Kind != "token" || issued.ID == "" {
				t.Errorf("audited as %+v", issued)
			}
			for _, p := range shared.Processes() {
				c := shared.Client(p, m.GetAccessToken())
				got, err := c.GetSecretValue(t.Context(), ask(reads(a.Vault, "a")))
				must(t, err)
				line := audited(t, shared, got.Header().Get("Lifeboat-Request-Id"), "ok")
				if line.Method != "exchange" || line.Proof != issued.ID || line.Credential != issued.Credential {
					t.Errorf("audited as %+v", line)
				}
				create(t, c, a.Vault, kind+"-"+p.ID, "v")
				if me := do(t, c.WhoAmI, &lifeboatv1.WhoAmIRequest{}); me.GetExpiresAt().AsTime() != m.GetExpiresAt().AsTime() {
					t.Errorf("expires at %v, not %v", me.GetExpiresAt(), m.GetExpiresAt())
				}
				// It cannot be renewed by itself, nor be another account's, nor be changed.
				fails(t, c.ExchangeToken, &lifeboatv1.ExchangeTokenRequest{}, secret.CodeUnauthenticated)
			}
			token := m.GetAccessToken()
			other := account(t, shared)
			claims := strings.Split(token, ".")
			for what, bad := range map[string]string{
				"cut": token[:len(token)-1], "of another account": strings.Replace(token, a.ID, other.ID, 1), "of no account": strings.Replace(token, a.ID, i.principal.GetId(), 1),
				"changed": claims[0] + "." + b64(`{"v":1,"sub":"`+i.principal.GetId()+`","exp":9999999999}`) + "." + claims[2],
				"empty":   "lbx_", "long": "lbx_" + strings.Repeat("x", 5000),
			} {
				if code := whoAmI(t, shared.Client(shared.Host(0), bad)); code != secret.CodeUnauthenticated {
					t.Errorf("%s: %s", what, code)
				}
			}
		})
	}
}

func TestExchangesAreBounded(t *testing.T) {
	a := account(t, shared)
	admin := a.Client(shared.Host(0))
	for field, m := range map[string]*lifeboatv1.ExchangeTokenRequest{
		"expires_in": {ExpiresIn: 3601}, "grant_type": {GrantType: "password"}, "subject_token_type": {SubjectTokenType: "saml"},
		"requested_token_type": {RequestedTokenType: "urn:ietf:params:oauth:token-type:refresh_token"},
	} {
		if info := fails(t, admin.ExchangeToken, m, secret.CodeInvalid); info.GetField() != field {
			t.Errorf("field %q, want %q", info.GetField(), field)
		}
	}
	if m := do(t, admin.ExchangeToken, &lifeboatv1.ExchangeTokenRequest{}); m.GetExpiresIn() < 898 || m.GetExpiresIn() > 900 {
		t.Errorf("works for %d s", m.GetExpiresIn())
	}
	// Not longer than what it is exchanged for.
	short := do(t, admin.CreateToken, &lifeboatv1.CreateTokenRequest{ExpiresAt: timestamppb.New(time.Now().Add(time.Minute))})
	if m := do(t, shared.Client(shared.Host(0), short.GetToken()).ExchangeToken, &lifeboatv1.ExchangeTokenRequest{}); m.GetExpiresIn() > 60 {
		t.Errorf("works for %d s", m.GetExpiresIn())
	}
	// The subject token counts in place of what the request itself presents.
	_, other := user(t, a, "other")
	m := do(t, admin.ExchangeToken, &lifeboatv1.ExchangeTokenRequest{SubjectToken: other.GetToken(), SubjectTokenType: "urn:ietf:params:oauth:token-type:access_token"})
	if m.GetPrincipal().GetName() != "other" {
		t.Errorf("exchanged for %s", m.GetPrincipal().GetName())
	}
	fails(t, admin.ExchangeToken, &lifeboatv1.ExchangeTokenRequest{SubjectToken: "hunter2"}, secret.CodeUnauthenticated)
	do(t, shared.Client(shared.Host(0), "").ExchangeToken, &lifeboatv1.ExchangeTokenRequest{SubjectToken: other.GetToken()})
}

// revocations are all the ways in which the proofs of an identity are taken back,
// and which kinds of proof each ends.
func revocations() map[string]struct {
	ends   []string
	revoke func(testing.TB, *identity)
} {
	yes := true
	return map[string]struct {
		ends   []string
		revoke func(testing.TB, *identity)
	}{
		"credential revoked": {[]string{"token"}, func(t testing.TB, i *identity) {
			do(t, i.admin.RevokeCredential, &lifeboatv1.RevokeCredentialRequest{CredentialId: i.token.GetCredential().GetId()})
		}},
		"binding removed": {[]string{"certificate"}, func(t testing.TB, i *identity) {
			do(t, i.admin.UnbindPrincipal, &lifeboatv1.UnbindPrincipalRequest{Principal: "web", Binding: i.binding.GetId()})
		}},
		"bundle removed": {[]string{"certificate"}, func(t testing.TB, i *identity) {
			do(t, i.admin.DeleteTrust, &lifeboatv1.DeleteTrustRequest{Name: "mesh"})
		}},
		"authority removed": {[]string{"certificate"}, func(t testing.TB, i *identity) {
			do(t, i.admin.UpdateTrust, &lifeboatv1.UpdateTrustRequest{Name: "mesh", CaPem: newClientAuthority(t).pem()})
		}},
		"issuer removed": {[]string{"jwt"}, func(t testing.TB, i *identity) {
			do(t, i.admin.DeleteIssuer, &lifeboatv1.DeleteIssuerRequest{Name: "ci"})
		}},
		"rule removed": {[]string{"jwt"}, func(t testing.TB, i *identity) {
			do(t, i.admin.UpdateIssuer, &lifeboatv1.UpdateIssuerRequest{Name: "ci", Rules: []*lifeboatv1.MappingRule{
				{Principal: "web", Claims: map[string]string{"sub": "other"}},
			}})
		}},
		"principal disabled": {[]string{"token", "certificate", "jwt"}, func(t testing.TB, i *identity) {
			do(t, i.admin.UpdatePrincipal, &lifeboatv1.UpdatePrincipalRequest{Principal: "web", Disabled: &yes})
		}},
		"principal deleted": {[]string{"token", "certificate", "jwt"}, func(t testing.TB, i *identity) {
			do(t, i.admin.DeletePrincipal, &lifeboatv1.DeletePrincipalRequest{Principal: "web"})
		}},
	}
}

// G11, on connected hosts: whatever a proof rests on is taken back, and it stops
// working on every process, and so does what was exchanged for it. The others go
// on.
func TestRevocationOfEveryKindOfProof(t *testing.T) {
	for name, r := range revocations() {
		t.Run(name, func(t *testing.T) {
			i := newIdentity(t, shared, account(t, shared))
			r.revoke(t, i)
			for kind, proof := range i.proofs {
				ends := false
				for _, ended := range r.ends {
					ends = ends || kind == ended || kind == ended+", exchanged"
				}
				for _, p := range shared.Processes() {
					c := proof(p)
					if !ends {
						if code := whoAmI(t, c); code != "" {
							t.Errorf("%s on %s: %s", kind, p.ID, code)
						}
						continue
					}
					eventually(t, kind+" stops working on "+p.ID, func() bool { return whoAmI(t, c) == secret.CodeUnauthenticated })
				}
			}
		})
	}
}

// G11, on a host that is cut off: it hears of no revocation, so it honours what it
// knows, of whatever kind, for the configured age and not longer.
func TestProofsOnAHostThatIsCutOff(t *testing.T) {
	t.Parallel()
	const maxAge = 700 * time.Millisecond
	short := false
	r := lifeboattest.Start(t, lifeboattest.Options{Hosts: 1, Configure: func(process string, c *config.Config) {
		c.Reads.WaitClearedTimeout = 300 * time.Millisecond
		if short && process == "host-1" {
			c.Credentials.MaxAgeWhenCutOff = maxAge
		}
	}})
	i := newIdentity(t, r, r.Account())
	host := r.Host(0)
	r.CutOff(0)
	must(t, host.Kill()) // and without what it has cached
	must(t, host.Start(t.Context()))
	must(t, host.WaitReady(t.Context()))
	yes := true
	do(t, i.admin.UpdatePrincipal, &lifeboatv1.UpdatePrincipalRequest{Principal: "web", Disabled: &yes})
	clients := map[string]*lifeboattest.Client{}
	for kind, proof := range i.proofs {
		clients[kind] = proof(host)
		if code := whoAmI(t, clients[kind]); code != "" {
			t.Errorf("%s within the age: %s", kind, code)
		}
	}
	// It exchanges, too: nothing is stored for that.
	exchanged := do(t, clients["jwt"].ExchangeToken, &lifeboatv1.ExchangeTokenRequest{})
	do(t, r.Client(host, exchanged.GetAccessToken()).WhoAmI, &lifeboatv1.WhoAmIRequest{})
	short = true
	reboot(t, host)
	for kind, c := range clients {
		eventually(t, kind+" is too old", func() bool { return whoAmI(t, c) == secret.CodeUnavailable })
		if _, err := c.ExchangeToken(t.Context(), ask(&lifeboatv1.ExchangeTokenRequest{})); err == nil {
			t.Errorf("%s is exchanged beyond the age", kind)
		}
	}
	r.Heal(0)
	for kind, c := range clients {
		eventually(t, kind+" is revoked", func() bool { return whoAmI(t, c) == secret.CodeUnauthenticated })
	}
}

// The SDK exchanges by itself: what it was given works like a token, and a token
// that is refused is replaced at once.
func TestTheSDKLogsIn(t *testing.T) {
	i := newIdentity(t, shared, account(t, shared))
	file := filepath.Join(t.TempDir(), "jwt")
	must(t, os.WriteFile(file, []byte(i.issuer.Token(t, "web")+"\n"), 0o600))
	c, err := client.New(client.Config{
		Address: shared.Host(0).URL(), CAFile: shared.CAFile(), Login: &client.Login{JWTFile: file, Lifetime: time.Second},
	})
	must(t, err)
	defer c.Close()
	me, err := c.WhoAmI(t.Context(), &lifeboatv1.WhoAmIRequest{})
	must(t, err)
	if me.GetMethod() != "exchange" || me.GetPrincipal().GetName() != "web" {
		t.Errorf("is %v", me)
	}
	first := me.GetExpiresAt().AsTime()
	eventually(t, "the token is renewed", func() bool {
		me, err := c.WhoAmI(t.Context(), &lifeboatv1.WhoAmIRequest{})
		must(t, err) // no call fails in between
		return me.GetExpiresAt().AsTime().After(first)
	})
	do(t, i.admin.DeleteIssuer, &lifeboatv1.DeleteIssuerRequest{Name: "ci"})
	eventually(t, "the login ends with its issuer", func() bool {
		_, err := c.WhoAmI(t.Context(), &lifeboatv1.WhoAmIRequest{})
		return client.CodeOf(err) == client.CodeUnauthenticated
	})
	if _, err := client.New(client.Config{Address: shared.Host(0).URL(), Login: &client.Login{
		JWTFile: file, Source: func(context.Context) (client.Value, error) { return client.Value{}, nil },
	}}); err == nil {
		t.Error("two sources are accepted")
	}
}
