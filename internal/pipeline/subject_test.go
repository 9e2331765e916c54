package pipeline_test

import (
	"testing"
	"testing/synctest"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
)

// A value that a host cannot apply fails its secret: the secret is not cleared
// before every live host has the value too.
func TestAQuarantinedVersionFailsItsSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := start(t)
		revision := m.mutate(record.SecretKey("V.S"))
		for range 3 {
			report(t, p, "a", revision, record.VersionKey("V.S", "1"))
			report(t, p, "b", revision)
			settle()
		}
		if !m.open(record.SecretKey("V.S")) || !m.has(record.QuarantineKey(record.SecretKey("V.S"))) {
			t.Fatal("a secret of which a host lacks the value is cleared, or not marked")
		}
	})
}
