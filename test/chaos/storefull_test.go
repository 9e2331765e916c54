//go:build !faultpoints

package chaos_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
	"golang.org/x/sync/errgroup"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// smallQuota is the least that the configuration allows, in bytes.
const smallQuota = 64 << 20

func (p *process) create(ctx context.Context, name, value string) error {
	c := p.client(p.cell.admin)
	_, _, err := invoke(ctx, c.secrets.CreateSecret, c, &lifeboatv1.CreateSecretRequest{Vault: vaultName, Name: name, Value: []byte(value)})
	return err
}

// TestStoreFull fills the store: mutations are refused and leave nothing half
// done, reads go on, and a higher quota is all that it takes to go on.
func TestStoreFull(t *testing.T) {
	t.Parallel()
	c := begin(t, shape{controls: 1, hosts: 1, configure: func(_ *process, config *config.Config) {
		if config.Store.Embedded != nil {
			config.Store.Embedded.QuotaBytes = smallQuota
		}
	}})
	h := c.hosts[0]
	value := strings.Repeat("x", secret.MaxValueBytes)
	made, refusal := c.fill(h, value)
	h.refuses("a put into a full store", refusal, secret.CodeStoreFull)
	if !strings.Contains(fmt.Sprint(refusal), "full") {
		t.Errorf("the refusal does not say why: %v", refusal)
	}
	for i := range 3 {
		name := fmt.Sprint("refused/", i)
		h.refuses("a creation in a full store", h.create(t.Context(), name, value), secret.CodeStoreFull)
		for _, p := range c.processes() {
			_, err := p.get(t.Context(), name, "")
			p.refuses("a read of what was refused", err, secret.CodeNotFound)
		}
	}
	for _, p := range c.processes() {
		p.shows("fill/0", value, "")
	}
	c.checkFull()
	t.Logf("filled by %d secrets; a purge answers %q", made, c.purge(h, "fill/0"))

	c.controls[0].stop()
	c.controls[0].configure(func(c *config.Config) { c.Store.Embedded.QuotaBytes *= 2 })
	c.controls[0].start()
	c.eventually("mutations are accepted again", func(ctx context.Context) error { return h.create(ctx, "afterwards", "x") })
	c.purge(h, "fill/0")
	c.settled()
	final := c.checkEqual("")
	if _, there := final["fill/0"]; there {
		t.Error("a purged secret is there")
	}
	for i := 1; i < made; i++ {
		if s := final[fmt.Sprint("fill/", i)]; s.values[1] != value {
			t.Errorf("secret %d was acknowledged and has %d bytes", i, len(s.values[1]))
		}
	}
	if len(final) != made { // one purged, one made afterwards
		t.Errorf("%d secrets were made and are %d", made, len(final))
	}
}

// fill makes secrets until one is refused, and returns how many were made: the first
// half of what fits side by side, the others one after the other.
func (c *cell) fill(p *process, value string) (made int, refusal error) {
	var g errgroup.Group
	g.SetLimit(8)
	for ; made < smallQuota/len(value)/2; made++ {
		name := fmt.Sprint("fill/", made)
		g.Go(func() error { return p.create(c.t.Context(), name, value) })
	}
	if err := g.Wait(); err != nil {
		c.t.Fatal(err)
	}
	for made <= smallQuota/len(value) {
		if refusal = p.create(c.t.Context(), fmt.Sprint("fill/", made), value); refusal != nil {
			return made, refusal
		}
		made++
	}
	c.t.Fatalf("the store takes %d secrets of %d bytes", made, len(value))
	return 0, nil
}

// checkFull checks that the control process says that it cannot do its job, and
// why, and that the host can.
func (c *cell) checkFull() {
	c.t.Helper()
	c.eventually("the control process says that the store is full", func(ctx context.Context) error {
		h, err := c.controls[0].health(ctx)
		if err == nil && (h.Ready || !strings.Contains(h.Checks["store"].Detail, "full")) {
			err = fmt.Errorf("%+v", h)
		}
		return err
	})
	if h, err := c.hosts[0].health(c.t.Context()); err != nil || !h.Ready {
		c.t.Errorf("a host can answer reads of a full store: %v, %v", h, err)
	}
}

func (c *cell) purge(p *process, name string) secret.Code {
	admin := p.client(c.admin)
	_, _, err := invoke(c.t.Context(), admin.secrets.DeleteSecret, admin, &lifeboatv1.DeleteSecretRequest{Vault: vaultName, Secret: name, Immediate: true})
	return codeOf(err)
}

// configure changes the configuration of a process, for its next start.
func (p *process) configure(change func(*config.Config)) {
	t := p.cell.t
	data, err := os.ReadFile(p.file("config.yaml"))
	must(t, err)
	c, err := config.Parse(data)
	must(t, err)
	change(c)
	data, err = yaml.Marshal(c)
	must(t, err)
	must(t, os.WriteFile(p.file("config.yaml"), data, 0o600))
}
