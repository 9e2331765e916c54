package behaviour_test

import (
	"slices"
	"testing"
	"time"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/controlsocket"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

// recovered makes an operator's token over the control socket of a process.
func recovered(t testing.TB, p *lifeboattest.Process, lasts time.Duration) (token string, err error) {
	t.Helper()
	socket := controlsocket.New(p.SocketPath())
	defer socket.Close()
	made, err := socket.Recover(t.Context(), lasts)
	return string(made.Token.Reveal()), err
}

// TestOperatorsWhoLockedThemselvesOut shows that who may use the control socket gets
// them in again: the policy that permits them is gone, and then the operator that
// recovery made is disabled.
func TestOperatorsWhoLockedThemselvesOut(t *testing.T) {
	t.Parallel()
	r := lifeboattest.Start(t, lifeboattest.Options{Hosts: 1})
	operator := r.Operator()
	policy := do(t, operator.GetPolicy, &lifeboatv1.GetPolicyRequest{Name: "operators"}).GetPolicy()
	do(t, operator.DeletePolicy, &lifeboatv1.DeletePolicyRequest{Name: "operators"})
	fails(t, operator.CreateToken, &lifeboatv1.CreateTokenRequest{}, secret.CodeDenied)

	first, err := recovered(t, r.Control(), time.Hour)
	must(t, err)
	for _, p := range r.Processes() {
		do(t, r.Client(p, first).ListHosts, &lifeboatv1.ListHostsRequest{})
	}
	recovery := r.Client(r.Control(), first)
	do(t, recovery.PutPolicy, &lifeboatv1.PutPolicyRequest{Name: "operators", Text: policy.GetText()})
	token := do(t, operator.CreateToken, &lifeboatv1.CreateTokenRequest{}).GetToken()
	do(t, r.Client(r.Control(), token).ListHosts, &lifeboatv1.ListHostsRequest{})

	disabled := true
	do(t, operator.UpdatePrincipal, &lifeboatv1.UpdatePrincipalRequest{Principal: "recovery", Disabled: &disabled})
	do(t, operator.PutPolicy, &lifeboatv1.PutPolicyRequest{Name: "recovery", Text: `forbid (principal in Role::"recovery", action, resource);`})
	fails(t, recovery.ListHosts, &lifeboatv1.ListHostsRequest{}, secret.CodeUnauthenticated)
	second, err := recovered(t, r.Control(), time.Hour)
	must(t, err)
	do(t, r.Client(r.Control(), second).ListHosts, &lifeboatv1.ListHostsRequest{})
	for _, p := range r.Processes() {
		fails(t, r.Client(p, first).ListHosts, &lifeboatv1.ListHostsRequest{}, secret.CodeUnauthenticated)
	}
	credentials := do(t, operator.ListCredentials, &lifeboatv1.ListCredentialsRequest{Principal: "recovery"}).GetCredentials()
	if len(credentials) != 1 || time.Until(credentials[0].GetExpiresAt().AsTime()) > time.Hour {
		t.Errorf("recovery has %v", credentials)
	}
	lines, err := r.AuditLines()
	must(t, err)
	var outcomes []string
	for _, line := range lines {
		if line.Action == "RecoverOperator" {
			outcomes = append(outcomes, line.PrincipalName+" "+line.Outcome)
		}
	}
	if want := []string{"control-socket ok", "control-socket ok"}; !slices.Equal(outcomes, want) {
		t.Errorf("audited %q, want %q", outcomes, want)
	}
}

// TestRecoveryIsRefused shows that nothing is made then.
func TestRecoveryIsRefused(t *testing.T) {
	for _, tt := range []struct {
		name  string
		p     *lifeboattest.Process
		lasts time.Duration
		code  secret.Code
	}{
		{"on a data-plane host", shared.Host(0), time.Hour, secret.CodeWrongState},
		{"for no time", shared.Control(), 0, secret.CodeInvalid},
		{"for less than no time", shared.Control(), -time.Hour, secret.CodeInvalid},
		{"for too long", shared.Control(), 25 * time.Hour, secret.CodeInvalid},
		{"for ever", shared.Control(), 1<<63 - 1, secret.CodeInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := recovered(t, tt.p, tt.lasts); !secret.HasCode(err, tt.code) {
				t.Errorf("answers %v, want %s", err, tt.code)
			}
		})
	}
	fails(t, shared.Operator().GetPrincipal, &lifeboatv1.GetPrincipalRequest{Principal: "recovery"}, secret.CodeNotFound)
}
