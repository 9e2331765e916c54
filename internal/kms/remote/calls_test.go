package remote_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/remote"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func untilDone(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestTimeoutIsAFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := remote.NewCalls("test", time.Second)
		defer calls.Close()
		start := time.Now()
		err := calls.Do(t.Context(), untilDone)
		if !errors.Is(err, kms.ErrFault) || !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
	})
}

func TestCallerIsNotAFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := remote.NewCalls("test", time.Hour)
		defer calls.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := calls.Do(ctx, untilDone); errors.Is(err, kms.ErrFault) || !secret.HasCode(err, secret.CodeUnavailable) {
			t.Errorf("got %v", err)
		}
	})
}

func TestCloseEndsCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := remote.NewCalls("test", time.Hour)
		result := make(chan error, 1)
		go func() { result <- calls.Do(t.Context(), untilDone) }()
		synctest.Wait()
		calls.Close()
		calls.Close()
		if err := <-result; !errors.Is(err, kms.ErrClosed) {
			t.Errorf("got %v", err)
		}
		if err := calls.Do(t.Context(), untilDone); !errors.Is(err, kms.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

func TestVerdictsPass(t *testing.T) {
	calls := remote.NewCalls("test", time.Hour)
	defer calls.Close()
	for _, want := range []error{nil, kms.Tampered("k"), kms.WrongKey("test", "k", nil), kms.Fault("test", errors.New("x")), secret.Invalid("f", "bad")} {
		if got := calls.Do(t.Context(), func(context.Context) error { return want }); got != want {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	if err := calls.Do(t.Context(), func(context.Context) error { return errors.New("x") }); !errors.Is(err, kms.ErrFault) {
		t.Errorf("got %v", err)
	}
}
