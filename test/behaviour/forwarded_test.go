package behaviour_test

import (
	"testing"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
)

// A mutation through a host is audited by the process that commits it, with the
// client's address, the host that passed it on and the ID that the client got.
func TestAForwardedMutationIsAuditedAsTheClients(t *testing.T) {
	a := account(t, shared)
	host := shared.Host(0)
	answer, err := a.Client(host).CreateSecret(t.Context(), ask(&lifeboatv1.CreateSecretRequest{Vault: a.Vault, Name: "passed-on", Value: []byte("1")}))
	must(t, err)
	request := answer.Header().Get("Lifeboat-Request-Id")
	lines := linesOf(t, shared, request)
	if len(lines) != 1 {
		t.Fatalf("request %q has the lines %+v", request, lines)
	}
	if l := lines[0]; l.Process != shared.Control().ID || l.ForwardedFor != host.ID || l.IP != "127.0.0.1" {
		t.Errorf("audited %+v", l)
	}
	// A client cannot claim to be somebody else, or to pass on.
	r := ask(&lifeboatv1.CreateSecretRequest{Vault: a.Vault, Name: "claimed", Value: []byte("1")})
	r.Header().Set("Lifeboat-Forwarded-By", "host-9")
	r.Header().Set("Lifeboat-Forwarded-Source", "192.0.2.1")
	r.Header().Set("Lifeboat-Request-Id", "mine")
	answer, err = a.Client(host).CreateSecret(t.Context(), r)
	must(t, err)
	if request = answer.Header().Get("Lifeboat-Request-Id"); request == "mine" {
		t.Error("a client chooses its request ID")
	}
	if l := audited(t, shared, request, "ok"); l.ForwardedFor != host.ID || l.IP != "127.0.0.1" {
		t.Errorf("audited %+v", l)
	}
}
