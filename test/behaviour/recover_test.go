package behaviour_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/controlsocket"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

const recoveryOperator = "operator:recovery"

// tryRecover makes an operator's token over the control socket of a process.
func tryRecover(t testing.TB, p *lifeboattest.Process, lasts time.Duration, deletePolicies ...string) (controlsocket.Recovered, error) {
	t.Helper()
	socket := controlsocket.New(p.SocketPath())
	defer socket.Close()
	return socket.Recover(t.Context(), lasts, deletePolicies...)
}

// recovered makes a token that every process knows, and returns a client of each.
func recovered(t testing.TB, r *lifeboattest.Region, deletePolicies ...string) (clients []*lifeboattest.Client, forbiddenBy []string) {
	t.Helper()
	made, err := tryRecover(t, r.Control(), time.Hour, deletePolicies...)
	must(t, err)
	if !made.Cleared {
		t.Error("not every host knows of the token")
	}
	for _, p := range r.Processes() {
		clients = append(clients, r.Client(p, string(made.Token.Reveal())))
	}
	return clients, made.ForbiddenBy
}

func listsHosts(t testing.TB, clients ...*lifeboattest.Client) {
	t.Helper()
	for _, c := range clients {
		do(t, c.ListHosts, &lifeboatv1.ListHostsRequest{})
	}
}

// TestOperatorsWhoLockedThemselvesOut shows that who may use the control socket gets
// them in again, and that nothing is left of it after the next time.
func TestOperatorsWhoLockedThemselvesOut(t *testing.T) {
	t.Parallel()
	r := lifeboattest.Start(t, lifeboattest.Options{Hosts: 1})
	operator := r.Operator()
	policy := do(t, operator.GetPolicy, &lifeboatv1.GetPolicyRequest{Name: "operators"}).GetPolicy()
	do(t, operator.DeletePolicy, &lifeboatv1.DeletePolicyRequest{Name: "operators"})
	fails(t, operator.CreateToken, &lifeboatv1.CreateTokenRequest{}, secret.CodeDenied)

	first, forbiddenBy := recovered(t, r)
	if len(forbiddenBy) > 0 {
		t.Errorf("forbidden by %q", forbiddenBy)
	}
	listsHosts(t, first...)
	do(t, first[0].PutPolicy, &lifeboatv1.PutPolicyRequest{Name: "operators", Text: policy.GetText()})
	token := do(t, operator.CreateToken, &lifeboatv1.CreateTokenRequest{}).GetToken()
	listsHosts(t, r.Client(r.Control(), token))

	// What it was given, beside the token that recovery made, ends with that.
	more := do(t, first[0].CreateToken, &lifeboatv1.CreateTokenRequest{}).GetToken()
	for _, p := range r.Processes() {
		eventually(t, "the host knows the token", func() bool {
			_, err := r.Client(p, more).ListHosts(t.Context(), ask(&lifeboatv1.ListHostsRequest{}))
			return err == nil
		})
	}
	second, _ := recovered(t, r)
	listsHosts(t, second...)
	for i, p := range r.Processes() {
		fails(t, first[i].ListHosts, &lifeboatv1.ListHostsRequest{}, secret.CodeUnauthenticated)
		fails(t, r.Client(p, more).ListHosts, &lifeboatv1.ListHostsRequest{}, secret.CodeUnauthenticated)
	}
	do(t, operator.DeletePolicy, &lifeboatv1.DeletePolicyRequest{Name: recoveryOperator})
	fails(t, second[0].ListHosts, &lifeboatv1.ListHostsRequest{}, secret.CodeDenied)

	lines, err := r.AuditLines()
	must(t, err)
	var outcomes []string
	for _, line := range lines {
		if line.Action == "OperatorRecover" {
			outcomes = append(outcomes, line.PrincipalName+" "+line.Name+" "+line.Outcome)
		}
	}
	if want := "control-socket " + recoveryOperator + " ok"; !slices.Equal(outcomes, []string{want, want}) {
		t.Errorf("audited %q, want %q twice", outcomes, want)
	}
}

// TestAPolicyThatForbidsEverything shows that it is named, and deleted if that is asked for.
func TestAPolicyThatForbidsEverything(t *testing.T) {
	t.Parallel()
	r := lifeboattest.Start(t, lifeboattest.Options{})
	operator := r.Operator()
	do(t, operator.PutPolicy, &lifeboatv1.PutPolicyRequest{Name: "lockdown", Text: `forbid (principal, action, resource);`})
	fails(t, operator.DeletePolicy, &lifeboatv1.DeletePolicyRequest{Name: "lockdown"}, secret.CodeDenied)
	clients, forbiddenBy := recovered(t, r)
	if !slices.Equal(forbiddenBy, []string{"lockdown"}) {
		t.Errorf("forbidden by %q", forbiddenBy)
	}
	fails(t, clients[0].ListHosts, &lifeboatv1.ListHostsRequest{}, secret.CodeDenied)
	if _, err := tryRecover(t, r.Control(), time.Hour, "lockdown", "lock-down"); !secret.HasCode(err, secret.CodeNotFound) {
		t.Errorf("to delete a policy that does not exist: %v", err)
	}
	fails(t, clients[0].ListHosts, &lifeboatv1.ListHostsRequest{}, secret.CodeDenied) // not unauthenticated: nothing was done
	clients, forbiddenBy = recovered(t, r, "lockdown", "lockdown")
	if len(forbiddenBy) > 0 {
		t.Errorf("forbidden by %q", forbiddenBy)
	}
	listsHosts(t, append(clients, operator)...)
	lines, err := r.AuditLines()
	must(t, err)
	if !slices.ContainsFunc(lines, func(l lifeboattest.AuditLine) bool {
		return l.Action == "DeletePolicy" && l.Name == "lockdown" && l.PrincipalName == "control-socket" && l.Outcome == "ok"
	}) {
		t.Error("the deletion of the policy is not audited")
	}
}

// TestRecoveriesAtOnce shows that one token is left, and that it works.
func TestRecoveriesAtOnce(t *testing.T) {
	t.Parallel()
	r := lifeboattest.Start(t, lifeboattest.Options{})
	tokens := make([]string, 4)
	var all sync.WaitGroup
	for i := range tokens {
		all.Go(func() {
			made, err := tryRecover(t, r.Control(), time.Hour)
			if err != nil && !secret.HasCode(err, secret.CodeUnavailable) {
				t.Error(err)
			}
			tokens[i] = string(made.Token.Reveal())
		})
	}
	all.Wait()
	works := 0
	for _, token := range tokens {
		if token == "" {
			continue
		}
		if _, err := r.Client(r.Control(), token).ListHosts(t.Context(), ask(&lifeboatv1.ListHostsRequest{})); err == nil {
			works++
		}
	}
	credentials := do(t, r.Operator().ListCredentials, &lifeboatv1.ListCredentialsRequest{Principal: recoveryOperator}).GetCredentials()
	if works != 1 || len(credentials) != 1 || time.Until(credentials[0].GetExpiresAt().AsTime()) > time.Hour {
		t.Errorf("%d tokens work, the operator has %v", works, credentials)
	}
}

// TestRecoveryIsRefused shows that nothing is made then.
func TestRecoveryIsRefused(t *testing.T) {
	for _, tt := range []struct {
		name   string
		p      *lifeboattest.Process
		lasts  time.Duration
		delete []string
		code   secret.Code
	}{
		{"on a data-plane host", shared.Host(0), time.Hour, nil, secret.CodeWrongState},
		{"for no time", shared.Control(), 0, nil, secret.CodeInvalid},
		{"for less than no time", shared.Control(), -time.Hour, nil, secret.CodeInvalid},
		{"for too long", shared.Control(), 25 * time.Hour, nil, secret.CodeInvalid},
		{"for ever", shared.Control(), 1<<63 - 1, nil, secret.CodeInvalid},
		{"with its own policy to delete", shared.Control(), time.Hour, []string{recoveryOperator}, secret.CodeInvalid},
		{"with no policy of that name", shared.Control(), time.Hour, []string{"x"}, secret.CodeNotFound},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := tryRecover(t, tt.p, tt.lasts, tt.delete...); !secret.HasCode(err, tt.code) {
				t.Errorf("answers %v, want %s", err, tt.code)
			}
		})
	}
	fails(t, shared.Operator().GetPrincipal, &lifeboatv1.GetPrincipalRequest{Principal: recoveryOperator}, secret.CodeNotFound)
	fails(t, shared.Operator().CreatePrincipal, &lifeboatv1.CreatePrincipalRequest{Name: recoveryOperator, Kind: lifeboatv1.PrincipalKind_PRINCIPAL_KIND_OPERATOR}, secret.CodeInvalid)
}
