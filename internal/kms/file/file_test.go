package file_test

import (
	"path/filepath"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/file"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/kmstest"
)

func TestConformance(t *testing.T) {
	kmstest.Run(t, func(t *testing.T) kms.Wrapper { return open(t, create(t)) })
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
