// Package restore tests what callers and operators see when a region is lost and
// restored, on real regions.
package restore_test

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"connectrpc.com/connect"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/cli"
)

// TestMain also is the binary that the tests start as children.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "server" || os.Args[1] == "operator") {
		os.Exit(cli.Main(context.Background(), os.Args[1:], cli.Environment{
			Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, LookupEnv: os.LookupEnv, Release: "test",
		}))
	}
	os.Exit(m.Run())
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

type method[Req, Res any] func(context.Context, *connect.Request[Req]) (*connect.Response[Res], error)

// do calls a method that must succeed.
func do[Req, Res any](t testing.TB, call method[Req, Res], m *Req) *Res {
	t.Helper()
	answer, err := call(t.Context(), connect.NewRequest(m))
	if err != nil {
		t.Fatalf("%v: %v (%v)", m, err, infoOf(err))
	}
	return answer.Msg
}

// infoOf returns the details that every error of the API carries.
func infoOf(err error) *lifeboatv1.ErrorInfo {
	if wire, ok := errors.AsType[*connect.Error](err); ok {
		for _, detail := range wire.Details() {
			if value, err := detail.Value(); err == nil {
				if info, ok := value.(*lifeboatv1.ErrorInfo); ok {
					return info
				}
			}
		}
	}
	return nil
}

// eventually tries again until try succeeds.
func eventually(t testing.TB, try func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("it never came: %v", err)
		case <-tick.C:
		}
	}
}
