//go:build pkcs11 && cgo

package pkcs11

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	hsm "github.com/miekg/pkcs11"
)

// modules are the loaded libraries. They are a global because C_Initialize and
// C_Finalize are: two wrappers of one process share what a library holds.
var modules = registry{loaded: map[string]*module{}}

// registry never unloads a library: a vendor's library may have threads and exit
// handlers of its own, which must not lose their code. An unused one is
// finalized, which gives back what it holds in the HSM.
type registry struct {
	mu     sync.Mutex
	loaded map[string]*module
}

// module is a loaded library.
type module struct {
	*hsm.Ctx
	uses int
	// initialized is false if someone else in the process did it, who then also
	// finalizes.
	initialized bool
}

// use loads a library if need be and initializes it. Each call is followed by
// one of release, once no call into the library is under way.
func (r *registry) use(path string) (*module, error) {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, fmt.Errorf("cannot load PKCS#11 library: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.loaded[path]
	if m == nil {
		m = &module{Ctx: hsm.New(path)}
		if m.Ctx == nil {
			return nil, fmt.Errorf("%s is not a PKCS#11 library, or one that it needs is missing", path)
		}
		r.loaded[path] = m
	}
	if m.uses == 0 {
		if err := m.initialize(); err != nil {
			return nil, fmt.Errorf("cannot initialize PKCS#11 library: %w", err)
		}
	}
	m.uses++
	return m, nil
}

func (m *module) initialize() error {
	err := m.Initialize()
	if errors.Is(err, hsm.Error(hsm.CKR_CRYPTOKI_ALREADY_INITIALIZED)) {
		return nil
	}
	m.initialized = m.initialized || err == nil
	return err
}

// revive initializes the library again if something finalized it.
func (r *registry) revive(m *module) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return m.initialize()
}

// release finalizes a library that nothing uses any more.
func (r *registry) release(m *module) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m.uses--; m.uses > 0 || !m.initialized {
		return nil
	}
	m.initialized = false
	if err := m.Finalize(); !errors.Is(err, hsm.Error(hsm.CKR_CRYPTOKI_NOT_INITIALIZED)) {
		return err
	}
	return nil
}
