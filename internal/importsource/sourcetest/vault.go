// Package sourcetest has servers that speak the wire of other secret managers as
// far as imports need it, for tests.
package sourcetest

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// VaultToken is the one that servers accept.
const VaultToken = "hvs.test-token"

// VaultSecret is a secret of a KV engine of version 2; of version 1 only the last
// value counts.
type VaultSecret struct {
	// Versions are its values, the first one of number 1. A nil one is destroyed.
	Versions []map[string]any
	// Deleted says that the last one is deleted.
	Deleted bool
	Custom  map[string]string
}

// Vault is a server with two KV engines that hold the same: kv2 and kv1.
type Vault struct {
	*httptest.Server
	mu      sync.Mutex
	secrets map[string]VaultSecret
	// busy is how many requests are still answered with 503.
	busy int
	// Requests counts those that were answered otherwise.
	requests int
}

// NewVault starts a server. Close it after use.
func NewVault(secrets map[string]VaultSecret) *Vault {
	v := &Vault{secrets: secrets}
	v.Server = httptest.NewServer(http.HandlerFunc(v.serve))
	return v
}

// Busy has the next n requests answered with 503.
func (v *Vault) Busy(n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.busy = n
}

// Put replaces a secret.
func (v *Vault) Put(name string, s VaultSecret) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.secrets[name] = s
}

// Requests returns how many were answered.
func (v *Vault) Requests() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.requests
}

func (v *Vault) serve(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	path, ok := strings.CutPrefix(r.URL.Path, "/v1/")
	switch {
	case v.busy > 0:
		v.busy--
		fail(w, http.StatusServiceUnavailable, "Vault is sealed")
		return
	case r.Header.Get("X-Vault-Token") != VaultToken:
		fail(w, http.StatusForbidden, "permission denied")
		return
	case !ok || r.Method != http.MethodGet:
		fail(w, http.StatusMethodNotAllowed, "unsupported")
		return
	}
	v.requests++
	list := r.URL.Query().Get("list") == "true"
	switch {
	case strings.HasPrefix(path, "sys/internal/ui/mounts/kv"):
		answer(w, map[string]any{"type": "kv", "options": map[string]string{"version": path[len(path)-1:]}})
	case path == "sys/internal/ui/mounts/transit":
		answer(w, map[string]any{"type": "transit", "options": nil})
	case path == "sys/internal/ui/mounts/moved":
		http.Redirect(w, r, "http://192.0.2.1/v1/sys/internal/ui/mounts/moved", http.StatusTemporaryRedirect)
	case strings.HasPrefix(path, "kv2/metadata/") && list:
		v.list(w, strings.TrimPrefix(path, "kv2/metadata/"))
	case strings.HasPrefix(path, "kv1/") && list:
		v.list(w, strings.TrimPrefix(path, "kv1/"))
	case strings.HasPrefix(path, "kv2/metadata/"):
		v.about(w, strings.TrimPrefix(path, "kv2/metadata/"))
	case strings.HasPrefix(path, "kv2/data/"):
		n, _ := strconv.Atoi(r.URL.Query().Get("version"))
		v.read(w, strings.TrimPrefix(path, "kv2/data/"), n)
	case strings.HasPrefix(path, "kv1/"):
		s, ok := v.secrets[strings.TrimPrefix(path, "kv1/")]
		if !ok {
			fail(w, http.StatusNotFound)
			return
		}
		answer(w, s.Versions[len(s.Versions)-1])
	default:
		fail(w, http.StatusForbidden, "preflight capability check returned 403")
	}
}

func answer(w http.ResponseWriter, data any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"request_id": "1", "lease_id": "", "renewable": false, "data": data, "warnings": nil})
}

func fail(w http.ResponseWriter, status int, reasons ...string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"errors": append([]string{}, reasons...)})
}

func (v *Vault) list(w http.ResponseWriter, folder string) {
	folder = strings.TrimSuffix(folder, "/")
	var keys []string
	for name := range v.secrets {
		rest := name
		if folder != "" {
			var ok bool
			if rest, ok = strings.CutPrefix(name, folder+"/"); !ok {
				continue
			}
		}
		first, _, nested := strings.Cut(rest, "/")
		if nested {
			first += "/"
		}
		keys = append(keys, first)
	}
	if len(keys) == 0 {
		fail(w, http.StatusNotFound)
		return
	}
	slices.Sort(keys)
	answer(w, map[string]any{"keys": slices.Compact(keys)})
}

func (v *Vault) about(w http.ResponseWriter, name string) {
	s, ok := v.secrets[name]
	if !ok {
		fail(w, http.StatusNotFound)
		return
	}
	versions := map[string]any{}
	for i, value := range s.Versions {
		versions[strconv.Itoa(i+1)] = s.state(i, value)
	}
	answer(w, map[string]any{"current_version": len(s.Versions), "versions": versions, "custom_metadata": s.Custom, "max_versions": 0})
}

func (s VaultSecret) state(i int, value map[string]any) map[string]any {
	deleted := ""
	if s.Deleted && i == len(s.Versions)-1 {
		deleted = "2024-01-02T03:04:05.123456789Z"
	}
	return map[string]any{"created_time": "2024-01-0" + strconv.Itoa(i%9+1) + "T00:00:00Z", "deletion_time": deleted, "destroyed": value == nil}
}

func (v *Vault) read(w http.ResponseWriter, name string, n int) {
	s, ok := v.secrets[name]
	if !ok || n < 1 || n > len(s.Versions) || s.Versions[n-1] == nil {
		fail(w, http.StatusNotFound)
		return
	}
	answer(w, map[string]any{"data": s.Versions[n-1], "metadata": s.state(n-1, s.Versions[n-1])})
}
