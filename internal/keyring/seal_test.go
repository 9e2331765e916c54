package keyring_test

import (
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/keyring"
)

func TestSealAndOpen(t *testing.T) {
	w := newWorld(t, keyring.Options{})
	for _, content := range []string{"", "a", "correct horse battery staple"} {
		w.mustOpen(t, vault, w.seal(t, vault, content, place()), content)
	}
}
