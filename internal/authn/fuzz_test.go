package authn

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// fixedDigest is a digest that anybody can make, which a fuzzer needs to get past
// it.
func fixedDigest(_ context.Context, _ record.View, account secret.AccountID, domain string, parts ...[]byte) (secret.MAC, error) {
	if account == "" {
		return nil, secret.Wrap(secret.CodeKeyUnavailable, record.ErrNotFound, "no such scope")
	}
	return secret.MAC(domain + string(parts[0][:min(4, len(parts[0]))])), nil
}

// nothing is a view of an empty store.
type nothing struct{ memory }

func (nothing) Scan(record.Key, record.Key, func(record.Stored) bool) error { return nil }

func presented(t testing.TB, p Presented) error {
	a, err := New(Options{Digest: fixedDigest, LacksKey: func(secret.AccountID, string) {}})
	if err != nil {
		t.Fatal(err)
	}
	caller, err := a.Present(t.Context(), nothing{memory{}}, p, now)
	if err == nil || caller != (Caller{}) {
		t.Fatalf("an empty store knows %+v", caller)
	}
	return err
}

// FuzzBearer presents arbitrary bearer tokens to an empty store: each is refused
// with a typed error, and nothing of it is in the message.
func FuzzBearer(f *testing.F) {
	b := base64.RawURLEncoding
	account := "01ARZ3NDEKTSV4RRFFQ69G5FAV"
	claims := b.EncodeToString([]byte(`{"v":1,"jti":"x","sub":"P","iat":1,"exp":9999999999,"knd":"credential","org":"C","crd":"C"}`))
	f.Add("lbx_"+account+"."+claims+"."+b.EncodeToString([]byte(exchangedDomain+"lbx_")), "")
	f.Add("lbx_"+account+"..", account)
	f.Add("eyJhbGciOiJFUzI1NiIsImtpZCI6ImEifQ."+b.EncodeToString([]byte(`{"iss":"https://i","sub":"s"}`))+".AAAA", "acme")
	f.Add("eyJhbGciOiJub25lIn0.e30.", "../x")
	f.Add("lbt_01ARZ3NDEKTSV4RRFFQ69G5FAV_x", "")
	f.Fuzz(func(t *testing.T, token, account string) {
		if token == "" {
			return
		}
		err := presented(t, Presented{Bearer: token, Account: account})
		if e, ok := errors.AsType[*secret.Error](err); !ok || e.Code != secret.CodeUnauthenticated {
			t.Fatalf("error %v", err)
		} else if len(token) > 40 && strings.Contains(e.Message, token) {
			t.Fatalf("the token is in the message %q", e.Message)
		}
	})
}

// FuzzCertificateURI feeds arbitrary URIs of certificates: what is accepted is of
// the documented form, and matches exactly the patterns that are looked up for it.
func FuzzCertificateURI(f *testing.F) {
	for _, s := range []string{"spiffe://d/a", "spiffe://d/a/b/*", "spiffe://D/a", "https://d/a", "spiffe://d/a%2fb", "spiffe://u@d:1/a?x#y", "spiffe:d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, err := url.Parse(text)
		if err != nil {
			return
		}
		uri, err := CertificateURI(&x509.Certificate{URIs: []*url.URL{u}})
		if err != nil {
			if !secret.HasCode(err, secret.CodeUnauthenticated) {
				t.Fatal(err)
			}
			return
		}
		if secret.CheckURI("", uri) != nil || strings.ContainsAny(uri, "*|%?#@ ") || len(secret.URIPatterns(uri)) > secret.MaxURISegments+1 {
			t.Fatalf("%q is accepted", uri)
		}
		for _, pattern := range secret.URIPatterns(uri) {
			if !secret.MatchURI(pattern, uri) || secret.CheckURIPattern("", pattern) != nil {
				t.Fatalf("pattern %q of %q", pattern, uri)
			}
		}
	})
}

// A pattern matches a URI if and only if it is among those that are looked up.
func TestPatternsThatAreLookedUpAreThoseThatMatch(t *testing.T) {
	segment := rapid.SampledFrom([]string{"a", "b", "ab"})
	rapid.Check(t, func(t *rapid.T) {
		uri := "spiffe://d/" + strings.Join(rapid.SliceOfN(segment, 1, 4).Draw(t, "uri"), "/")
		parts := rapid.SliceOfN(segment, 0, 4).Draw(t, "pattern")
		if rapid.Bool().Draw(t, "open") || len(parts) == 0 {
			parts = append(parts, "*")
		}
		pattern := "spiffe://d/" + strings.Join(parts, "/")
		found := false
		for _, p := range secret.URIPatterns(uri) {
			found = found || p == pattern
		}
		if found != secret.MatchURI(pattern, uri) {
			t.Fatalf("%q against %q: looked up %t", pattern, uri, found)
		}
	})
}

// FuzzClaims feeds arbitrary claims to rules: no panic, and a template's name is
// one that a principal may have.
func FuzzClaims(f *testing.F) {
	f.Add([]byte(`{"sub":"system:serviceaccount:a:b","kubernetes.io":{"namespace":"a","serviceaccount":{"name":"b"}}}`), "/kubernetes.io/namespace", "x*", "k8s.{/kubernetes.io/namespace}.{sub}")
	f.Add([]byte(`{"sub":["a",["b"],1,true,null]}`), "sub", "true", "x.{sub}")
	f.Fuzz(func(t *testing.T, claims []byte, name, want, template string) {
		var all map[string]any
		if json.Unmarshal(claims, &all) != nil {
			return
		}
		ruleMatches(&secret.MappingRule{Claims: map[string]string{name: want}}, all)
		parts, err := secret.ParseTemplate(template)
		if err != nil {
			if !secret.HasCode(err, secret.CodeInvalid) {
				t.Fatal(err)
			}
			return
		}
		if made, ok := expand(parts, all); ok && secret.CheckContainerName("", made) != nil {
			t.Fatalf("made the name %q", made)
		}
	})
}

// Different claims never make the same name.
func TestTemplatesAreUnambiguous(t *testing.T) {
	text := rapid.StringMatching(`[ab.]{1,4}`)
	parts, err := secret.ParseTemplate("x.{a}.{b}")
	if err != nil {
		t.Fatal(err)
	}
	made := map[string][2]string{}
	rapid.Check(t, func(t *rapid.T) {
		a, b := text.Draw(t, "a"), text.Draw(t, "b")
		name, ok := expand(parts, map[string]any{"a": a, "b": b})
		if !ok {
			return
		}
		if before, seen := made[name]; seen && before != [2]string{a, b} {
			t.Fatalf("%q is made of %v and of %q, %q", name, before, a, b)
		}
		made[name] = [2]string{a, b}
	})
}

// What is cached of a certificate ends with the shortest validity of its chain.
func TestProofsEndWithTheirCertificates(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	authority = sign(t, authority, authority, key)
	u, _ := url.Parse("spiffe://d/web")
	leaf := sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: now.Add(-time.Minute), NotAfter: now.Add(2 * time.Hour), URIs: []*url.URL{u},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, authority, key)
	p := &proof{}
	bundle := &trust{pool: x509.NewCertPool()}
	bundle.pool.AddCert(authority)
	if err := p.verifyChain(bundle, []*x509.Certificate{leaf}, now); err != nil {
		t.Fatal(err)
	}
	if !p.until.Equal(authority.NotAfter) || !p.from.Equal(leaf.NotBefore) || p.caller.origin.mark != secret.FingerprintOf(authority) {
		t.Errorf("proof %+v", p)
	}
	if p.covers(authority.NotAfter) || p.covers(leaf.NotBefore.Add(-time.Second)) || !p.covers(now) {
		t.Error("the proof is good beyond its certificates")
	}
}

func sign(t testing.TB, template, parent *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
