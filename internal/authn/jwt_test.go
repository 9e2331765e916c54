package authn

import (
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/issuer/issuertest"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// scanned is a view with the scans that proofs need.
type scanned struct{ memory }

func (s scanned) Scan(start, end record.Key, visit func(record.Stored) bool) error {
	for key, stored := range s.memory {
		if key >= start && key < end && !visit(stored) {
			return nil
		}
	}
	return nil
}

// jwtWorld is a principal for whom an issuer vouches whose keys were fetched.
type jwtWorld struct {
	scanned
	published *issuertest.Issuer
	issuer    *secret.Issuer
	keys      *secret.IssuerKeys
}

func newJWTWorld(t testing.TB) *jwtWorld {
	t.Helper()
	w := &jwtWorld{scanned: scanned{newWorld().memory}, published: issuertest.New(t)}
	set, _, err := PublicKeys("jwks", w.published.Set(t))
	if err != nil {
		t.Fatal(err)
	}
	w.issuer = &secret.Issuer{
		ID: "I1", Account: "A1", Name: "ci", URL: w.published.URL, Audiences: []string{issuertest.Audience}, Source: secret.KeysByDiscovery,
		Rules: []secret.MappingRule{{Principal: "P1", Claims: map[string]string{"sub": "alice"}}}, MaxKeyAge: time.Hour,
	}
	w.issuer.SetDefaults()
	w.keys = &secret.IssuerKeys{Account: "A1", Name: "ci", Issuer: "I1", Set: set, FetchedAt: time.Now()}
	w.put(record.IssuerURLKey(w.issuer.URL, "A1"), record.EncodeReference("ci"))
	w.store()
	return w
}

func (w *jwtWorld) store() {
	w.put(record.IssuerKey("A1", "ci"), record.Issuers.Encode(w.issuer))
	w.put(record.IssuerKeysKey("A1", "ci"), record.IssuerKeySets.Encode(w.keys))
}

// An issuer that does not answer keeps its last keys, up to their age, whatever
// is cached of the token; the keys are asked for then.
func TestKeysCountUntilTheirAge(t *testing.T) {
	w := newJWTWorld(t)
	asked := 0
	a := newAuthenticator(t, Options{LacksKey: func(account secret.AccountID, issuer string) {
		if account != "A1" || issuer != "ci" {
			t.Errorf("asked for %s of %s", issuer, account)
		}
		asked++
	}})
	claims := w.published.Claims("alice")
	claims["exp"] = time.Now().Add(3 * time.Hour).Unix()
	token := w.published.Sign(t, claims)
	check := func(after time.Duration, ok bool) {
		t.Helper()
		_, err := a.Present(t.Context(), w, Presented{Bearer: token}, w.keys.FetchedAt.Add(after))
		if (err == nil) != ok || err != nil && !secret.HasCode(err, secret.CodeUnauthenticated) {
			t.Errorf("after %s: %v", after, err)
		}
	}
	check(time.Second, true)
	check(time.Hour-time.Second, true)
	if asked != 0 {
		t.Error("keys are asked for that are known")
	}
	check(time.Hour, false)
	if asked != 1 {
		t.Errorf("asked for %d times", asked)
	}
	w.keys.FetchedAt = w.keys.FetchedAt.Add(time.Hour) // fetched again
	w.store()
	check(time.Second, true)
}

// What is remembered of a JWT ends with whatever it was judged by.
func TestCachedJWTsEndWithTheirRecords(t *testing.T) {
	for name, change := range map[string]func(*jwtWorld){
		"issuer":                     func(w *jwtWorld) { delete(w.memory, record.IssuerKey("A1", "ci")) },
		"index":                      func(w *jwtWorld) { delete(w.memory, record.IssuerURLKey(w.issuer.URL, "A1")) },
		"keys":                       func(w *jwtWorld) { delete(w.memory, record.IssuerKeysKey("A1", "ci")) },
		"principal":                  func(w *jwtWorld) { delete(w.memory, record.PrincipalKey("A1", "P1")) },
		"rule":                       func(w *jwtWorld) { w.issuer.Rules[0].Claims["sub"] = "bob"; w.store() },
		"audience":                   func(w *jwtWorld) { w.issuer.Audiences[0] = "others"; w.store() },
		"algorithm":                  func(w *jwtWorld) { w.issuer.Algorithms = []string{"RS256"}; w.store() },
		"another issuer of the name": func(w *jwtWorld) { w.issuer.ID = "I2"; w.store() },
	} {
		t.Run(name, func(t *testing.T) {
			w := newJWTWorld(t)
			a := newAuthenticator(t, Options{})
			p := Presented{Bearer: w.published.Token(t, "alice")}
			for range 2 {
				c, err := a.Present(t.Context(), w, p, time.Now())
				if err != nil || c.Principal.Name != "alice" || c.Method != MethodJWT || c.Credential != "I1" {
					t.Fatalf("caller %+v, error %v", c, err)
				}
			}
			change(w)
			if c, err := a.Present(t.Context(), w, p, time.Now()); !secret.HasCode(err, secret.CodeUnauthenticated) || c != (Caller{}) {
				t.Errorf("caller %+v, error %v", c, err)
			}
		})
	}
}

func BenchmarkPresentJWT(b *testing.B) {
	w := newJWTWorld(b)
	a := newAuthenticator(b, Options{})
	p := Presented{Bearer: w.published.Token(b, "alice")}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Present(b.Context(), w, p, time.Now()); err != nil {
			b.Fatal(err)
		}
	}
}
