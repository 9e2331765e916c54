package file_test

import (
	"path/filepath"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/file"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/kmstest"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func TestConformance(t *testing.T) {
	kmstest.Run(t, func(t *testing.T) kms.Wrapper { return open(t, create(t)) })
}

func TestNamedKeys(t *testing.T) {
	path := create(t)
	if _, err := file.AddKey(path, "payments"); err != nil {
		t.Fatal(err)
	}
	kmstest.Named(t, "payments", func(t *testing.T) kms.Wrapper { return open(t, path) })
	kmstest.Rotating(t, "payments", func(t *testing.T) kms.Wrapper { return open(t, path) })
	if _, err := file.AddKey(path, "a/b"); !secret.HasCode(err, secret.CodeInvalid) {
		t.Errorf("a bad name: %v", err)
	}
}

// A key that another process added wraps at once.
func TestAKeyAddedByAnotherProcess(t *testing.T) {
	path := create(t)
	w := open(t, path)
	id, err := file.AddKey(path, "")
	if err != nil {
		t.Fatal(err)
	}
	if wrapped, err := w.Wrap(t.Context(), []byte("key"), nil); err != nil || wrapped.MasterKey != id {
		t.Errorf("wraps by %q, %v; want %q", wrapped.MasterKey, err, id)
	}
}

func create(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "master-keys.json")
	if _, err := file.Create(path); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t *testing.T, path string) *file.Wrapper {
	t.Helper()
	w, err := file.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w
}
