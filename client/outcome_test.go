package client_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"connectrpc.com/connect"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1/lifeboatv1connect"
	"github.com/lifeboat-secrets/lifeboat/client"
)

// TestARefusalAfterAnAttemptThatMayBeDone has the last attempt of a call refused.
func TestARefusalAfterAnAttemptThatMayBeDone(t *testing.T) {
	unknown := refusal(connect.CodeUnavailable, "outcome_unknown", "")
	gateway := connect.NewError(connect.CodeUnavailable, errors.New("bad gateway"))
	throttled := refusal(connect.CodeResourceExhausted, "throttled", "")
	notHome := homeRefusal(connect.CodeFailedPrecondition, "not_home", "", "west")
	missing := refusal(connect.CodeNotFound, "not_found", "secret")
	denied := refusal(connect.CodePermissionDenied, "permission_denied", "")
	stale := refusal(connect.CodeAborted, "stale_expectation", "")
	exists := refusal(connect.CodeAlreadyExists, "already_exists", "")
	for name, c := range map[string]struct {
		failures []error
		code     client.Code
	}{
		"the home has moved":                   {[]error{unknown, notHome}, client.CodeOutcomeUnknown},
		"the vault has gone":                   {[]error{unknown, missing}, client.CodeOutcomeUnknown},
		"the caller may no more":               {[]error{unknown, throttled, denied}, client.CodeOutcomeUnknown},
		"a gateway gave up":                    {[]error{gateway, notHome}, client.CodeOutcomeUnknown},
		"the home has looked for it":           {[]error{unknown, stale}, client.CodeStale},
		"the region would not take it now":     {[]error{unknown, refusal(connect.CodeInvalidArgument, "invalid_argument", "ack_targets")}, client.CodeOutcomeUnknown},
		"an answer that cannot be read":        {[]error{connect.NewError(connect.CodeInvalidArgument, errors.New("unmarshal message"))}, client.CodeOutcomeUnknown},
		"a gateway fails":                      {[]error{connect.NewError(connect.CodeInternal, errors.New("gateway"))}, client.CodeOutcomeUnknown},
		"a gateway lets nobody in":             {[]error{connect.NewError(connect.CodePermissionDenied, errors.New("gateway"))}, client.CodeDenied},
		"another one has the name":             {[]error{unknown, exists}, client.CodeExists},
		"nothing was done":                     {[]error{throttled, unavailable, notHome}, client.CodeNotHome},
		"nothing was done in the only attempt": {[]error{denied}, client.CodeDenied},
	} {
		t.Run(name, func(t *testing.T) {
			f := &failing{failures: c.failures}
			_, err := serve(t, f).PutSecretVersion(t.Context(), &lifeboatv1.PutSecretVersionRequest{Vault: "v", Secret: "s"})
			e := wantCode(t, err, c.code)
			last := c.failures[len(c.failures)-1]
			if errors.Is(last, notHome) && e.Home != "west" {
				t.Errorf("the home is %q", e.Home)
			}
			if refused, ok := errors.AsType[*client.Error](e.Err); c.code == client.CodeOutcomeUnknown && (!ok || refused.Code == c.code) {
				t.Errorf("the refusal is not in %+v", e)
			}
			if f.calls != len(c.failures) {
				t.Errorf("%d calls", f.calls)
			}
		})
	}
	t.Run("of a read", func(t *testing.T) {
		_, err := serve(t, &failing{failures: []error{unknown, missing}}).GetSecretValue(t.Context(), &lifeboatv1.GetSecretValueRequest{})
		wantCode(t, err, client.CodeNotFound)
	})
}

func TestAMutationThatIsDoneAndThenRefused(t *testing.T) {
	w := newWorld(t, nil, "east")
	east, home := w.regions["east"], &atomic.Pointer[string]{}
	home.Store(&east.name)
	east.breaks, east.ruled, east.heir = true, home, "west"
	if e := wantCode(t, w.put(t), client.CodeOutcomeUnknown); e.Home != "west" || len(east.did()) != 1 {
		t.Errorf("east did %q, the error is %+v", east.did(), e)
	}
}

// stalling is a region that refuses the first request and does not answer the second.
type stalling struct {
	lifeboatv1connect.UnimplementedSecretServiceHandler
	requests atomic.Int64
	stalled  chan struct{}
}

func (s *stalling) PutSecretVersion(ctx context.Context, _ *connect.Request[lifeboatv1.PutSecretVersionRequest]) (*connect.Response[lifeboatv1.PutSecretVersionResponse], error) {
	if s.requests.Add(1) == 1 {
		return nil, refusal(connect.CodeResourceExhausted, "throttled", "")
	}
	close(s.stalled)
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestTimeThatRunsOutInALaterAttempt(t *testing.T) {
	s := &stalling{stalled: make(chan struct{})}
	_, handler := lifeboatv1connect.NewSecretServiceHandler(s)
	server := httptest.NewServer(handler)
	defer server.Close()
	c := connectTo(t, client.Config{Address: server.URL, Token: client.NewValue("lb_token")})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-s.stalled
		cancel()
	}()
	_, err := c.PutSecretVersion(ctx, &lifeboatv1.PutSecretVersionRequest{Vault: "v", Secret: "s"})
	wantCode(t, err, client.CodeOutcomeUnknown)
}
