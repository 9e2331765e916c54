package client_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/lifeboat-secrets/lifeboat/client"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func TestEveryCodeHasItsName(t *testing.T) {
	source, err := os.ReadFile("errors.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range secret.Codes() {
		if !strings.Contains(string(source), ` Code = "`+string(code)+`"`) {
			t.Errorf("%s has none", code)
		}
	}
}

func TestTheWaitThatTheRegionAsksForIsKnown(t *testing.T) {
	refused := refusal(connect.CodePermissionDenied, "permission_denied", "")
	refused.(*connect.Error).Meta().Set("Retry-After", "7")
	_, err := serve(t, &failing{failures: []error{refused}}).GetSecretValue(t.Context(), &client.GetSecretValueRequest{})
	if e, ok := errors.AsType[*client.Error](err); !ok || e.RetryAfter != 7*time.Second {
		t.Errorf("error is %+v", err)
	}
}
