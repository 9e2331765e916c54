package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
	"github.com/lifeboat-secrets/lifeboat/examples"
	"github.com/lifeboat-secrets/lifeboat/internal/importfile"
	"github.com/lifeboat-secrets/lifeboat/internal/localregion"
)

// demoStepTimeout bounds each step of the demonstration.
const demoStepTimeout = 60 * time.Second

type demoOptions struct {
	examples, reportDir string
	keep                bool
}

func (a *app) demoCommand() *cobra.Command {
	var o demoOptions
	c := &cobra.Command{
		Use: "demo", Short: "Show what regions do when parts of them fail", Args: args(),
		Long: `Start three regions on this machine. Import sample secrets into the first, which has
three hosts, read them back through each, kill the process with the store and the
control plane, and show that the hosts still answer, also one that restarts
meanwhile; that a write is refused; and that all is well again when the process
comes back. Then replicate them to the two other regions and read them there; cut one
region off, and show that it still answers and the others go on; and that it catches
up when the network heals. In the end it runs a drill ("lifeboat drill --help") in which
the first region is really cut off and killed, and taken over as a whole, and returns;
and writes the report of that.

It checks everything it shows and fails if anything differs. It works in a
temporary directory and leaves nothing behind but the report.`,
		Example: "  lifeboat demo\n  lifeboat demo --examples ./examples",
		RunE:    func(c *cobra.Command, _ []string) error { return a.runDemo(c.Context(), o) },
	}
	c.Flags().StringVar(&o.examples, "examples", "", "directory with payments.env and payments.json (default ./examples, or those in the binary)")
	c.Flags().StringVar(&o.reportDir, "report-dir", ".", "directory for the report of the drill, as JSON and as a page")
	c.Flags().BoolVar(&o.keep, "keep", false, "keep the directory with logs")
	_ = c.MarkFlagDirname("report-dir")
	return c
}

// demo is one run of the demonstration.
type demo struct {
	app     *app
	regions *localregion.Regions
	// region is the first one, ways are the network between them.
	region  *localregion.Region
	ways    []way
	tenant  localregion.Tenant
	entries []importfile.Entry
	clients []*client.Client
	steps   int
}

func (a *app) runDemo(ctx context.Context, o demoOptions) (err error) {
	binary, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "lb-demo-") // short: the path of a socket is bounded
	if err != nil {
		return err
	}
	defer func() {
		if o.keep {
			a.note("kept %s", dir)
			return
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	d := &demo{app: a}
	if d.entries, err = a.demoEntries(o.examples); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	if err := d.plan(dir); err != nil {
		return err
	}
	began := time.Now()
	for _, step := range []func(context.Context, string) error{
		d.start, d.importSamples, d.readEverywhere, d.killControl, d.readOn, d.restartHost, d.refuseWrite, d.bringBack, d.catchUp,
		d.replicate, d.refuseAtReplica, d.cutOff, d.heal,
	} {
		if err := d.run(ctx, binary, step); err != nil {
			return err
		}
	}
	if err := d.drill(ctx, o.reportDir); err != nil {
		return err
	}
	return a.line("\nAll as promised, in %.1f s.", time.Since(began).Seconds())
}

// demoEntries reads the sample files, both formats of the same secrets.
func (a *app) demoEntries(dir string) ([]importfile.Entry, error) {
	if dir == "" {
		dir = "examples"
		if _, err := os.Stat(filepath.Join(dir, "payments.env")); err != nil {
			return a.embeddedEntries()
		}
	}
	return a.parseFiles([]string{filepath.Join(dir, "payments.env"), filepath.Join(dir, "payments.json")}, importOptions{format: "auto"})
}

func (a *app) embeddedEntries() ([]importfile.Entry, error) {
	f, err := examples.Files.Open("payments.env")
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return importfile.ParseDotenv(f)
}

func (d *demo) run(ctx context.Context, binary string, step func(context.Context, string) error) error {
	ctx, cancel := context.WithTimeout(ctx, demoStepTimeout)
	defer cancel()
	if err := step(ctx, binary); err != nil {
		return fmt.Errorf("step %d: %w", d.steps, err)
	}
	return nil
}

func (d *demo) title(format string, args ...any) {
	d.steps++
	_ = d.app.line("%d. %s", d.steps, fmt.Sprintf(format, args...))
}

func (d *demo) saw(format string, args ...any) {
	_ = d.app.line("   ✓ %s", fmt.Sprintf(format, args...))
}

func (d *demo) start(ctx context.Context, binary string) error {
	d.title("Start three regions, each with its own store, keys and authority; %s has three hosts", d.region.Name())
	began := time.Now()
	if err := d.regions.StartChildren(ctx, binary); err != nil {
		return err
	}
	var err error
	if d.tenant, err = d.region.Tenant(ctx, "demo"); err != nil {
		return err
	}
	for _, h := range d.region.Hosts() {
		c, err := d.region.Client(h, d.tenant.Token)
		if err != nil {
			return err
		}
		d.clients = append(d.clients, c)
	}
	d.saw("ready after %.1f s, and each has met the two others; the account demo is in %s", time.Since(began).Seconds(), d.region.Name())
	return nil
}

func (d *demo) importSamples(ctx context.Context, _ string) error {
	d.title("Import the sample secrets through %s", d.region.Hosts()[0].ID)
	report, err := importEntries(ctx, d.clients[0], d.tenant.Vault, d.entries, importOptions{}, func(int) (func(), func()) { return func() {}, func() {} })
	if err != nil {
		return err
	}
	if len(report.Created) != len(d.entries) {
		return fmt.Errorf("created %d of %d secrets: %+v", len(report.Created), len(d.entries), report.Failed)
	}
	d.saw("created %d secrets", len(report.Created))
	return nil
}

func (d *demo) readEverywhere(ctx context.Context, _ string) error {
	d.title("Read them back through each host, and compare")
	return d.compareAll(ctx)
}

func (d *demo) compareAll(ctx context.Context) error {
	for i, h := range d.region.Hosts() {
		began := time.Now()
		for _, e := range d.entries {
			got, err := d.clients[i].GetSecretValue(ctx, &lifeboatv1.GetSecretValueRequest{Vault: d.tenant.Vault, Secret: e.Name})
			if err != nil {
				return fmt.Errorf("%s: read %s: %w", h.ID, e.Name, err)
			}
			if string(got.GetValue()) != string(e.Value.Reveal()) {
				return fmt.Errorf("%s: the value of %s differs", h.ID, e.Name)
			}
		}
		d.saw("%s: %d values are the same (%.1f ms)", h.ID, len(d.entries), float64(time.Since(began).Microseconds())/1000)
	}
	return nil
}

func (d *demo) killControl(context.Context, string) error {
	d.title("Kill -9 the process with the store and the control plane")
	if err := d.region.Control().Kill(); err != nil {
		return err
	}
	d.saw("%s is dead", d.region.Control().ID)
	return nil
}

func (d *demo) readOn(ctx context.Context, _ string) error {
	d.title("Read through each host again")
	return d.compareAll(ctx)
}

func (d *demo) restartHost(ctx context.Context, _ string) error {
	h := d.region.Hosts()[2]
	d.title("Kill -9 %s too, start it again, and read: it has only what is on its disk", h.ID)
	if err := h.Kill(); err != nil {
		return err
	}
	if err := h.Start(ctx); err != nil {
		return err
	}
	if err := h.WaitReady(ctx); err != nil {
		return err
	}
	return d.compareAll(ctx)
}

const demoWrite = "written-after-the-failure"

func (d *demo) refuseWrite(ctx context.Context, _ string) error {
	d.title("Try to write: without the store it must be refused, and soon")
	c, err := client.New(client.Config{Address: d.region.Hosts()[0].URL(), Token: d.tenant.Token, CAFile: d.region.CAFile(), Timeout: 3 * time.Second})
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.CreateSecret(ctx, &lifeboatv1.CreateSecretRequest{Vault: d.tenant.Vault, Name: demoWrite, Value: []byte("v")})
	refused, ok := errors.AsType[*client.Error](err)
	if !ok || refused.Code != client.CodeUnavailable {
		return fmt.Errorf("the write was not refused as unavailable: %w", errors.Join(errors.New("wanted a refusal"), err))
	}
	d.saw("refused: %s", refused.Message)
	return nil
}

func (d *demo) bringBack(ctx context.Context, _ string) error {
	d.title("Start the process again, and write")
	control := d.region.Control()
	began := time.Now()
	if err := control.Start(ctx); err != nil {
		return err
	}
	if err := control.WaitReady(ctx); err != nil {
		return err
	}
	if err := d.writeCleared(ctx); err != nil {
		return err
	}
	d.saw("%.1f s after its start a write is durable and every live host has it", time.Since(began).Seconds())
	return nil
}

// writeCleared writes until the hosts have found the control process again and
// the write is cleared.
func (d *demo) writeCleared(ctx context.Context) error {
	for {
		put, err := d.clients[0].PutSecret(ctx, &lifeboatv1.PutSecretVersionRequest{
			Vault: d.tenant.Vault, Secret: demoWrite, Value: []byte("v"), Wait: lifeboatv1.Wait_WAIT_CLEARED,
		})
		if err == nil && put.Cleared {
			return nil
		}
		if code := client.CodeOf(err); err != nil && code != client.CodeUnavailable && code != client.CodeOutcomeUnknown {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(errors.New("no write was cleared in time"), err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (d *demo) catchUp(ctx context.Context, _ string) error {
	d.title("Read the new secret through each host, and all the others")
	for i, h := range d.region.Hosts() {
		got, err := d.clients[i].GetSecretValue(ctx, &lifeboatv1.GetSecretValueRequest{Vault: d.tenant.Vault, Secret: demoWrite})
		if err != nil {
			return fmt.Errorf("%s: %w", h.ID, err)
		}
		if string(got.GetValue()) != "v" {
			return fmt.Errorf("%s: the value of %s differs", h.ID, demoWrite)
		}
	}
	d.saw("each host has it")
	return d.compareAll(ctx)
}
