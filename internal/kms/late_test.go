package kms_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/file"
)

func TestALateKeyService(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		l := kms.NewLate(file.Driver, false, func(context.Context) (kms.Wrapper, error) {
			tries++
			return file.Open(path)
		})
		for range 3 {
			if _, err := l.Wrap(t.Context(), []byte("key"), nil); !errors.Is(err, kms.ErrFault) || !errors.Is(err, file.ErrNoFile) {
				t.Errorf("Wrap: %v", err)
			}
		}
		if tries != 1 || l.Describe().Driver != file.Driver {
			t.Errorf("%d tries within a moment; %+v", tries, l.Describe())
		}
		if _, err := file.Create(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // of the bubble's clock
		wrapped, err := l.Wrap(t.Context(), []byte("key"), []byte("aad"))
		if err != nil {
			t.Fatal(err)
		}
		if raw, err := l.Unwrap(t.Context(), wrapped, []byte("aad")); err != nil || string(raw) != "key" {
			t.Errorf("Unwrap: %v", err)
		}
		made, err := kms.LateRotator{Late: l}.RotateMasterKey(t.Context(), "")
		if active, _ := l.MasterKey(t.Context(), ""); err != nil || made != active || active == wrapped.MasterKey || l.Describe().ActiveKey != made {
			t.Errorf("rotated to %s, %v; active is %s", made, err, active)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if _, err := l.Unwrap(t.Context(), wrapped, nil); err == nil {
			t.Error("a closed key service unwraps")
		}
	})
}

func TestALateKeyServiceIsClosedUnopened(t *testing.T) {
	l := kms.NewLate("test", true, func(context.Context) (kms.Wrapper, error) { return nil, errors.New("not called") })
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := l.MasterKey(t.Context(), ""); !errors.Is(err, kms.ErrClosed) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := kms.NewLate("test", true, func(ctx context.Context) (kms.Wrapper, error) { return nil, ctx.Err() }).MasterKey(ctx, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
