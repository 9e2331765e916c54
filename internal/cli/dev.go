package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v4"

	"github.com/lifeboat-secrets/lifeboat/client"
	"github.com/lifeboat-secrets/lifeboat/internal/localregion"
	"github.com/lifeboat-secrets/lifeboat/internal/pki"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// localStartTimeout bounds how long a local region may take to be ready.
const localStartTimeout = time.Minute

type devOptions struct {
	dataDir, writeEnv string
	regions           []string
	hosts             int
	verbose           bool
}

func (a *app) devCommand() *cobra.Command {
	var o devOptions
	c := &cobra.Command{
		Use: "dev", Short: "Start regions on this machine, to try and to develop with", Args: args(),
		Long: `Start one or several regions on this machine, in one process: for each the store,
the control plane and data-plane hosts, with TLS between them all. Several regions
know each other as peers, each with an authority of its own. The first one has an
account and a vault, both called demo. Data, tokens and addresses stay as they are
between starts, also if regions are added or left out. The files that --write-env
writes also let the SDKs and tools of AWS Secrets Manager use the region.

It is not for production: it does not survive the loss of the machine, and
its keys lie in a file.`,
		Example: `  lifeboat dev --write-env .
  lifeboat dev --regions east,west,south --hosts 1 --write-env .
  lifeboat dev --data-dir /tmp/lifeboat --hosts 1
  . ./east.env && lifeboat secret list`,
		RunE: func(c *cobra.Command, _ []string) error { return a.runDev(c.Context(), o) },
	}
	f := c.Flags()
	f.StringVar(&o.dataDir, "data-dir", "", "where the regions keep everything (default ~/.local/share/lifeboat/dev)")
	f.StringSliceVar(&o.regions, "regions", []string{"east"}, "names of the regions, separated by commas")
	f.StringVar(&o.writeEnv, "write-env", "", "write DIR/<region>.env, to be sourced by shells, and of several regions DIR/all_regions.env and DIR/regions.yaml; the .env files hold a token")
	f.IntVar(&o.hosts, "hosts", 3, "number of data-plane hosts of each region")
	f.BoolVar(&o.verbose, "verbose", false, "log more than warnings")
	_ = c.MarkFlagDirname("data-dir")
	_ = c.MarkFlagDirname("write-env")
	return c
}

func (o *devOptions) complete(a *app) error {
	if o.dataDir != "" {
		return nil
	}
	if data, ok := a.LookupEnv("XDG_DATA_HOME"); ok && data != "" {
		o.dataDir = filepath.Join(data, "lifeboat", "dev")
	} else if home, ok := a.LookupEnv("HOME"); ok && home != "" {
		o.dataDir = filepath.Join(home, ".local", "share", "lifeboat", "dev")
	} else {
		return usagef("--data-dir is missing, and there is no home directory")
	}
	return nil
}

func (a *app) runDev(ctx context.Context, o devOptions) (err error) {
	if err := o.complete(a); err != nil {
		return err
	}
	level := slog.LevelError
	if o.verbose {
		level = slog.LevelInfo
	}
	names := make([]secret.RegionName, len(o.regions))
	for i, name := range o.regions {
		names[i] = secret.RegionName(name)
	}
	regions, err := localregion.PlanRegions(localregion.Options{
		Dir: o.dataDir, Hosts: o.hosts, Release: a.Release,
		Logger: slog.New(slog.NewTextHandler(a.Stderr, &slog.HandlerOptions{Level: level})),
	}, names...)
	if err != nil {
		return err
	}
	began := time.Now()
	start, cancel := context.WithTimeout(ctx, localStartTimeout)
	defer cancel()
	if err := regions.StartInProcess(start); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, regions.Close()) }()
	tenant, err := regions.All()[0].Tenant(start, "demo")
	if err != nil {
		return err
	}
	if err := o.writeEnvs(regions, tenant); err != nil {
		return fmt.Errorf("write the environment: %w", err)
	}
	a.describeDev(regions, o.writeEnv, time.Since(began))
	if err := regions.Wait(ctx); ctx.Err() == nil {
		return err
	}
	a.note("stopping")
	return nil
}

// writeEnvs writes what shells must source to use each region, the first one last:
// who waits for its file finds all.
func (o *devOptions) writeEnvs(regions *localregion.Regions, tenant localregion.Tenant) error {
	if o.writeEnv == "" {
		return nil
	}
	if err := os.MkdirAll(o.writeEnv, 0o700); err != nil {
		return err
	}
	if len(regions.All()) > 1 {
		if err := o.writeAllEnv(regions, tenant); err != nil {
			return err
		}
	}
	for _, r := range slices.Backward(regions.All()) {
		if err := pki.WriteFile(envFile(o.writeEnv, r), r.Env(r.Hosts()[0], tenant).Reveal()); err != nil {
			return err
		}
	}
	return nil
}

// Files for clients of all regions. No region can have the name of the second one.
const (
	regionsFile = "regions.yaml"
	allEnvFile  = "all_regions.env"
)

// writeAllEnv writes what clients of all regions take, and shells source for that.
func (o *devOptions) writeAllEnv(regions *localregion.Regions, tenant localregion.Tenant) error {
	data, err := yaml.Marshal(map[string][]client.Region{"regions": regions.ForClients()})
	if err != nil {
		return err
	}
	path, err := filepath.Abs(filepath.Join(o.writeEnv, regionsFile))
	if err != nil {
		return err
	}
	if err := pki.WriteFile(path, data); err != nil {
		return err
	}
	return pki.WriteFile(filepath.Join(o.writeEnv, allEnvFile), regions.Env(path, tenant).Reveal())
}

func envFile(dir string, r *localregion.Region) string {
	return filepath.Join(dir, string(r.Name())+".env")
}

func (a *app) describeDev(regions *localregion.Regions, envDir string, took time.Duration) {
	var b strings.Builder
	for _, r := range regions.All() {
		fmt.Fprintf(&b, "region %s is ready after %.1f s (not for production)\n\n", r.Name(), took.Seconds())
		fmt.Fprintf(&b, "  %-10s %s   store and control plane\n", r.Control().ID, r.Control().URL())
		for _, h := range r.Hosts() {
			fmt.Fprintf(&b, "  %-10s %s\n", h.ID, h.URL())
		}
		fmt.Fprintf(&b, "\n  data       %s\n  authority  %s\n  operator   token in %s\n\n", r.Dir(), r.CAFile(), r.OperatorTokenFile())
	}
	if envDir == "" {
		b.WriteString("To use it from another terminal, start it with --write-env DIR.\n")
	} else {
		fmt.Fprintf(&b, `To use it from another terminal (account demo, vault demo):

  . %s
  printf s3cret | lifeboat secret put api-key
  lifeboat secret get api-key
`, shellPath(envFile(envDir, regions.All()[0])))
	}
	if all := regions.All(); envDir != "" && len(all) > 1 {
		var others []string
		for _, r := range all[1:] {
			others = append(others, string(r.Name()))
		}
		fmt.Fprintf(&b, `
To have it in the other regions too, and read it there:

  lifeboat vault replicate demo --to %s
  . %s
  lifeboat secret get api-key

To go on whichever region is lost:

  . %s
  lifeboat secret get api-key
`, strings.Join(others, ","), shellPath(envFile(envDir, all[1])), shellPath(filepath.Join(envDir, allEnvFile)))
	}
	b.WriteString("\nCtrl-C stops it; the data stays.\n")
	fmt.Fprint(a.Stdout, b.String())
}

// shellPath is a path that the shell's dot command takes without a search.
func shellPath(path string) string {
	if filepath.IsAbs(path) || strings.HasPrefix(path, ".") {
		return path
	}
	return "./" + path
}
