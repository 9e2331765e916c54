package behaviour_test

import (
	"net/http"
	"strings"
	"testing"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

// A host that is not in the set of hosts, so that nobody waits for it, answers
// with what the store holds, not with its own copy.
func TestAHostThatNobodyWaitsForServesNothingOfItsOwn(t *testing.T) {
	t.Parallel()
	r := lifeboattest.Start(t, lifeboattest.Options{Hosts: 2})
	a, p := r.Account(), r.Host(0)
	host := a.Client(p)
	create(t, a.Client(r.Control()), a.Vault, "a", "1")
	read := func() *lifeboatv1.GetSecretValueResponse {
		return do(t, host.GetSecretValue, reads(a.Vault, "a"))
	}
	eventually(t, "the host serves its own copy", func() bool { return !read().GetFreshness().GetFromStore() })
	r.ControlLink(0).Cut()
	eventually(t, "the host says that its reports are lost", func() bool {
		_, body := ready(t, r, p)
		return strings.Contains(body, "no control process has taken a report for")
	})
	if read().GetFreshness().GetFromStore() {
		t.Error("a registered host that is cut off from the control plane does not serve its own copy")
	}
	do(t, r.Operator().RemoveHost, &lifeboatv1.RemoveHostRequest{Host: p.ID})
	eventually(t, "the removed host asks the store", func() bool { return read().GetFreshness().GetFromStore() })
	if status, body := ready(t, r, p); status != http.StatusServiceUnavailable || !strings.Contains(body, "not in the region's set") {
		t.Errorf("ready: %d, %s", status, body)
	}
	r.ControlLink(0).Heal()
	eventually(t, "the host serves its own copy again", func() bool { return !read().GetFreshness().GetFromStore() })
}
