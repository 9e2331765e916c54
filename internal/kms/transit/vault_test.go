package transit_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/kms/transit"
)

// vault answers like the transit engine of Vault 1.19, and really encrypts.
type vault struct {
	t      *testing.T
	server *httptest.Server
	dir    string

	mu        sync.Mutex
	mount     string
	namespace string
	tokens    map[string]bool
	denied    map[string]bool // "<operation>/<key>" that the policy forbids
	keys      map[string]*vaultKey
	// badData is the status of a decryption that fails; it depends on the
	// release.
	badData int
	// ignoreData is a Vault before 1.9.
	ignoreData bool
	// fail is asked first.
	fail     func(operation string) (status int, body string)
	requests []string
}

type vaultKey struct {
	kind, flag string
	minDecrypt int
	created    int64
	versions   []cipher.AEAD
}

const goodToken = "hvs.good"

func newVault(t *testing.T) *vault {
	t.Helper()
	v := &vault{
		t: t, dir: t.TempDir(), mount: "transit", tokens: map[string]bool{goodToken: true},
		denied: map[string]bool{}, keys: map[string]*vaultKey{}, badData: http.StatusBadRequest,
	}
	v.server = httptest.NewTLSServer(v)
	t.Cleanup(v.server.Close)
	v.write("ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: v.server.Certificate().Raw}))
	v.write("token", []byte(goodToken+"\n"))
	return v
}

func (v *vault) write(name string, content []byte) {
	v.t.Helper()
	if err := os.WriteFile(filepath.Join(v.dir, name), content, 0o600); err != nil {
		v.t.Fatal(err)
	}
}

func (v *vault) options(key string, older ...string) transit.Options {
	return transit.Options{
		Address: v.server.URL, Key: key, OlderKeys: older,
		TokenFile: filepath.Join(v.dir, "token"), CAFile: filepath.Join(v.dir, "ca.pem"),
	}
}

// set changes the server under its lock.
func (v *vault) set(change func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	change()
}

func (v *vault) createKey(name string) {
	v.set(func() { v.keys[name] = &vaultKey{kind: "aes256-gcm96", minDecrypt: 1, created: 1700000000} })
	v.rotate(name)
}

func (v *vault) rotate(name string) { v.set(v.keys[name].add) }

func (k *vaultKey) add() {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw)
	block, err := aes.NewCipher(raw)
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	k.versions = append(k.versions, aead)
}

// ServeHTTP implements http.Handler.
func (v *vault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	path := strings.TrimPrefix(r.URL.Path, "/v1/")
	operation, hasMount := strings.CutPrefix(path, v.mount+"/")
	v.requests = append(v.requests, operation)
	if v.fail != nil {
		if status, body := v.fail(operation); status != 0 {
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
			return
		}
	}
	switch {
	case !v.tokens[r.Header.Get("X-Vault-Token")] || r.Header.Get("X-Vault-Namespace") != v.namespace || v.denied[operation]:
		refuse(w, http.StatusForbidden, "1 error occurred:\n\t* permission denied\n\n")
	case path == "auth/token/lookup-self":
		answer(w, map[string]any{"ttl": 3600})
	case !hasMount:
		refuse(w, http.StatusNotFound, fmt.Sprintf("no handler for route %q. route entry not found.", path))
	default:
		v.operate(w, r, operation)
	}
}

func (v *vault) operate(w http.ResponseWriter, r *http.Request, operation string) {
	verb, name, _ := strings.Cut(strings.TrimSuffix(operation, "/rotate"), "/")
	key := v.keys[name]
	switch {
	case verb == "keys" && r.Method == http.MethodGet && key == nil:
		refuse(w, http.StatusNotFound)
	case verb == "keys" && r.Method == http.MethodGet:
		answer(w, key.describe(name))
	case r.Method != http.MethodPost:
		refuse(w, http.StatusMethodNotAllowed, "unsupported operation")
	case key == nil:
		refuse(w, http.StatusBadRequest, "encryption key not found")
	case verb == "keys" && strings.HasSuffix(operation, "/rotate"):
		key.add()
		w.WriteHeader(http.StatusNoContent)
	case verb == "encrypt":
		v.encrypt(w, r, key)
	case verb == "decrypt":
		v.decrypt(w, r, key)
	default:
		refuse(w, http.StatusNotFound, "unsupported path")
	}
}

func (k *vaultKey) describe(name string) map[string]any {
	versions := map[string]int64{}
	for i := range k.versions {
		if i+1 >= k.minDecrypt { // older ones are in the archive
			versions[strconv.Itoa(i+1)] = k.created + int64(i)
		}
	}
	d := map[string]any{
		"name": name, "type": k.kind, "derived": false, "exportable": false, "allow_plaintext_backup": false,
		"deletion_allowed": false, "imported_key": false, "auto_rotate_period": 0, "latest_version": len(k.versions),
		"min_available_version": 0, "min_decryption_version": k.minDecrypt, "min_encryption_version": 0,
		"supports_encryption": true, "supports_decryption": true, "supports_derivation": true, "supports_signing": false,
		"keys": versions,
	}
	if k.flag != "" {
		d[k.flag] = true
	}
	return d
}

type vaultRequest struct {
	Plaintext      *string `json:"plaintext"`
	Ciphertext     string  `json:"ciphertext"`
	AssociatedData string  `json:"associated_data"`
	KeyVersion     int     `json:"key_version"`
}

func (v *vault) read(w http.ResponseWriter, r *http.Request) (q vaultRequest, data []byte, ok bool) {
	err := json.NewDecoder(r.Body).Decode(&q)
	if err == nil {
		data, err = base64.StdEncoding.DecodeString(q.AssociatedData)
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, "failed to parse JSON input: "+err.Error())
	}
	if v.ignoreData {
		data = nil
	}
	return q, data, err == nil
}

func (v *vault) encrypt(w http.ResponseWriter, r *http.Request, key *vaultKey) {
	q, data, ok := v.read(w, r)
	if !ok {
		return
	}
	version := q.KeyVersion
	if version == 0 {
		version = len(key.versions)
	}
	switch {
	case q.Plaintext == nil:
		refuse(w, http.StatusBadRequest, "missing plaintext to encrypt")
		return
	case version > len(key.versions):
		refuse(w, http.StatusBadRequest, "requested version for encryption is higher than the latest key version")
		return
	}
	plaintext, err := base64.StdEncoding.DecodeString(*q.Plaintext)
	if err != nil {
		refuse(w, http.StatusBadRequest, "failed to base64-decode plaintext")
		return
	}
	sealed := key.versions[version-1].Seal(nil, nil, plaintext, data)
	answer(w, map[string]any{"ciphertext": fmt.Sprintf("vault:v%d:%s", version, base64.StdEncoding.EncodeToString(sealed)), "key_version": version})
}

func (v *vault) decrypt(w http.ResponseWriter, r *http.Request, key *vaultKey) {
	q, data, ok := v.read(w, r)
	if !ok {
		return
	}
	rest, ok := strings.CutPrefix(q.Ciphertext, "vault:v")
	number, encoded, ok2 := strings.Cut(rest, ":")
	version, err := strconv.Atoi(number)
	switch {
	case !ok:
		refuse(w, http.StatusBadRequest, "invalid ciphertext: no prefix")
		return
	case !ok2 || err != nil || version < 1 || version > len(key.versions):
		refuse(w, http.StatusBadRequest, "invalid ciphertext: version is too new")
		return
	case version < key.minDecrypt:
		refuse(w, http.StatusBadRequest, "ciphertext or signature version is disallowed by policy (too old)")
		return
	}
	sealed, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(sealed) < 28 {
		refuse(w, http.StatusBadRequest, "invalid ciphertext: could not decode base64")
		return
	}
	plaintext, err := key.versions[version-1].Open(nil, nil, sealed, data)
	if err != nil {
		refuse(w, v.badData, "1 error occurred:\n\t* cipher: message authentication failed\n\n")
		return
	}
	answer(w, map[string]any{"plaintext": base64.StdEncoding.EncodeToString(plaintext)})
}

func answer(w http.ResponseWriter, data map[string]any) {
	_ = json.NewEncoder(w).Encode(map[string]any{
		"request_id": "b2d5a3c4", "lease_id": "", "renewable": false, "lease_duration": 0,
		"data": data, "wrap_info": nil, "warnings": nil, "auth": nil, "mount_type": "transit",
	})
}

func refuse(w http.ResponseWriter, status int, errors ...string) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string][]string{"errors": append([]string{}, errors...)}) // not null
}
