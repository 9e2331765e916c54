package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1/lifeboatv1connect"
	"github.com/lifeboat-secrets/lifeboat/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// failing answers errors before it answers.
type failing struct {
	lifeboatv1connect.UnimplementedSecretServiceHandler
	mu       sync.Mutex
	failures []error
	// tokens are the request tokens that came, one for each attempt.
	tokens        []string
	authorization string
	calls         int
	watches       []string
	events        [][]*lifeboatv1.WatchSecretsResponse
	secrets       []string
}

func (f *failing) next(token, authorization string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	f.tokens, f.authorization = append(f.tokens, token), authorization
	if len(f.failures) == 0 {
		return nil
	}
	err := f.failures[0]
	f.failures = f.failures[1:]
	return err
}

func (f *failing) GetSecretValue(_ context.Context, r *connect.Request[lifeboatv1.GetSecretValueRequest]) (*connect.Response[lifeboatv1.GetSecretValueResponse], error) {
	if err := f.next("", r.Header().Get("Authorization")); err != nil {
		return nil, err
	}
	return connect.NewResponse(&lifeboatv1.GetSecretValueResponse{Value: []byte("v")}), nil
}

func (f *failing) CreateSecret(_ context.Context, r *connect.Request[lifeboatv1.CreateSecretRequest]) (*connect.Response[lifeboatv1.CreateSecretResponse], error) {
	if err := f.next(r.Msg.GetRequestToken(), ""); err != nil {
		return nil, err
	}
	return connect.NewResponse(&lifeboatv1.CreateSecretResponse{}), nil
}

func (f *failing) PutSecretVersion(_ context.Context, r *connect.Request[lifeboatv1.PutSecretVersionRequest]) (*connect.Response[lifeboatv1.PutSecretVersionResponse], error) {
	if err := f.next(r.Msg.GetRequestToken(), ""); err != nil {
		return nil, err
	}
	return connect.NewResponse(&lifeboatv1.PutSecretVersionResponse{}), nil
}

func (f *failing) UpdateSecret(_ context.Context, r *connect.Request[lifeboatv1.UpdateSecretRequest]) (*connect.Response[lifeboatv1.UpdateSecretResponse], error) {
	return answer(f, r.Msg, &lifeboatv1.UpdateSecretResponse{})
}

func (f *failing) MoveStage(_ context.Context, r *connect.Request[lifeboatv1.MoveStageRequest]) (*connect.Response[lifeboatv1.MoveStageResponse], error) {
	return answer(f, r.Msg, &lifeboatv1.MoveStageResponse{})
}

func (f *failing) DeleteSecret(_ context.Context, r *connect.Request[lifeboatv1.DeleteSecretRequest]) (*connect.Response[lifeboatv1.DeleteSecretResponse], error) {
	return answer(f, r.Msg, &lifeboatv1.DeleteSecretResponse{})
}

func (f *failing) RestoreSecret(_ context.Context, r *connect.Request[lifeboatv1.RestoreSecretRequest]) (*connect.Response[lifeboatv1.RestoreSecretResponse], error) {
	return answer(f, r.Msg, &lifeboatv1.RestoreSecretResponse{})
}

func (f *failing) ReplicateSecret(_ context.Context, r *connect.Request[lifeboatv1.ReplicateSecretRequest]) (*connect.Response[lifeboatv1.ReplicateSecretResponse], error) {
	return answer(f, r.Msg, &lifeboatv1.ReplicateSecretResponse{})
}

// vaults fails as its secrets do.
type vaults struct {
	lifeboatv1connect.UnimplementedVaultServiceHandler
	*failing
}

func (v vaults) DeleteVault(context.Context, *connect.Request[lifeboatv1.DeleteVaultRequest]) (*connect.Response[lifeboatv1.DeleteVaultResponse], error) {
	return answer(v.failing, nil, &lifeboatv1.DeleteVaultResponse{})
}

// answer answers unless a failure is left. A request is nil if it cannot carry a
// request token.
func answer[A any](f *failing, request interface{ GetRequestToken() string }, m *A) (*connect.Response[A], error) {
	token := ""
	if request != nil {
		token = request.GetRequestToken()
	}
	if err := f.next(token, ""); err != nil {
		return nil, err
	}
	return connect.NewResponse(m), nil
}

func (f *failing) ListSecrets(_ context.Context, r *connect.Request[lifeboatv1.ListSecretsRequest]) (*connect.Response[lifeboatv1.ListSecretsResponse], error) {
	var page int
	_, _ = fmt.Sscanf(r.Msg.GetPageToken(), "page %d", &page)
	answer := &lifeboatv1.ListSecretsResponse{}
	if page < len(f.secrets) {
		if name := f.secrets[page]; name != "" { // a page may be empty
			answer.Secrets = []*lifeboatv1.Secret{{Name: name}}
		}
		if page+1 < len(f.secrets) {
			answer.NextPageToken = fmt.Sprintf("page %d", page+1)
		}
	}
	return connect.NewResponse(answer), nil
}

func (f *failing) WatchSecrets(_ context.Context, r *connect.Request[lifeboatv1.WatchSecretsRequest], s *connect.ServerStream[lifeboatv1.WatchSecretsResponse]) error {
	f.mu.Lock()
	f.watches = append(f.watches, r.Msg.GetResumeToken())
	if len(f.events) == 0 {
		f.mu.Unlock()
		return refusal(connect.CodeOutOfRange, "resume_gone", "")
	}
	events := f.events[0]
	f.events = f.events[1:]
	f.mu.Unlock()
	for _, e := range events {
		if err := s.Send(e); err != nil {
			return err
		}
	}
	return nil
}

func refusal(code connect.Code, name, field string) error {
	err := connect.NewError(code, errors.New("refused"))
	detail, detailErr := connect.NewErrorDetail(&lifeboatv1.ErrorInfo{Code: name, Field: field, Hint: "do this", RequestId: "r1"})
	if detailErr != nil {
		panic(detailErr)
	}
	err.AddDetail(detail)
	return err
}

func serve(t *testing.T, f *failing) *client.Client {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(lifeboatv1connect.NewSecretServiceHandler(f))
	mux.Handle(lifeboatv1connect.NewVaultServiceHandler(vaults{failing: f}))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return connectTo(t, client.Config{Address: server.URL, Token: client.NewValue("lb_token")})
}

func connectTo(t *testing.T, c client.Config) *client.Client {
	t.Helper()
	made, err := client.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(made.Close)
	return made
}

var unavailable = refusal(connect.CodeUnavailable, "unavailable", "")

func TestReadsAreRepeated(t *testing.T) {
	f := &failing{failures: []error{unavailable, unavailable, refusal(connect.CodeResourceExhausted, "throttled", "")}}
	got, err := serve(t, f).GetSecretValue(t.Context(), &client.GetSecretValueRequest{Vault: "v", Secret: "s"})
	if err != nil || string(got.GetValue()) != "v" {
		t.Fatalf("got %q, %v", got.GetValue(), err)
	}
	if f.calls != 4 || f.authorization != "Bearer lb_token" {
		t.Errorf("%d calls with %q", f.calls, f.authorization)
	}
}

func TestMutationIsRepeatedWithOneRequestToken(t *testing.T) {
	f := &failing{failures: []error{unavailable, refusal(connect.CodeUnavailable, "outcome_unknown", "")}}
	c := serve(t, f)
	request := &client.CreateSecretRequest{Vault: "v", Name: "s"}
	for range 2 {
		if _, err := c.CreateSecret(t.Context(), request); err != nil {
			t.Fatal(err)
		}
	}
	if len(f.tokens) != 4 || f.tokens[0] == "" || f.tokens[0] != f.tokens[1] || f.tokens[1] != f.tokens[2] {
		t.Errorf("attempts of one mutation carried the tokens %q", f.tokens)
	}
	if f.tokens[3] == f.tokens[0] {
		t.Error("the next mutation was a replay of the first")
	}
	if request.GetRequestToken() != "" {
		t.Error("the caller's request was changed")
	}
}

func TestEveryMutationOfASecretIsRepeated(t *testing.T) {
	for name, mutate := range map[string]func(context.Context, *client.Client) error{
		"create": func(ctx context.Context, c *client.Client) error {
			_, err := c.CreateSecret(ctx, &lifeboatv1.CreateSecretRequest{})
			return err
		},
		"put": func(ctx context.Context, c *client.Client) error {
			_, err := c.PutSecretVersion(ctx, &lifeboatv1.PutSecretVersionRequest{})
			return err
		},
		"update": func(ctx context.Context, c *client.Client) error {
			_, err := c.UpdateSecret(ctx, &lifeboatv1.UpdateSecretRequest{})
			return err
		},
		"move stage": func(ctx context.Context, c *client.Client) error {
			_, err := c.MoveStage(ctx, &lifeboatv1.MoveStageRequest{})
			return err
		},
		"delete": func(ctx context.Context, c *client.Client) error {
			_, err := c.DeleteSecret(ctx, &lifeboatv1.DeleteSecretRequest{})
			return err
		},
		"restore": func(ctx context.Context, c *client.Client) error {
			_, err := c.RestoreSecret(ctx, &lifeboatv1.RestoreSecretRequest{})
			return err
		},
		"replicate": func(ctx context.Context, c *client.Client) error {
			_, err := c.ReplicateSecret(ctx, &lifeboatv1.ReplicateSecretRequest{})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := &failing{failures: []error{refusal(connect.CodeUnavailable, "outcome_unknown", "")}}
			if err := mutate(t.Context(), serve(t, f)); err != nil {
				t.Fatal(err)
			}
			if len(f.tokens) != 2 || f.tokens[0] == "" || f.tokens[0] != f.tokens[1] {
				t.Errorf("the attempts carried the tokens %q", f.tokens)
			}
		})
	}
}

func TestMutationWithoutRequestTokenIsNotRepeated(t *testing.T) {
	f := &failing{failures: []error{unavailable}}
	if _, err := serve(t, f).DeleteVault(t.Context(), &lifeboatv1.DeleteVaultRequest{}); client.CodeOf(err) != client.CodeUnavailable {
		t.Errorf("error is %v", err)
	}
	if f.calls != 1 {
		t.Errorf("%d calls", f.calls)
	}
}

func TestRefusalIsNotRepeated(t *testing.T) {
	f := &failing{failures: []error{refusal(connect.CodePermissionDenied, "permission_denied", "secret")}}
	_, err := serve(t, f).GetSecretValue(t.Context(), &client.GetSecretValueRequest{})
	var e *client.Error
	if !errors.As(err, &e) {
		t.Fatalf("error is %T", err)
	}
	if e.Code != client.CodeDenied || e.Field != "secret" || e.Hint != "do this" || e.RequestID != "r1" || e.Message != "refused" {
		t.Errorf("error is %+v", e)
	}
	if f.calls != 1 {
		t.Errorf("%d calls", f.calls)
	}
}

func TestTimeoutTellsWhatTheRegionSaid(t *testing.T) {
	f := &failing{}
	for range 50 {
		f.failures = append(f.failures, unavailable)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := serve(t, f).GetSecretValue(ctx, &client.GetSecretValueRequest{})
	if code := client.CodeOf(err); code != client.CodeUnavailable {
		t.Errorf("code is %s: %v", code, err)
	}
}

func TestUnreachable(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	for name, config := range map[string]client.Config{
		// It is tried again until time is up; a certificate that is not trusted is not.
		"nobody listens": {Address: "https://127.0.0.1:1", Timeout: 300 * time.Millisecond},
		"not trusted":    {Address: server.URL},
	} {
		_, err := connectTo(t, config).GetSecretValue(t.Context(), &client.GetSecretValueRequest{})
		if code := client.CodeOf(err); code != client.CodeUnreachable {
			t.Errorf("%s: code is %s: %v", name, code, err)
		}
	}
}

func TestPutSecretMakesWhatIsMissing(t *testing.T) {
	missing := refusal(connect.CodeNotFound, "not_found", "secret")
	exists := refusal(connect.CodeAlreadyExists, "already_exists", "name")
	for name, c := range map[string]struct {
		failures []error
		request  *client.PutSecretVersionRequest
		created  bool
		code     client.Code
		calls    int
	}{
		"there":           {nil, &client.PutSecretVersionRequest{}, false, "", 1},
		"missing":         {[]error{missing}, &client.PutSecretVersionRequest{}, true, "", 2},
		"made meanwhile":  {[]error{missing, exists}, &client.PutSecretVersionRequest{}, false, "", 3},
		"no such vault":   {[]error{refusal(connect.CodeNotFound, "not_found", "vault")}, &client.PutSecretVersionRequest{}, false, client.CodeNotFound, 1},
		"with a stage":    {[]error{missing}, &client.PutSecretVersionRequest{Stages: []string{"x"}}, false, client.CodeNotFound, 1},
		"creation denied": {[]error{missing, refusal(connect.CodePermissionDenied, "permission_denied", "")}, &client.PutSecretVersionRequest{}, false, client.CodeDenied, 2},
	} {
		f := &failing{failures: c.failures}
		put, err := serve(t, f).PutSecret(t.Context(), c.request)
		if client.CodeOf(err) != c.code || err == nil && put.Created != c.created || f.calls != c.calls {
			t.Errorf("%s: %+v, %v, %d calls", name, put, err, f.calls)
		}
	}
}

func TestListGoesThroughAllPages(t *testing.T) {
	f := &failing{secrets: []string{"a", "", "b", "c"}}
	c := serve(t, f)
	var names []string
	for s, err := range c.ListSecrets(t.Context(), &client.ListSecretsRequest{}) {
		if err != nil {
			t.Fatal(err)
		}
		if names = append(names, s.GetName()); s.GetName() == "b" {
			break
		}
	}
	if got := strings.Join(names, " "); got != "a b" {
		t.Errorf("names are %q", got)
	}
}

func TestWatchGoesOnWhereItWas(t *testing.T) {
	event := func(id, token string) *lifeboatv1.WatchSecretsResponse {
		return &lifeboatv1.WatchSecretsResponse{Event: &lifeboatv1.SecretEvent{Id: id}, ResumeToken: token}
	}
	f := &failing{events: [][]*lifeboatv1.WatchSecretsResponse{{event("1", "t1"), event("2", "t2")}, {{ResumeToken: "t3"}}, {event("3", "t4")}}}
	var seen []string
	var last error
	for answer, err := range serve(t, f).WatchSecrets(t.Context(), &lifeboatv1.WatchSecretsRequest{Vault: "v", ResumeToken: "t0"}) {
		if last = err; err == nil && answer.GetEvent() != nil {
			seen = append(seen, answer.GetEvent().GetId())
		}
	}
	if got := strings.Join(seen, " "); got != "1 2 3" {
		t.Errorf("events are %q", got)
	}
	if got := strings.Join(f.watches, " "); got != "t0 t2 t3 t4" {
		t.Errorf("watches began at %q", got)
	}
	if client.CodeOf(last) != client.CodeResumeGone {
		t.Errorf("ended with %v", last)
	}
}

func TestWatchEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	f := &failing{events: [][]*lifeboatv1.WatchSecretsResponse{{{ResumeToken: "t1"}}}}
	for _, err := range serve(t, f).WatchSecrets(ctx, &lifeboatv1.WatchSecretsRequest{}) {
		cancel()
		if err != nil && client.CodeOf(err) != client.CodeCanceled {
			t.Errorf("ended with %v", err)
		}
	}
}

func TestBadConfig(t *testing.T) {
	for _, c := range []client.Config{
		{},
		{Address: "lifeboat.example:8200"},
		{Address: "http://lifeboat.example:8200"},
		{Address: "ftp://lifeboat.example"},
		{Address: "https://user:word@lifeboat.example"},
		{Address: "https://lifeboat.example/path"},
		{Address: "https://lifeboat.example", CAFile: "nowhere.pem"},
		{Address: "https://lifeboat.example", CAFile: "client_test.go"},
		{Address: "https://lifeboat.example", CAFile: "x", HTTPClient: http.DefaultClient},
	} {
		if _, err := client.New(c); err == nil {
			t.Errorf("%q was accepted", c.Address)
		}
	}
}

func TestValueIsRedacted(t *testing.T) {
	v := client.NewValue("hunter2")
	type holder struct {
		V client.Value
		w client.Value
	}
	h := holder{v, v}
	encoded, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{fmt.Sprint(v), fmt.Sprintf("%#v %+v %s %x", h, h, v, v), fmt.Sprint(&h), string(encoded), v.String()} {
		if strings.Contains(s, "hunter2") || strings.Contains(s, fmt.Sprintf("%x", "hunter2")) {
			t.Errorf("printed %s", s)
		}
	}
	if string(v.Reveal()) != "hunter2" || v.Empty() || !(client.Value{}).Empty() || client.NewValue("").Reveal() != nil {
		t.Error("the value is not kept")
	}
}
