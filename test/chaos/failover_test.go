//go:build !faultpoints

package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
)

// owner returns the process that owns the pipeline: the last one of those that
// run whose log says so.
func (c *cell) owner() *process {
	c.t.Helper()
	var owner *process
	latest := ""
	for _, p := range c.controls {
		log, err := os.ReadFile(p.file("log"))
		must(c.t, err)
		for line := range strings.Lines(string(log)) {
			if at, _, _ := strings.Cut(line, " "); strings.Contains(line, "this process owns the pipeline") && at > latest {
				owner, latest = p, at
			}
		}
	}
	if owner == nil {
		c.t.Fatal("no process owns the pipeline")
	}
	return owner
}

// TestControlFailover kills, and then pauses past its lease, the control process
// that owns the pipeline, of three that are a cluster. Another one takes over,
// writes go on at every host, and the one that wakes up does no harm.
func TestControlFailover(t *testing.T) {
	t.Parallel()
	c := begin(t, shape{controls: 3, hosts: 1})
	h := c.hosts[0]
	c.settled()
	for i, fault := range []struct {
		name    string
		do, end func(p *process)
	}{
		{"kill", func(p *process) { p.kill() }, func(p *process) { p.start() }},
		{"pause", func(p *process) { p.signal(syscall.SIGSTOP) }, func(p *process) { p.signal(syscall.SIGCONT) }},
	} {
		first := c.owner()
		name := fmt.Sprint("secret/", i)
		must(t, h.create(t.Context(), name, "before"))
		fault.do(first)
		t.Logf("%s of %s", fault.name, first.id)
		// Whoever asks with a request token, as clients do, gets it done.
		var token string
		c.eventually("a mutation through another control process", func(ctx context.Context) (err error) {
			token, _, err = h.put(ctx, name, "during")
			return err
		})
		// The host may be on its way from a control process that does not answer.
		c.eventually("the host answers what was written", func(ctx context.Context) error {
			answer, err := h.get(ctx, name, token)
			if err == nil && string(answer.GetValue()) != "during" {
				t.Fatalf("%s answers %q with the token of a newer value", h.id, answer.GetValue())
			}
			return err
		})
		c.eventually("another process owns the pipeline", func(context.Context) error {
			if c.owner() == first {
				return errors.New("it is still the same")
			}
			return nil
		})
		c.eventually("mutations are cleared", func(ctx context.Context) error {
			_, cleared, err := h.put(ctx, name, "cleared")
			if err == nil && !cleared {
				err = errors.New("it is not")
			}
			return err
		})
		fault.end(first)
		c.settled()
		c.checkEqual("")
		for _, p := range c.processes() {
			p.shows(name, "cleared", token)
		}
	}
}
