package keyring_test

import (
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/keyring"
)

func TestForgetAll(t *testing.T) {
	w := newWorld(t, keyring.Options{})
	sealed := w.seal(t, vault, "content", place())
	w.mustOpen(t, vault, sealed, "content")
	w.ForgetAll()
	if s := w.Stats(); s.Cached != 0 {
		t.Errorf("%d keys are cached", s.Cached)
	}
	before := w.service.calls()
	w.mustOpen(t, vault, sealed, "content")
	if got := w.service.calls() - before; got != 1 {
		t.Errorf("%d calls of the key service, want 1", got)
	}
}
