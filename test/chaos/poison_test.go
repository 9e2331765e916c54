//go:build faultpoints

package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// pill is the secret that processes are made to crash on, other one that is
// sound.
const (
	pill  = "pill"
	other = "other"
)

// supervise starts the hosts that have crashed, as a supervisor does, and counts
// how often each did.
func (c *cell) supervise(crashes map[string]int) {
	for _, h := range c.hosts {
		select {
		case <-h.exited:
			crashes[h.id]++
			c.t.Logf("%s crashed", h.id)
			h.start()
		default:
		}
	}
}

// poison has hosts crash whenever they apply the record; an empty record ends
// that.
func (c *cell) poison(record string, hosts ...*process) {
	for _, h := range hosts {
		h.kill()
		h.environment = nil
		if record != "" {
			h.environment = []string{"LIFEBOAT_FAULTPOINTS=replica.apply=crash:" + record}
		}
		h.start()
	}
	c.ready()
}

// failed returns the records that hosts could not apply, by record.
func (c *cell) failed(ctx context.Context) (map[string]*lifeboatv1.FailedMutation, error) {
	operator := c.controls[0].client(c.operator)
	answer, _, err := invoke(ctx, operator.operators.ListFailedMutations, operator, &lifeboatv1.ListFailedMutationsRequest{})
	found := map[string]*lifeboatv1.FailedMutation{}
	for _, m := range answer.GetMutations() {
		found[m.GetRecord()] = m
	}
	return found, err
}

func (p *process) describe(ctx context.Context, name string) (*lifeboatv1.Secret, error) {
	c := p.client(p.cell.admin)
	answer, _, err := invoke(ctx, c.secrets.DescribeSecret, c, &lifeboatv1.DescribeSecretRequest{Vault: vaultName, Secret: name})
	return answer.GetSecret(), err
}

// metric returns the value of a metric without labels.
func (p *process) metric(ctx context.Context, name string) (value float64, err error) {
	body, err := p.admin(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(body)) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			_, err = fmt.Sscan(rest, &value)
			return value, err
		}
	}
	return 0, fmt.Errorf("%s shows no metric %s", p.id, name)
}

// shown waits until every process shows the pill in a state.
func (c *cell) shown(state lifeboatv1.State) {
	c.t.Helper()
	for _, p := range c.processes() {
		c.eventually(p.id+" shows the pill as "+state.String(), func(ctx context.Context) error {
			s, err := p.describe(ctx, pill)
			if err == nil && (s.GetState() != state || state == lifeboatv1.State_STATE_FAILED && s.GetStateReason() == "") {
				err = fmt.Errorf("it is %s, reason %q", s.GetState(), s.GetStateReason())
			}
			return err
		})
	}
}

// putCommitted adds a version and does not wait for the hosts.
func (c *cell) putCommitted(name, value string) (revisionToken string) {
	c.t.Helper()
	admin := c.controls[0].client(c.admin)
	answer, _, err := invoke(c.t.Context(), admin.secrets.PutSecretVersion, admin, &lifeboatv1.PutSecretVersionRequest{
		Vault: vaultName, Secret: name, Value: []byte(value),
	})
	must(c.t, err)
	return answer.GetRevisionToken()
}

// goesOn checks that other mutations reach every host.
func (c *cell) goesOn(value string) {
	c.t.Helper()
	for _, h := range c.hosts {
		c.eventually("a put at "+h.id+" is cleared", func(ctx context.Context) error {
			token, cleared, err := h.put(ctx, other, value)
			if err == nil && !cleared {
				err = errors.New("it is not")
			}
			if err == nil {
				for _, p := range c.processes() {
					p.shows(other, value, token)
				}
			}
			return err
		})
	}
}

// TestPoisonPill makes one host, and then all, crash whenever they apply a
// certain record. They come back with nothing but a supervisor that restarts
// them, put the record in quarantine, and go on without it.
func TestPoisonPill(t *testing.T) {
	c := begin(t, shape{controls: 1, hosts: 3})
	for _, name := range []string{pill, other} {
		_, _, err := c.controls[0].put(t.Context(), name, "1")
		must(t, err)
	}
	c.settled()
	s, err := c.controls[0].describe(t.Context(), pill)
	must(t, err)
	// It is the value that they crash on; what fails is the secret.
	failed := string(record.SecretKey(secret.ID(s.GetId())))
	fault := string(record.VersionKey(secret.ID(s.GetId()), ""))

	c.poison(fault, c.hosts[0])
	crashes := c.swallow(failed, "2", c.hosts[:1])
	c.goesOn("with one host in trouble")
	c.hosts[1].shows(pill, "2", "")
	c.poison("", c.hosts[0])
	c.retry(failed)
	c.cured("2")

	c.poison(fault, c.hosts...)
	for id, n := range c.swallow(failed, "3", c.hosts) {
		crashes[id] += n
	}
	c.goesOn("with all hosts in trouble")
	state, err := c.controls[0].status(t.Context())
	must(t, err)
	if state.GetOpenWorkItems() != 1 || state.GetFailedMutations() != 1 {
		t.Errorf("%d work items are open and %d mutations failed; the pill's must be both, and no other", state.GetOpenWorkItems(), state.GetFailedMutations())
	}
	c.shown(lifeboatv1.State_STATE_FAILED)
	c.poison("", c.hosts...)
	c.shown(lifeboatv1.State_STATE_FAILED) // a restart alone takes no risk
	c.putCommitted(pill, "4")
	c.retry(failed)
	c.cured("4")
	if crashes["host-1"] != 4 || crashes["host-2"] != 2 || crashes["host-3"] != 2 {
		t.Errorf("hosts crashed more or less than twice on a pill: %v", crashes)
	}
}

// retry has the hosts try the record again.
func (c *cell) retry(record string) {
	c.t.Helper()
	operator := c.controls[0].client(c.operator)
	_, _, err := invoke(c.t.Context(), operator.operators.RetryFailedMutation, operator, &lifeboatv1.RetryFailedMutationRequest{Record: record})
	must(c.t, err)
}

// swallow puts a new state of the pill and waits until the hosts have it in
// quarantine, with nothing but restarts to help them.
func (c *cell) swallow(record, value string, hosts []*process) (crashes map[string]int) {
	c.t.Helper()
	token := c.putCommitted(pill, value)
	crashes = map[string]int{}
	for _, h := range hosts {
		c.eventually(h.id+" puts the pill in quarantine", func(ctx context.Context) error {
			c.supervise(crashes)
			n, err := h.metric(ctx, "lifeboat_local_store_quarantined_records")
			if err == nil && n != 1 {
				err = fmt.Errorf("%v records are in quarantine", n)
			}
			return err
		})
	}
	c.ready()
	c.shown(lifeboatv1.State_STATE_FAILED)
	failed, err := c.failed(c.t.Context())
	if err != nil || len(failed) != 1 || failed[record] == nil || !strings.Contains(failed[record].GetReason(), "poison") {
		c.t.Errorf("the pill %s is not listed as failed: %v, %v", record, failed, err)
	}
	for _, h := range hosts { // what a host lacks it asks the store for
		if answer := h.shows(pill, value, token); !answer.GetFreshness().GetFromStore() {
			c.t.Errorf("%s has the pill from its local store", h.id)
		}
	}
	return crashes
}

// cured waits until no host fails on the pill any more.
func (c *cell) cured(value string) {
	c.t.Helper()
	c.eventually("no mutation is listed as failed", func(ctx context.Context) error {
		failed, err := c.failed(ctx)
		if err == nil && len(failed) > 0 {
			err = fmt.Errorf("%v", failed)
		}
		return err
	})
	c.shown(lifeboatv1.State_STATE_ACTIVE)
	c.settled()
	for _, p := range c.processes() {
		if answer := p.shows(pill, value, ""); answer.GetFreshness().GetFromStore() {
			c.t.Errorf("%s asks the store for the pill", p.id)
		}
	}
}
