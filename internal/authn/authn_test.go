package authn

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

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

// TestUnknownAndMismatchLookAlike compares everything that a caller can see of
// the two refusals that would tell which IDs exist.
func TestUnknownAndMismatchLookAlike(t *testing.T) {
	w := newWorld()
	_, strange, _ := NewToken()
	other := strange.Reveal()
	mismatch := append([]byte(w.token[:secretStart]), other[secretStart:secretStart+secretLength]...)
	mismatch = appendChecksum(mismatch)
	a := newAuthenticator(t, Options{})
	_, errUnknown := a.Bearer(w, string(other), now)
	for range 2 { // cold, then with the credential cached
		_, errMismatch := a.Bearer(w, string(mismatch), now)
		if !secret.HasCode(errMismatch, secret.CodeUnauthenticated) || errMismatch.Error() != errUnknown.Error() {
			t.Errorf("unknown: %v; mismatch: %v", errUnknown, errMismatch)
		}
		if _, err := a.Bearer(w, w.token, now); err != nil {
			t.Fatal(err)
		}
	}
	// Nor does a wrong secret half learn that the credential was revoked.
	w.credential.RevokedAt = now
	w.putCredential(w.credential)
	if _, err := a.Bearer(w, string(mismatch), now); err == nil || err.Error() != errUnknown.Error() {
		t.Errorf("revoked: %v", err)
	}
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
		{"cut short", func(w *world) { w.token = w.token[:tokenLength-1] }, "the token is malformed"},
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

func TestSignature(t *testing.T) {
	w := newWorld()
	a := newAuthenticator(t, Options{})
	proven := func(c *secret.Credential) error {
		if string(c.SealedKey) != "sealed" {
			t.Errorf("sealed key %q", c.SealedKey)
		}
		return nil
	}
	for range 2 {
		c, err := a.Signature(w, w.key.ID, now, proven)
		if err != nil || c.Principal.Name != "alice" || c.Credential != w.key.ID || c.Method != MethodSignature {
			t.Fatalf("caller %+v, error %v", c, err)
		}
	}
	wrong := secret.Errorf(secret.CodeUnauthenticated, "the signature does not match")
	if _, err := a.Signature(w, w.key.ID, now, func(*secret.Credential) error { return wrong }); !errors.Is(err, error(wrong)) {
		t.Errorf("wrong signature: %v", err)
	}
	never := func(*secret.Credential) error {
		t.Error("asked to prove an unknown access key")
		return nil
	}
	unknown, _ := NewAccessKey()
	for _, id := range []secret.CredentialID{unknown, "", "x", w.credential.ID} {
		if _, err := a.Signature(w, id, now, never); !secret.HasCode(err, secret.CodeUnauthenticated) {
			t.Errorf("%q: %v", id, err)
		}
	}
	w.key.RevokedAt = now
	w.putCredential(w.key)
	if _, err := a.Signature(w, w.key.ID, now, proven); !secret.HasCode(err, secret.CodeUnauthenticated) {
		t.Errorf("revoked: %v", err)
	}
}

func TestKindsAreNotMixed(t *testing.T) {
	w := newWorld()
	a := newAuthenticator(t, Options{})
	w.key.Kind, w.key.TokenHash = secret.Token, w.credential.TokenHash
	w.putCredential(w.key)
	_, err := a.Signature(w, w.key.ID, now, func(*secret.Credential) error { return nil })
	if !secret.HasCode(err, secret.CodeUnauthenticated) {
		t.Errorf("a token signs: %v", err)
	}
}

// fromStore is a view of the store itself.
type fromStore struct{ *world }

func (fromStore) Linearizable() {}

func TestMaxAge(t *testing.T) {
	w := newWorld()
	var age time.Duration
	breakGlass := false
	a := newAuthenticator(t, Options{
		MaxAge: 24 * time.Hour, Age: func() time.Duration { return age }, BreakGlass: func() bool { return breakGlass },
	})
	check := func(want secret.Code, wantBreakGlass bool) {
		t.Helper()
		c, err := a.Bearer(w, w.token, now)
		if secret.CodeOf(err) != want || c.BreakGlass != wantBreakGlass {
			t.Errorf("age %s: caller %+v, error %v", age, c, err)
		}
	}
	check("", false)
	age = 24 * time.Hour
	check("", false)
	age++
	check(secret.CodeUnavailable, false)
	if _, err := a.Bearer(fromStore{w}, w.token, now); err != nil {
		t.Errorf("what the store itself says is too old: %v", err)
	}
	breakGlass = true
	check("", true)
	age = time.Second
	check("", false)

	unbounded := newAuthenticator(t, Options{})
	if _, err := unbounded.Bearer(w, w.token, now); err != nil {
		t.Error(err)
	}
	for _, o := range []Options{{MaxAge: -1}, {MaxAge: time.Hour}, {CacheEntries: -1}} {
		if _, err := New(o); !secret.HasCode(err, secret.CodeInvalid) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

func TestBreakGlassDoesNotReviveRevoked(t *testing.T) {
	w := newWorld()
	a := newAuthenticator(t, Options{
		MaxAge: time.Hour, Age: func() time.Duration { return 2 * time.Hour }, BreakGlass: func() bool { return true },
	})
	w.credential.RevokedAt = now
	w.putCredential(w.credential)
	if _, err := a.Bearer(w, w.token, now); !secret.HasCode(err, secret.CodeUnauthenticated) {
		t.Errorf("error %v", err)
	}
}

func TestCorruptRecords(t *testing.T) {
	tests := map[string]func(*world){
		"credential":           func(w *world) { w.put(record.CredentialKey(w.credential.ID), []byte{1, 0xff}) },
		"principal":            func(w *world) { w.put(record.PrincipalKey("A1", "P1"), []byte{1, 0xff}) },
		"misplaced credential": func(w *world) { w.put(record.CredentialKey(w.credential.ID), record.Credentials.Encode(w.key)) },
		"misplaced principal": func(w *world) {
			w.put(record.PrincipalKey("A1", "P1"), record.Principals.Encode(&secret.Principal{ID: "P2", Account: "A1"}))
		},
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			change(w)
			if c, err := newAuthenticator(t, Options{}).Bearer(w, w.token, now); !secret.HasCode(err, secret.CodeCorrupt) {
				t.Errorf("caller %+v, error %v", c, err)
			}
		})
	}
}

type broken struct{ memory }

var errBroken = errors.New("disk on fire")

func (broken) Get(record.Key) (record.Stored, bool, error) { return record.Stored{}, false, errBroken }

func TestViewError(t *testing.T) {
	w := newWorld()
	if _, err := newAuthenticator(t, Options{}).Bearer(broken{}, w.token, now); !errors.Is(err, errBroken) {
		t.Errorf("error %v", err)
	}
}

// TestEveryViewDecidesByItsOwnRecords changes the records, takes snapshots,
// forgets to announce changes and authenticates over snapshots of any age: each
// answer must be that of the snapshot, whatever is cached.
func TestEveryViewDecidesByItsOwnRecords(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		a, err := New(Options{CacheEntries: rapid.SampledFrom([]int{1, 64}).Draw(t, "entries")})
		if err != nil {
			t.Fatal(err)
		}
		type snapshot struct {
			memory
			name string
			ok   bool
		}
		exists := true
		take := func() snapshot {
			s := snapshot{memory{}, w.principal.Name, exists && !w.principal.Disabled && w.credential.RevokedAt.IsZero()}
			for k, v := range w.memory {
				s.memory[k] = v
			}
			return s
		}
		snapshots := []snapshot{take()}
		announce := func(t *rapid.T, c record.Change) {
			if rapid.Bool().Draw(t, "announce") {
				a.Changed([]record.Change{c})
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"rename": func(t *rapid.T) {
				w.principal.Name += "x"
				announce(t, w.putPrincipal(w.principal))
			},
			"disable": func(t *rapid.T) {
				w.principal.Disabled = !w.principal.Disabled
				announce(t, w.putPrincipal(w.principal))
			},
			"revoke": func(t *rapid.T) {
				w.credential.RevokedAt = rapid.SampledFrom([]time.Time{{}, now}).Draw(t, "at")
				exists = true
				announce(t, w.putCredential(w.credential))
			},
			"delete": func(t *rapid.T) {
				exists = false
				key := record.CredentialKey(w.credential.ID)
				delete(w.memory, key)
				announce(t, record.Change{Stored: record.Stored{Key: key}, Deleted: true})
			},
			"open": func(*rapid.T) { snapshots = append(snapshots, take()) },
			"authenticate": func(t *rapid.T) {
				s := rapid.SampledFrom(snapshots).Draw(t, "snapshot")
				c, err := a.Bearer(s, w.token, now)
				if (err == nil) != s.ok || err == nil && c.Principal.Name != s.name {
					t.Fatalf("caller %+v, error %v; the view says %q, %v", c, err, s.name, s.ok)
				}
			},
		})
	})
}

func TestCacheIsBounded(t *testing.T) {
	a := newAuthenticator(t, Options{CacheEntries: 8})
	for range 100 {
		w := newWorld()
		for range 2 {
			if _, err := a.Bearer(w, w.token, now); err != nil {
				t.Fatal(err)
			}
		}
	}
	n := 0
	for i := range a.cache.buckets {
		for j := range a.cache.buckets[i] {
			if a.cache.buckets[i][j].Load() != nil {
				n++
			}
		}
	}
	if n == 0 || n > 8 {
		t.Errorf("%d entries are cached; the limit is 8", n)
	}
}

func TestChangedFreesMemory(t *testing.T) {
	w := newWorld()
	a := newAuthenticator(t, Options{})
	if _, err := a.Bearer(w, w.token, now); err != nil {
		t.Fatal(err)
	}
	a.Changed([]record.Change{{Stored: record.Stored{Key: record.CredentialKey(w.credential.ID)}, Deleted: true}})
	if a.cache.get(w.credential.ID) != nil {
		t.Error("the entry is still there")
	}
}

// TestConcurrentRevocation revokes while requests authenticate: one that begins
// after the commit is refused.
func TestConcurrentRevocation(t *testing.T) {
	w := newWorld()
	a := newAuthenticator(t, Options{CacheEntries: 4})
	var view atomic.Pointer[memory]
	view.Store(&w.memory)
	revoked := memory{}
	for k, v := range w.memory {
		revoked[k] = v
	}
	w.credential.RevokedAt = now
	change := revoked.putCredential(w.credential)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for refused := 0; refused < 100; {
				v := view.Load()
				_, err := a.Bearer(*v, w.token, now)
				if over := v != &w.memory; over != (err != nil) {
					t.Errorf("over the new view %v: error %v", over, err)
					return
				}
				if err != nil {
					refused++
				}
			}
		})
	}
	view.Store(&revoked)
	a.Changed([]record.Change{change})
	wg.Wait()
}
