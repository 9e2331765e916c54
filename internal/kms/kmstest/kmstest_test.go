package kmstest_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/file"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/kmstest"
)

// vague is a key service that, like some HSMs, gives one general error for
// whatever it cannot decrypt.
type vague struct{ *file.Wrapper }

var errGeneral = errors.New("general error")

func (v vague) Unwrap(ctx context.Context, wrapped kms.Wrapped, aad []byte) ([]byte, error) {
	if _, err := kms.OpenEnvelope(wrapped, aad); err != nil {
		return nil, err
	}
	plaintext, err := v.Wrapper.Unwrap(ctx, wrapped, aad)
	if errors.Is(err, kms.ErrTampered) {
		return nil, kms.Fault("vague", errGeneral)
	}
	return plaintext, err
}

// The envelope's check value must be enough for a driver to tell tampering from
// a fault.
func TestEnvelopeSufficesForAVagueKeyService(t *testing.T) {
	kmstest.Run(t, func(t *testing.T) kms.Wrapper {
		path := filepath.Join(t.TempDir(), "keys.json")
		if _, err := file.Create(path); err != nil {
			t.Fatal(err)
		}
		w, err := file.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		return vague{w}
	})
}
