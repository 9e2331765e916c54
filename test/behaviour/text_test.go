package behaviour_test

import (
	"strings"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func containsText(text, part string) bool { return strings.Contains(text, part) }

// contains fails unless a text has a part.
func contains(t testing.TB, text, part string) {
	t.Helper()
	if !containsText(text, part) {
		t.Errorf("%q does not say %q", text, part)
	}
}

// failsWith is fails that returns the whole text of the error.
func failsWith[Req, Res any](t testing.TB, call method[Req, Res], m *Req, code secret.Code) string {
	t.Helper()
	_, err := call(t.Context(), ask(m))
	if codeOf(err) != code {
		t.Fatalf("%v: %v (%v), want %s", m, err, infoOf(err), code)
	}
	return err.Error()
}
