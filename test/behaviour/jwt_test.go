package behaviour_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/go-jose/go-jose/v4"
	"google.golang.org/protobuf/types/known/durationpb"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/issuer/issuertest"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

// trustedIssuer is an issuer that an account trusts, found by discovery, with a
// rule that maps the subject web to the principal web.
func trustedIssuer(t testing.TB, a *lifeboattest.Account) *issuertest.Issuer {
	t.Helper()
	i := issuertest.New(t)
	user(t, a, "web")
	do(t, a.Client(shared.Control()).CreateIssuer, newIssuerRequest(i))
	return i
}

func newIssuerRequest(i *issuertest.Issuer) *lifeboatv1.CreateIssuerRequest {
	return &lifeboatv1.CreateIssuerRequest{
		Name: "ci", Url: i.URL, CaPem: i.CAPEM, Audiences: []string{issuertest.Audience}, KeySource: lifeboatv1.KeySource_KEY_SOURCE_DISCOVERY,
		Rules: []*lifeboatv1.MappingRule{{Principal: "web", Claims: map[string]string{"sub": "web"}}},
	}
}

// works waits until a token is accepted by every process: keys come by way of the
// control process and the change feed.
func works(t testing.TB, r *lifeboattest.Region, token string) {
	t.Helper()
	for _, p := range r.Processes() {
		eventually(t, "the token works on "+p.ID, func() bool { return whoAmI(t, r.Client(p, token)) == "" })
	}
}

func whoAmI(t testing.TB, c *lifeboattest.Client) secret.Code {
	t.Helper()
	_, err := c.WhoAmI(t.Context(), ask(&lifeboatv1.WhoAmIRequest{}))
	if err != nil && infoOf(err) == nil {
		t.Fatal(err)
	}
	return codeOf(err)
}

func TestJWTs(t *testing.T) {
	a := account(t, shared)
	i := trustedIssuer(t, a)
	token := i.Token(t, "web")
	works(t, shared, token)
	p := do(t, a.Client(shared.Control()).GetPrincipal, &lifeboatv1.GetPrincipalRequest{Principal: "web"}).GetPrincipal()
	policy(t, a, "web", `permit (principal == User::"`+p.GetId()+`", action, resource) when { context.method == "jwt" };`)
	create(t, a.Client(shared.Control()), a.Vault, "a", "v")
	fetches := i.Fetches()
	for _, process := range shared.Processes() {
		c := shared.Client(process, token)
		me := do(t, c.WhoAmI, &lifeboatv1.WhoAmIRequest{})
		if me.GetPrincipal().GetName() != "web" || me.GetMethod() != "jwt" || me.GetExpiresAt() == nil {
			t.Errorf("is %v", me)
		}
		answer, err := c.GetSecretValue(t.Context(), ask(reads(a.Vault, "a")))
		must(t, err)
		if line := audited(t, shared, answer.Header().Get("Lifeboat-Request-Id"), "ok"); line.Method != "jwt" || !strings.HasPrefix(line.Proof, "web ") || line.Credential != me.GetCredentialId() {
			t.Errorf("audited as %+v", line)
		}
		made, err := c.CreateSecret(t.Context(), ask(&lifeboatv1.CreateSecretRequest{Vault: a.Vault, Name: process.ID, Value: []byte("v")}))
		must(t, err)
		if line := audited(t, shared, made.Header().Get("Lifeboat-Request-Id"), "ok"); line.Method != "jwt" || line.Process != "control-1" {
			t.Errorf("audited as %+v", line)
		}
	}
	if i.Fetches() != fetches {
		t.Error("requests fetch keys")
	}
}

func TestRefusedJWTs(t *testing.T) {
	a := account(t, shared)
	i := trustedIssuer(t, a)
	good := i.Token(t, "web")
	works(t, shared, good)
	with := func(name string, value any) string {
		c := i.Claims("web")
		c[name] = value
		if value == nil {
			delete(c, name)
		}
		return i.Sign(t, c)
	}
	now := time.Now()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	kid := keyIDOf(t, good)
	parts := strings.Split(good, ".")
	other := i.Token(t, "admin")
	var public jose.JSONWebKeySet
	must(t, json.Unmarshal(i.Set(t), &public))
	publicBytes, err := json.Marshal(public.Keys[0])
	must(t, err)
	for name, token := range map[string]string{
		"wrong audience":       with("aud", "others"),
		"no audience":          with("aud", nil),
		"expired":              with("exp", now.Add(-31*time.Second).Unix()),
		"never expires":        with("exp", nil),
		"not yet valid":        with("nbf", now.Add(time.Minute).Unix()),
		"issued in the future": with("iat", now.Add(time.Minute).Unix()),
		"too long":             with("exp", now.Add(25*time.Hour).Unix()),
		"another issuer":       with("iss", "https://issuer.example"),
		"no issuer":            with("iss", nil),
		"another subject":      i.Token(t, "admin"),
		"subject in a list":    with("sub", []string{"x"}),
		"unknown key":          issuertest.SignWith(t, jose.ES256, issuertest.NewKey(t, "x").Private, "strange", i.Claims("web")),
		"another key":          issuertest.SignWith(t, jose.ES256, issuertest.NewKey(t, "x").Private, kid, i.Claims("web")),
		"another algorithm":    issuertest.SignWith(t, jose.RS256, rsaKey, kid, i.Claims("web")),
		"unpinned algorithm":   issuertest.SignWith(t, jose.ES384, p384, kid, i.Claims("web")),
		"HMAC with the key":    issuertest.SignWith(t, jose.HS256, publicBytes, kid, i.Claims("web")),
		"none":                 b64(`{"alg":"none","typ":"JWT"}`) + "." + parts[1] + ".",
		"none, signed":         b64(`{"alg":"none","kid":"`+kid+`"}`) + "." + parts[1] + "." + parts[2],
		"other claims":         parts[0] + "." + strings.Split(other, ".")[1] + "." + parts[2],
		"tampered signature":   good[:len(good)-4] + "AAAA",
		"cut":                  parts[0] + "." + parts[1],
		"no signature":         parts[0] + "." + parts[1] + ".",
		"huge":                 with("x", strings.Repeat("x", 20_000)),
	} {
		t.Run(name, func(t *testing.T) {
			for _, p := range []*lifeboattest.Process{shared.Control(), shared.Host(0)} {
				info := fails(t, shared.Client(p, token).WhoAmI, &lifeboatv1.WhoAmIRequest{}, secret.CodeUnauthenticated)
				if line := audited(t, shared, info.GetRequestId(), string(secret.CodeUnauthenticated)); line.Principal != "" {
					t.Errorf("audited as %+v", line)
				}
			}
		})
	}
	works(t, shared, good)
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func keyIDOf(t testing.TB, token string) string {
	t.Helper()
	head, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[0])
	must(t, err)
	var header struct{ Kid string }
	must(t, json.Unmarshal(head, &header))
	return header.Kid
}

// An issuer changes its keys: a token with a new one has them fetched, once,
// however many ask, and then works everywhere.
func TestKeysOfIssuersAreFollowed(t *testing.T) {
	a := account(t, shared)
	i := trustedIssuer(t, a)
	old := i.Token(t, "web")
	works(t, shared, old)
	i.Rotate(t)
	fresh := i.Token(t, "web")
	before := i.Fetches()
	works(t, shared, fresh)
	works(t, shared, old) // still published
	i.Rotate(t)
	for range 50 {
		shared.Client(shared.Host(1), issuertest.SignWith(t, jose.ES256, issuertest.NewKey(t, "x").Private, "strange", i.Claims("web"))).
			WhoAmI(t.Context(), ask(&lifeboatv1.WhoAmIRequest{})) //nolint:errcheck // refused, as other tests show
	}
	admin := a.Client(shared.Host(0))
	refreshed := do(t, admin.RefreshIssuer, &lifeboatv1.RefreshIssuerRequest{Name: "ci"}).GetIssuer()
	if len(refreshed.GetKeys().GetKeyIds()) != 2 {
		t.Errorf("keys %v", refreshed.GetKeys())
	}
	for _, p := range shared.Processes() {
		eventually(t, "the withdrawn key stops working on "+p.ID, func() bool { return whoAmI(t, shared.Client(p, old)) == secret.CodeUnauthenticated })
	}
	if n := i.Fetches() - before; n > 4 {
		t.Errorf("keys were fetched %d times for two rotations", n)
	}

	// An issuer that is down: what is known stays, and it is said why.
	i.Down(true)
	fails(t, admin.RefreshIssuer, &lifeboatv1.RefreshIssuerRequest{Name: "ci"}, secret.CodeUnavailable)
	works(t, shared, i.Token(t, "web"))
	eventually(t, "the failure is shown", func() bool {
		return do(t, admin.GetIssuer, &lifeboatv1.GetIssuerRequest{Name: "ci"}).GetIssuer().GetKeys().GetLastError() != ""
	})
	i.Down(false)
	if k := do(t, admin.RefreshIssuer, &lifeboatv1.RefreshIssuerRequest{Name: "ci"}).GetIssuer().GetKeys(); k.GetLastError() != "" || k.GetFailedAt() != nil {
		t.Errorf("keys %v", k)
	}
}

// Clusters are often not reachable: their keys are given. The rules of the
// preset map a namespace and a service account to a principal's name.
func TestServiceAccountTokensOfKubernetes(t *testing.T) {
	a := account(t, shared)
	admin := a.Client(shared.Control())
	i := issuertest.New(t)
	user(t, a, "k8s.shop.web")
	user(t, a, "deployer")
	request := &lifeboatv1.CreateIssuerRequest{
		Name: "cluster", Url: i.URL, Audiences: []string{issuertest.Audience}, KeySource: lifeboatv1.KeySource_KEY_SOURCE_STATIC, Jwks: i.Set(t),
		Rules: []*lifeboatv1.MappingRule{
			{Template: "k8s.{/kubernetes.io/namespace}.{/kubernetes.io/serviceaccount/name}", Claims: map[string]string{"sub": "system:serviceaccount:*"}},
			{Principal: "deployer", Claims: map[string]string{"sub": "system:serviceaccount:ops:deployer"}},
		},
	}
	do(t, admin.CreateIssuer, request)
	token := func(namespace, name string) string {
		c := i.Claims("system:serviceaccount:" + namespace + ":" + name)
		c["kubernetes.io"] = map[string]any{
			"namespace": namespace, "pod": map[string]any{"name": name + "-0", "uid": "1"}, "serviceaccount": map[string]any{"name": name, "uid": "2"},
		}
		return i.Sign(t, c)
	}
	for who, want := range map[[2]string]string{{"shop", "web"}: "k8s.shop.web", {"ops", "deployer"}: "deployer"} {
		me := do(t, shared.Client(shared.Host(0), token(who[0], who[1])).WhoAmI, &lifeboatv1.WhoAmIRequest{})
		if me.GetPrincipal().GetName() != want {
			t.Errorf("%v is %s", who, me.GetPrincipal().GetName())
		}
	}
	for _, who := range [][2]string{{"shop", "other"}, {"other", "web"}, {"shop.web", "x"}, {"", "web"}, {"shop", "../x"}} {
		fails(t, shared.Client(shared.Host(0), token(who[0], who[1])).WhoAmI, &lifeboatv1.WhoAmIRequest{}, secret.CodeUnauthenticated)
	}
	// Two rules that mean different principals: neither.
	user(t, a, "k8s.ops.deployer")
	fails(t, shared.Client(shared.Host(0), token("ops", "deployer")).WhoAmI, &lifeboatv1.WhoAmIRequest{}, secret.CodeUnauthenticated)

	// The cluster has a new key, which is given too.
	i.Rotate(t)
	fails(t, shared.Client(shared.Host(0), token("shop", "web")).WhoAmI, &lifeboatv1.WhoAmIRequest{}, secret.CodeUnauthenticated)
	fails(t, admin.RefreshIssuer, &lifeboatv1.RefreshIssuerRequest{Name: "cluster"}, secret.CodeWrongState)
	do(t, admin.UpdateIssuer, &lifeboatv1.UpdateIssuerRequest{Name: "cluster", Jwks: i.Set(t)})
	do(t, shared.Client(shared.Host(0), token("shop", "web")).WhoAmI, &lifeboatv1.WhoAmIRequest{})
}

func TestMalformedIssuersAreRefused(t *testing.T) {
	a := account(t, shared)
	admin := a.Client(shared.Control())
	user(t, a, "web")
	i := issuertest.New(t)
	private, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: issuertest.NewKey(t, "x").Private, KeyID: "x"}}})
	must(t, err)
	symmetric, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: []byte("0123456789abcdef0123456789abcdef"), KeyID: "x"}}})
	must(t, err)
	static := func(keys []byte) func(*lifeboatv1.CreateIssuerRequest) {
		return func(r *lifeboatv1.CreateIssuerRequest) {
			r.KeySource, r.Jwks, r.CaPem = lifeboatv1.KeySource_KEY_SOURCE_STATIC, keys, ""
		}
	}
	for name, c := range map[string]struct {
		field  string
		change func(*lifeboatv1.CreateIssuerRequest)
	}{
		"http":        {"url", func(r *lifeboatv1.CreateIssuerRequest) { r.Url = "http://issuer.example" }},
		"a query":     {"url", func(r *lifeboatv1.CreateIssuerRequest) { r.Url += "?x" }},
		"a bar":       {"url", func(r *lifeboatv1.CreateIssuerRequest) { r.Url += "/a|b" }},
		"no audience": {"audiences", func(r *lifeboatv1.CreateIssuerRequest) { r.Audiences = nil }},
		"HMAC":        {"algorithms", func(r *lifeboatv1.CreateIssuerRequest) { r.Algorithms = []string{"HS256"} }},
		"none":        {"algorithms", func(r *lifeboatv1.CreateIssuerRequest) { r.Algorithms = []string{"none"} }},
		"no rule":     {"rules", func(r *lifeboatv1.CreateIssuerRequest) { r.Rules = nil }},
		"everybody":   {"rules", func(r *lifeboatv1.CreateIssuerRequest) { r.Rules[0].Claims = map[string]string{"sub": "*"} }},
		"no claims":   {"rules", func(r *lifeboatv1.CreateIssuerRequest) { r.Rules[0].Claims = nil }},
		"both":        {"rules", func(r *lifeboatv1.CreateIssuerRequest) { r.Rules[0].Template = "x.{sub}" }},
		"any name":    {"rules", func(r *lifeboatv1.CreateIssuerRequest) { r.Rules[0].Principal, r.Rules[0].Template = "", "{sub}" }},
		"two claims in a row": {"rules", func(r *lifeboatv1.CreateIssuerRequest) {
			r.Rules[0].Principal, r.Rules[0].Template = "", "x.{sub}{aud}"
		}},
		"no source":         {"key_source", func(r *lifeboatv1.CreateIssuerRequest) { r.KeySource = 0 }},
		"no keys URL":       {"jwks_url", func(r *lifeboatv1.CreateIssuerRequest) { r.KeySource = lifeboatv1.KeySource_KEY_SOURCE_JWKS_URL }},
		"keys beside":       {"jwks", func(r *lifeboatv1.CreateIssuerRequest) { r.Jwks = i.Set(t) }},
		"leeway":            {"leeway", func(r *lifeboatv1.CreateIssuerRequest) { r.Leeway = durationpb.New(time.Hour) }},
		"lifetime":          {"max_lifetime", func(r *lifeboatv1.CreateIssuerRequest) { r.MaxLifetime = durationpb.New(1000 * time.Hour) }},
		"refresh":           {"refresh_every", func(r *lifeboatv1.CreateIssuerRequest) { r.RefreshEvery = durationpb.New(time.Second) }},
		"age below refresh": {"max_key_age", func(r *lifeboatv1.CreateIssuerRequest) { r.MaxKeyAge = durationpb.New(time.Minute) }},
		"no keys":           {"jwks", static(nil)},
		"not keys":          {"jwks", static([]byte("hello"))},
		"private keys":      {"jwks", static(private)},
		"shared keys":       {"jwks", static(symmetric)},
	} {
		t.Run(name, func(t *testing.T) {
			r := newIssuerRequest(i)
			c.change(r)
			if info := fails(t, admin.CreateIssuer, r, secret.CodeInvalid); info.GetField() != c.field {
				t.Errorf("field %q: %v", info.GetField(), info)
			}
		})
	}
	if n := len(do(t, admin.ListIssuers, &lifeboatv1.ListIssuersRequest{}).GetIssuers()); n != 0 {
		t.Errorf("%d issuers", n)
	}
}

func TestIssuersAreChecked(t *testing.T) {
	a := account(t, shared)
	admin := a.Client(shared.Control())
	user(t, a, "web")
	i := issuertest.New(t)
	unknown := newIssuerRequest(i)
	unknown.Rules[0].Principal = "nobody"
	fails(t, admin.CreateIssuer, unknown, secret.CodeNotFound)
	do(t, admin.CreateIssuer, newIssuerRequest(i))
	fails(t, admin.CreateIssuer, newIssuerRequest(i), secret.CodeExists)
	again := newIssuerRequest(i)
	again.Name = "again"
	if info := fails(t, admin.CreateIssuer, again, secret.CodeExists); info.GetField() != "url" {
		t.Errorf("field %q", info.GetField())
	}
	if n := len(do(t, admin.ListIssuers, &lifeboatv1.ListIssuersRequest{}).GetIssuers()); n != 1 {
		t.Errorf("%d issuers", n)
	}
	fails(t, admin.UpdateIssuer, &lifeboatv1.UpdateIssuerRequest{Name: "ci", Jwks: i.Set(t)}, secret.CodeInvalid)
	text := "for builds"
	if u := do(t, admin.UpdateIssuer, &lifeboatv1.UpdateIssuerRequest{Name: "ci", Description: &text}).GetIssuer(); u.GetDescription() != text || u.GetUrl() != i.URL {
		t.Errorf("updated %v", u)
	}
}

func TestWhoMayDoNothingSeesNoIssuer(t *testing.T) {
	a := account(t, shared)
	user(t, a, "web")
	do(t, a.Client(shared.Control()).CreateIssuer, newIssuerRequest(issuertest.New(t)))
	_, made := user(t, a, "nobody")
	for _, call := range []func() (any, error){
		func() (any, error) {
			return shared.Client(shared.Host(0), made.GetToken()).ListIssuers(t.Context(), connect.NewRequest(&lifeboatv1.ListIssuersRequest{}))
		},
		func() (any, error) {
			return shared.Client(shared.Host(0), made.GetToken()).DeleteIssuer(t.Context(), connect.NewRequest(&lifeboatv1.DeleteIssuerRequest{Name: "ci"}))
		},
		func() (any, error) {
			return shared.Client(shared.Host(0), made.GetToken()).ListTrusts(t.Context(), connect.NewRequest(&lifeboatv1.ListTrustsRequest{}))
		},
	} {
		if _, err := call(); codeOf(err) != secret.CodeDenied {
			t.Errorf("who may do nothing: %v", err)
		}
	}
}
