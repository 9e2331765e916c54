// Package issuertest is an issuer of JSON Web Tokens for tests: a server with TLS
// that publishes an OpenID configuration and keys, and signs what it is asked to.
package issuertest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// Audience is one that Claims has.
const Audience = "lifeboat"

// Issuer is a running issuer.
type Issuer struct {
	// URL is what the claim iss says.
	URL string
	// CAPEM is the authority of its certificate.
	CAPEM string

	down    atomic.Bool
	fetches atomic.Int64
	mu      sync.Mutex
	keys    []Key
}

// Key is one that the issuer signs with.
type Key struct {
	ID      string
	Private crypto.Signer
}

// New starts an issuer with one key. It ends with the test.
func New(t testing.TB) *Issuer {
	t.Helper()
	i := &Issuer{}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		i.answer(w, map[string]any{
			"issuer": i.URL, "jwks_uri": i.URL + "/keys", "id_token_signing_alg_values_supported": []string{"ES256"},
		})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		i.fetches.Add(1)
		i.answer(w, i.set())
	})
	server := httptest.NewTLSServer(mux)
	t.Cleanup(server.Close)
	i.URL = server.URL
	i.CAPEM = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	i.Rotate(t)
	return i
}

func (i *Issuer) answer(w http.ResponseWriter, v any) {
	if i.down.Load() {
		http.Error(w, "down", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// Down makes the issuer answer nothing useful, or ends that.
func (i *Issuer) Down(down bool) { i.down.Store(down) }

// Fetches counts how often keys were asked for.
func (i *Issuer) Fetches() int64 { return i.fetches.Load() }

// KeysURL is where the keys are.
func (i *Issuer) KeysURL() string { return i.URL + "/keys" }

// NewKey makes a key that the issuer does not publish.
func NewKey(t testing.TB, id string) Key {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return Key{ID: id, Private: private}
}

// Rotate makes a new key, signs with it from now on and no longer publishes those
// before the last one.
func (i *Issuer) Rotate(t testing.TB) Key {
	t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	key := NewKey(t, fmt.Sprint("key-", time.Now().UnixNano()))
	i.keys = append(i.keys, key)
	i.keys = i.keys[max(0, len(i.keys)-2):]
	return key
}

func (i *Issuer) set() (set jose.JSONWebKeySet) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, k := range i.keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.Private.Public(), KeyID: k.ID, Algorithm: "ES256", Use: "sig"})
	}
	return set
}

// Set is the key set that the issuer publishes now.
func (i *Issuer) Set(t testing.TB) []byte {
	t.Helper()
	b, err := json.Marshal(i.set())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Claims returns those of a valid token, to be changed.
func (i *Issuer) Claims(subject string) map[string]any {
	now := time.Now()
	return map[string]any{
		"iss": i.URL, "sub": subject, "aud": []string{Audience}, "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"jti": fmt.Sprint(now.UnixNano()),
	}
}

// Token returns a valid token.
func (i *Issuer) Token(t testing.TB, subject string) string { return i.Sign(t, i.Claims(subject)) }

// Sign signs claims with the newest key.
func (i *Issuer) Sign(t testing.TB, claims map[string]any) string {
	t.Helper()
	i.mu.Lock()
	key := i.keys[len(i.keys)-1]
	i.mu.Unlock()
	return SignWith(t, jose.ES256, key.Private, key.ID, claims)
}

// SignWith signs claims with any key and algorithm.
func SignWith(t testing.TB, algorithm jose.SignatureAlgorithm, key any, id string, claims map[string]any) string {
	t.Helper()
	options := (&jose.SignerOptions{}).WithType("JWT")
	if id != "" {
		options = options.WithHeader("kid", id)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, options)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}
