package authn

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// memory is a View over a map; a copy of it is a snapshot.
type memory map[record.Key]record.Stored

func (m memory) Get(key record.Key) (record.Stored, bool, error) {
	s, ok := m[key]
	return s, ok, nil
}

func (m memory) Scan(record.Key, record.Key, func(record.Stored) bool) error {
	return errors.New("authentication scans nothing")
}

func (m memory) put(key record.Key, value []byte) record.Change {
	s := record.Stored{Key: key, Value: value, Revision: m[key].Revision + 1}
	m[key] = s
	return record.Change{Stored: s}
}

func (m memory) putCredential(c *secret.Credential) record.Change {
	return m.put(record.CredentialKey(c.ID), record.Credentials.Encode(c))
}

func (m memory) putPrincipal(p *secret.Principal) record.Change {
	return m.put(record.PrincipalKey(p.Account, p.ID), record.Principals.Encode(p))
}

// world is an account with one principal that has a token and an access key.
type world struct {
	memory
	principal  *secret.Principal
	credential *secret.Credential
	key        *secret.Credential
	token      string
}

func newWorld() *world {
	w := &world{memory: memory{}}
	w.principal = &secret.Principal{ID: "P1", Account: "A1", Name: "alice", Kind: secret.User, Roles: []string{"readers"}}
	id, token, hash := NewToken()
	w.token = string(token.Reveal())
	w.credential = &secret.Credential{ID: id, Account: "A1", Principal: "P1", Kind: secret.Token, TokenHash: hash}
	keyID, _ := NewAccessKey()
	w.key = &secret.Credential{ID: keyID, Account: "A1", Principal: "P1", Kind: secret.AccessKey, SealedKey: secret.Sealed("sealed")}
	w.putPrincipal(w.principal)
	w.putCredential(w.credential)
	w.putCredential(w.key)
	return w
}

func newAuthenticator(t testing.TB, o Options) *Authenticator {
	t.Helper()
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestBearer(t *testing.T) {
	w := newWorld()
	a := newAuthenticator(t, Options{})
	var first *secret.Principal
	for range 3 {
		c, err := a.Bearer(w, w.token, now)
		if err != nil {
			t.Fatal(err)
		}
		if c.Principal.Name != "alice" || c.Account != "A1" || c.Credential != w.credential.ID || c.Method != MethodToken || c.BreakGlass {
			t.Fatalf("caller %+v", c)
		}
		if first == nil {
			first = c.Principal
		}
		if c.Principal != first {
			t.Error("the principal was decoded again")
		}
	}
}

func TestBearerRefuses(t *testing.T) {
	_, strange, _ := NewToken()
	tests := []struct {
		name    string
		change  func(*world)
		message string
	}{
		{"unknown", func(w *world) { w.token = string(strange.Reveal()) }, "the credential is not valid"},
		{"wrong secret half", func(w *world) {
			w.token = string(appendChecksum(append([]byte(w.token[:secretStart]), strange.Reveal()[secretStart:secretStart+secretLength]...)))
		}, "the credential is not valid"},
		{"typo", func(w *world) { w.token = w.token[:40] + "2" + w.token[41:]; w.token = strings.Replace(w.token, "2", "3", 1) }, "the token is malformed"},
		{"empty", func(w *world) { w.token = "" }, "the token is malformed"},
		{"no hash stored", func(w *world) { w.credential.TokenHash = nil; w.putCredential(w.credential) }, "the credential is not valid"},
		{"other kind", func(w *world) { w.credential.Kind = secret.AccessKey; w.putCredential(w.credential) }, "the credential is not valid"},
		{"expired", func(w *world) { w.credential.ExpiresAt = now; w.putCredential(w.credential) }, "expired at"},
		{"revoked", func(w *world) { w.credential.RevokedAt = now; w.putCredential(w.credential) }, "revoked at"},
		{"disabled", func(w *world) { w.principal.Disabled = true; w.putPrincipal(w.principal) }, "the principal is disabled"},
		{"principal deleted", func(w *world) { delete(w.memory, record.PrincipalKey("A1", "P1")) }, "the principal was deleted"},
		{"deleted", func(w *world) { delete(w.memory, record.CredentialKey(w.credential.ID)) }, "the credential is not valid"},
	}
	for _, tt := range tests {
		for _, warm := range []bool{false, true} {
			t.Run(tt.name, func(t *testing.T) {
				w := newWorld()
				a := newAuthenticator(t, Options{})
				if warm {
					if _, err := a.Bearer(w, w.token, now); err != nil {
						t.Fatal(err)
					}
				}
				tt.change(w)
				c, err := a.Bearer(w, w.token, now)
				if !secret.HasCode(err, secret.CodeUnauthenticated) || !strings.Contains(err.Error(), tt.message) {
					t.Errorf("warm %v: error %v, want %q", warm, err, tt.message)
				}
				if c != (Caller{}) {
					t.Errorf("warm %v: caller %+v of a refused credential", warm, c)
				}
			})
		}
	}
}
