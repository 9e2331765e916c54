//go:build !faultpoints

package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/replica"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// TestUpgrade follows docs/runbooks/upgrade.md under load, with processes of this
// release and of one that keeps a field more in a secret's record, which takes
// format 2 (build tag nextformat): one process after the other is upgraded, some
// go back while the gate is held, it opens when all are new, and from then on the
// older release refuses the shard as a whole. Clients see no more than that
// processes restart, and the new field is never lost.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	next := buildNext(t)
	c := begin(t, shape{controls: 3, hosts: 2})
	l := newLoad(c, 7, "upgrade/")
	ctx, stop := context.WithCancel(t.Context())
	loaded := make(chan struct{})
	go func() {
		defer close(loaded)
		l.run(ctx)
	}()
	defer func() { stop(); <-loaded }() // also if a step fails

	c.hold(true)
	for _, p := range append(append([]*process(nil), c.hosts...), c.controls...) {
		c.runs(p, next)
	}
	c.formats("all read the next format, but the gate is held", func(f *lifeboatv1.GetFormatsResponse) bool {
		s := secretFormat(f)
		return f.GetHeld() && !f.GetOpen() && s.GetWritten() == 1 && s.GetNewest() == 2 && len(s.GetBlockedBy()) == 0
	})
	laggards := []*process{c.controls[2], c.hosts[1]}
	for _, p := range laggards {
		c.runs(p, "") // the way back
	}
	c.formats("who went back is seen", blockedBy("control control-3 reads 1", "host host-2 reads 1"))
	c.hold(false)
	c.runs(c.hosts[1], next)
	c.formats("one older process keeps the gate closed", blockedBy("control control-3 reads 1"))
	c.runs(c.controls[2], next)
	c.opened()
	stop()
	<-loaded
	counted := c.count(c.controls[2], c.hosts[1])
	c.settled()
	l.check()
	t.Logf("%v; %d acknowledged mutations", l.answers, len(l.acknowledged))
	c.checkRecords(l, counted)
}

// buildNext builds the next release.
func buildNext(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "lifeboat-next")
	build := exec.CommandContext(t.Context(), "go", "build", "-tags", "nextformat", "-o", program, "../../cmd/lifeboat")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the next release: %v\n%s", err, out)
	}
	return program
}

// runs restarts a process with another program, and waits until it is ready.
func (c *cell) runs(p *process, program string) {
	c.t.Helper()
	p.stop()
	p.program = program
	p.start()
	c.ready()
}

func (c *cell) hold(held bool) {
	c.t.Helper()
	operator := c.controls[0].client(c.operator)
	_, _, err := invoke(c.t.Context(), operator.operators.HoldFormats, operator, &lifeboatv1.HoldFormatsRequest{Held: held})
	must(c.t, err)
}

// formats waits until a control process of the next release says what is wanted.
func (c *cell) formats(what string, wanted func(*lifeboatv1.GetFormatsResponse) bool) {
	c.t.Helper()
	operator := c.controls[0].client(c.operator)
	c.eventually(what, func(ctx context.Context) error {
		f, _, err := invoke(ctx, operator.operators.GetFormats, operator, &lifeboatv1.GetFormatsRequest{})
		if err == nil && !wanted(f) {
			err = fmt.Errorf("held %t, open %t, secret %v", f.GetHeld(), f.GetOpen(), secretFormat(f))
		}
		return err
	})
}

func secretFormat(f *lifeboatv1.GetFormatsResponse) *lifeboatv1.Format {
	for _, k := range f.GetFormats() {
		if k.GetKind() == "secret" {
			return k
		}
	}
	return nil
}

func blockedBy(processes ...string) func(*lifeboatv1.GetFormatsResponse) bool {
	return func(f *lifeboatv1.GetFormatsResponse) bool {
		s := secretFormat(f)
		return !f.GetOpen() && s.GetWritten() == 1 && strings.Join(s.GetBlockedBy(), ", ") == strings.Join(processes, ", ")
	}
}

// opened waits until every control process knows that the gate is open.
func (c *cell) opened() {
	c.t.Helper()
	for _, p := range c.controls {
		c.eventually(p.id+" writes the next format", func(ctx context.Context) error {
			operator := p.client(c.operator)
			f, _, err := invoke(ctx, operator.operators.GetFormats, operator, &lifeboatv1.GetFormatsRequest{})
			if err == nil && !f.GetOpen() {
				err = errors.New("the gate is closed")
			}
			return err
		})
	}
}

const countedSecret = "counted"

// count makes mutations of a secret of its own, with attempts in between to start
// the older release: with the copy that the next release left, and without one.
func (c *cell) count(withCopy, without *process) (mutations uint64) {
	c.t.Helper()
	must(c.t, c.hosts[0].create(c.t.Context(), countedSecret, "0"))
	mutations++
	for _, p := range []*process{withCopy, without} {
		next := p.program
		p.stop()
		if p == without {
			must(c.t, os.Remove(p.file("local.db")))
		}
		c.refuses(p)
		_, _, err := c.hosts[0].put(c.t.Context(), countedSecret, p.id)
		must(c.t, err)
		mutations++
		p.program = next
		p.start()
		c.ready()
	}
	return mutations
}

// refuses starts a process of this release, which must end with the reason.
func (c *cell) refuses(p *process) {
	c.t.Helper()
	before, err := os.ReadFile(p.file("log"))
	must(c.t, err)
	p.program = ""
	p.start()
	select {
	case <-p.exited:
	case <-time.After(patience):
		c.t.Fatalf("%s of the older release goes on", p.id)
	}
	log, err := os.ReadFile(p.file("log"))
	must(c.t, err)
	said := string(log[len(before):])
	if p.cmd.ProcessState.Success() || !strings.Contains(said, "the store holds secret records of format 2 since release") ||
		!strings.Contains(said, "docs/runbooks/upgrade.md") {
		c.t.Errorf("%s ended with %v and said:\n%s", p.id, p.cmd.ProcessState, said)
	}
	if strings.Contains(said, "quarantined") {
		c.t.Errorf("%s looked at single records:\n%s", p.id, said)
	}
	p.cmd = nil
}

// checkRecords looks at the stored form of secrets in a host's copy: what was
// mutated after the gate had opened holds the next release's field, and the one
// whose mutations are known counts all of them.
func (c *cell) checkRecords(l *load, counted uint64) {
	t, h := c.t, c.hosts[0]
	t.Helper()
	ids := map[string]string{}
	for _, name := range append([]string{countedSecret}, l.registers...) {
		s, err := h.dumpSecret(t.Context(), h.client(c.admin), name)
		must(t, err)
		ids[string(record.SecretKey(secret.ID(s.description.GetId())))] = name
	}
	h.stop()
	local, err := replica.Open(replica.Options{Path: h.file("local.db"), Source: noSource{}})
	must(t, err)
	defer func() { must(t, local.Close()) }()
	seen := 0
	must(t, local.View(func(view record.View) error {
		return view.Scan(record.SecretPrefix, record.PrefixEnd(record.SecretPrefix), func(s record.Stored) bool {
			name, wanted := ids[string(s.Key)]
			mutations := nextField(s.Value)
			if wanted {
				seen++
			}
			if name == countedSecret && (s.Value[0] != 2 || mutations != counted) {
				t.Errorf("%s has format %d and counts %d mutations; there were %d", name, s.Value[0], mutations, counted)
			}
			if mutations > 0 && s.Value[0] != 2 {
				t.Errorf("%s holds a field of format 2 in format %d", s.Key, s.Value[0])
			}
			if err := record.Check(s.Key, s.Value); s.Value[0] == 2 && err == nil {
				t.Errorf("the older release reads %s", s.Key)
			}
			return true
		})
	}))
	if seen != len(ids) {
		t.Errorf("%d of %d secrets are in the copy", seen, len(ids))
	}
}

// nextField returns what the next release's field of a secret says.
func nextField(b []byte) (mutations uint64) {
	for b = b[1:]; len(b) > 0; {
		number, kind, n := protowire.ConsumeTag(b)
		if number == 1000 {
			mutations, _ = protowire.ConsumeVarint(b[n:])
		}
		b = b[n+protowire.ConsumeFieldValue(number, kind, b[n:]):]
	}
	return mutations
}

type noSource struct{ replica.Source }
