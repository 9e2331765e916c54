//go:build !faultpoints

package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/faultproxy"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// later is the token of the state after the one of the token given.
func later(t *testing.T, revisionToken string) string {
	t.Helper()
	token, err := service.ParseRevisionToken(revisionToken)
	must(t, err)
	token.Order.Seq++
	return token.String()
}

// TestStoreDown kills the only process with the store: hosts go on answering
// reads, after a kill -9 of their own too, say how old their answers are, and
// refuse writes; they catch up when it is back.
func TestStoreDown(t *testing.T) {
	t.Parallel()
	c := begin(t, shape{controls: 1, hosts: 3})
	tokens := map[string]string{}
	for i := range 2 {
		name := fmt.Sprint("kept/", i)
		token, _, err := c.controls[0].put(t.Context(), name, "value of "+name)
		must(t, err)
		tokens[name] = token
	}
	c.settled()
	c.controls[0].kill()
	var ages []float64
	for round := range 2 {
		for _, h := range c.hosts {
			ages = append(ages, h.servesAlone(tokens))
		}
		if round == 0 {
			for _, h := range c.hosts {
				h.kill()
				h.start()
			}
			c.ready()
		}
	}
	if ages[3] <= ages[0] {
		t.Errorf("the age went back at the restart: %v", ages)
	}
	c.controls[0].start()
	c.settled()
	final := c.checkEqual("")
	if len(final) != len(tokens) {
		t.Errorf("there are %d secrets, %d were put", len(final), len(tokens))
	}
	for i, h := range c.hosts {
		name := fmt.Sprint("after/", i)
		token, cleared, err := h.put(t.Context(), name, "x")
		if err != nil || !cleared {
			t.Errorf("put at %s after the return: cleared %v, %v", h.id, cleared, err)
		}
		c.hosts[0].shows(name, "x", token)
	}
}

// servesAlone checks a host that has neither store nor control process, and
// returns the age that it tells.
func (p *process) servesAlone(tokens map[string]string) (age float64) {
	t, ctx := p.cell.t, p.cell.t.Context()
	t.Helper()
	p.cell.eventually(p.id+" notices that the store is gone", func(ctx context.Context) error {
		h, err := p.health(ctx)
		switch {
		case err != nil:
			return err
		case !h.Ready:
			t.Errorf("%s can answer reads and says that it is not ready: %v", p.id, h)
		case h.Checks["change feed"].Healthy || h.Checks["store"].Healthy:
			return fmt.Errorf("says that all is well: %v", h)
		}
		return nil
	})
	for name, token := range tokens {
		answer := p.shows(name, "value of "+name, token)
		if age = answer.GetFreshness().GetAgeSeconds(); age <= 0 {
			t.Errorf("%s does not tell the age of its answer", p.id)
		}
		_, err := p.get(ctx, name, later(t, token))
		p.refuses("a read of a state that it does not have", err, secret.CodeNotReached)
		_, _, err = p.put(ctx, name, "refused")
		p.refuses("a put", err, secret.CodeUnavailable)
	}
	_, err := p.get(ctx, "missing", "")
	p.refuses("a read of what it does not know", err, secret.CodeNotFound)
	return age
}

// TestHostCutOff cuts one host off from the store, by a break that both ends
// notice and by one that nobody is told of. The control process can be reached.
func TestHostCutOff(t *testing.T) {
	t.Parallel()
	var proxy *faultproxy.Proxy
	c := begin(t, shape{controls: 1, hosts: 3, configure: func(p *process, config *config.Config) {
		if p.id != "host-1" {
			return
		}
		var err error
		proxy, err = faultproxy.Start(faultproxy.Options{Target: p.cell.controls[0].ports.storeClient})
		must(t, err)
		config.Store.External.Endpoints = []string{"https://" + proxy.Address()}
	}})
	t.Cleanup(func() { _ = proxy.Close() })
	cut, connected := c.hosts[0], c.hosts[1]
	for kind, breakIt := range map[string]func(){"cut": proxy.Cut, "black-hole": proxy.Blackhole} {
		name := "secret-of-a-" + kind
		token, cleared, err := cut.put(t.Context(), name, "old")
		if err != nil || !cleared {
			t.Fatalf("%s: cleared %v, %v", kind, cleared, err)
		}
		breakIt()
		reported := cut.reportsMeanwhile()
		newToken, cleared, err := cut.put(t.Context(), name, "new")
		if err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		// A host that gets no processor for three seconds does not count as live.
		if all := reported(); cleared && all {
			t.Errorf("%s: a put is cleared that a live host lacks", kind)
		} else if !all {
			t.Logf("%s: the host was starved; whether the put is cleared means nothing: %v", kind, cleared)
		}
		connected.shows(name, "new", newToken)
		cut.shows(name, "old", "")
		cut.shows(name, "old", token)
		cut.growsOld(name)
		_, err = cut.get(t.Context(), name, newToken)
		cut.refuses("a read of what it has not got", err, secret.CodeNotReached)
		proxy.Heal()
		c.eventually("it catches up after a "+kind, func(ctx context.Context) error {
			answer, err := cut.get(ctx, name, newToken)
			if err == nil && (answer.GetFreshness().GetFromStore() || answer.GetFreshness().GetAgeSeconds() > 0) {
				err = errors.New("it answers but does not follow the store yet")
			}
			return err
		})
		cut.shows(name, "new", "")
		c.settled()
	}
}

// reportsMeanwhile looks, until the returned function is called, whether the
// process keeps reporting to the control process. That tells whether it did
// without a pause that might make it count as dead.
func (p *process) reportsMeanwhile() (stop func() (all bool)) {
	ctx, cancel := context.WithCancel(p.cell.t.Context())
	all, done := true, make(chan struct{})
	go func() {
		defer close(done)
		for last := time.Now(); ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
			h, err := p.health(ctx)
			if now := time.Now(); ctx.Err() == nil {
				all = all && err == nil && h.Checks["reports"].Healthy && now.Sub(last) < time.Second
				last = now
			}
		}
	}()
	return func() bool {
		cancel()
		<-done
		return all
	}
}

// growsOld checks that the age of a host's answers grows.
func (p *process) growsOld(name string) {
	p.cell.t.Helper()
	var first float64
	p.cell.eventually("answers of "+p.id+" grow old", func(ctx context.Context) error {
		answer, err := p.get(ctx, name, "")
		age := answer.GetFreshness().GetAgeSeconds()
		if first == 0 {
			first = age
		}
		if err == nil && (first == 0 || age < first+0.5) {
			err = fmt.Errorf("the age is %v, was %v", age, first)
		}
		return err
	})
}
