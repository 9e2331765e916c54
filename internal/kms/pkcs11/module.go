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

type registry struct {
	mu     sync.Mutex
	loaded map[string]*module
}

// module is a loaded library.
type module struct {
	*hsm.Ctx
	path string
	uses int
	// initialized is false if someone else in the process did it, who then also
	// finalizes.
	initialized bool
}

// load loads and initializes a library, or returns the loaded one. Each call is
// followed by one of unload.
func (r *registry) load(path string) (*module, error) {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, fmt.Errorf("cannot load PKCS#11 library: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.loaded[path]; m != nil {
		m.uses++
		return m, nil
	}
	m := &module{Ctx: hsm.New(path), path: path, uses: 1}
	if m.Ctx == nil {
		return nil, fmt.Errorf("%s is not a PKCS#11 library, or one that it needs is missing", path)
	}
	if err := m.initialize(); err != nil {
		m.Destroy()
		return nil, fmt.Errorf("cannot initialize PKCS#11 library: %w", err)
	}
	r.loaded[path] = m
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

func (r *registry) unload(m *module) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m.uses--; m.uses > 0 {
		return nil
	}
	delete(r.loaded, m.path)
	var err error
	if m.initialized {
		err = m.Finalize()
	}
	m.Destroy()
	if errors.Is(err, hsm.Error(hsm.CKR_CRYPTOKI_NOT_INITIALIZED)) {
		return nil
	}
	return err
}
