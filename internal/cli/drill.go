package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/lifeboat-secrets/lifeboat/client"
	"github.com/lifeboat-secrets/lifeboat/internal/drill"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

type drillOptions struct {
	home, heir, third                            string
	operators                                    []string
	reportDir                                    string
	secrets                                      int
	writeFor, cutFor, noticeAfter, recoverWithin time.Duration
	keep                                         bool
}

func (o *drillOptions) check() error {
	switch {
	case o.secrets < 3 || o.secrets > drill.MaxSecrets:
		return usagef("--secrets is %d; allowed are 3 to %d", o.secrets, drill.MaxSecrets)
	case o.writeFor < 100*time.Millisecond || o.writeFor > time.Minute:
		return usagef("--write-for is %s; allowed are 100ms to 1m", o.writeFor)
	case o.cutFor < time.Minute || o.cutFor > time.Hour:
		return usagef("--cut-for is %s; allowed are 1m to 1h", o.cutFor)
	case o.noticeAfter < 100*time.Millisecond || o.noticeAfter > time.Minute:
		return usagef("--notice-after is %s; allowed are 100ms to 1m", o.noticeAfter)
	case o.recoverWithin <= 0:
		return usagef("--recover-within must be more than 0")
	}
	return nil
}

const drillLong = `Run a game day against three regions that serve, and write a report that can be
shown: how long it took to recover, what was lost, and which promises were kept.

It makes a vault in --home and replicates it to --heir and --third. Then it cuts that
vault off in --home, which goes on to acknowledge writes; has --heir take the vault
over and writes there; ends the cut; shows what --home held that --heir lacked, as
conflicts, and adopts it; moves the home back as planned; and looks for every write
that was acknowledged. All the while it reads in the regions that are left.

Nothing but this vault is touched: the cut and the takeover are of it alone, by the
code of the real ones, and regions refuse them for any other vault. The report says
what was exercised, and what was simulated. "lifeboat demo" loses a whole region.

The cut ends by itself after --cut-for, and the vault is removed in the end, also if
the drill is interrupted. If that could not be, "lifeboat drill clean" does it.

The token needs to be one that may do all with vaults of its account; operators of
--home and --heir are given by --operator-token. Regions are those of the regions
file, in its order, unless flags name others.

The exit code is 1 if a promise was broken, or not all could be tested.`

func (a *app) drillCommand() *cobra.Command {
	var o drillOptions
	c := &cobra.Command{
		Use: "drill", Short: "Run a game day against regions that serve, and report on it", Args: args(), Long: drillLong,
		Example: `  lifeboat drill --operator-token east=east-operator.token --operator-token west=west-operator.token
  lifeboat drill --home west --heir south --operator-token west=w --operator-token south=s
  lifeboat drill -o json --operator-token east=e.token --operator-token west=w.token | jq .outcome
  lifeboat drill clean --operator-token east=e.token`,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			return a.runDrill(c.Context(), &o)
		},
	}
	o.addRegions(a, c)
	f := c.Flags()
	f.StringVar(&o.reportDir, "report-dir", ".", "directory for the report, as JSON and as a page")
	f.IntVar(&o.secrets, "secrets", 8, "number of secrets")
	f.DurationVar(&o.writeFor, "write-for", time.Second, "how long to write in --home before and after the cut")
	f.DurationVar(&o.cutFor, "cut-for", 10*time.Minute, "when the cut ends if the drill does not end it")
	f.DurationVar(&o.noticeAfter, "notice-after", 2*time.Second, "when a missing write means that --heir is cut off")
	f.DurationVar(&o.recoverWithin, "recover-within", 2*time.Second, "how soon --heir must accept writes once decided")
	f.BoolVar(&o.keep, "keep", false, "keep the vault")
	_ = c.MarkFlagDirname("report-dir")
	c.AddCommand(a.drillClean())
	return c
}

func (o *drillOptions) addRegions(a *app, c *cobra.Command) {
	f := c.Flags()
	f.StringArrayVar(&o.operators, "operator-token", nil, "REGION=FILE of an operator's token there; may be repeated")
	if c.Name() != "drill" {
		return
	}
	for _, flag := range []struct {
		value      *string
		name, what string
	}{
		{&o.home, "home", "region that is lost (default the first)"}, {&o.heir, "heir", "region that takes over (default the next one)"},
		{&o.third, "third", "region that goes on too (default the next one)"},
	} {
		f.StringVar(flag.value, flag.name, "", flag.what)
		_ = c.RegisterFlagCompletionFunc(flag.name, a.completePeers)
	}
}

func (a *app) drillClean() *cobra.Command {
	var o drillOptions
	c := &cobra.Command{
		Use: "clean", Short: "Remove what an interrupted drill has left", Args: args(),
		Long: `Remove the vaults of your account that drills have made, in every region of the regions
file, for good. A cut that has not ended by itself yet is ended where an operator's
token is given.`,
		Example: "  lifeboat drill clean\n  lifeboat drill clean --operator-token east=east-operator.token",
		RunE: func(c *cobra.Command, _ []string) error {
			d, err := a.openDrill(&o)
			defer d.close()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(c.Context(), 2*time.Minute)
			defer cancel()
			removed, err := drill.Clean(ctx, d.regions)
			if err != nil {
				return err
			}
			if a.flags.output == outputJSON {
				return writeJSON(a.Stdout, map[string][]string{"removed": append([]string{}, removed...)})
			}
			if len(removed) == 0 {
				return a.line("there was nothing to remove")
			}
			for _, vault := range removed {
				if err := a.line("removed %s", vault); err != nil {
					return err
				}
			}
			return nil
		},
	}
	o.addRegions(a, c)
	return c
}

// drillRegions are the regions of a drill, with clients of their own.
type drillRegions struct {
	regions []drill.Region
	clients []*client.Client
}

func (d *drillRegions) close() {
	if d != nil {
		for _, c := range d.clients {
			c.Close()
		}
	}
}

// drillCallTimeout bounds each call of a drill: what takes longer has failed.
const drillCallTimeout = 5 * time.Second

// openDrill makes clients for each region of the regions file, and for its operator if a
// token is given.
func (a *app) openDrill(o *drillOptions) (*drillRegions, error) {
	s, err := a.settings()
	if err != nil {
		return nil, err
	}
	if len(s.Regions) < 2 {
		return nil, &usageError{err: errors.New("a drill needs several regions"), hint: "name them in a regions file: --regions-file, or LIFEBOAT_REGIONS_FILE"}
	}
	secured, err := s.tls()
	if err != nil {
		return nil, err
	}
	d := &drillRegions{}
	for _, r := range s.Regions {
		region := drill.Region{Name: r.Name}
		if region.Client, err = d.client(a, s, r, s.token, secured); err != nil {
			return d, err
		}
		d.regions = append(d.regions, region)
	}
	for _, given := range o.operators {
		name, file, ok := strings.Cut(given, "=")
		if !ok || file == "" {
			return d, usagef("--operator-token must be REGION=FILE")
		}
		at := slices.IndexFunc(d.regions, func(r drill.Region) bool { return r.Name == name })
		if at < 0 {
			return d, usagef("--operator-token names %s, which is not in the regions file", name)
		}
		token, err := os.ReadFile(file) //nolint:gosec // the caller's own file
		if err != nil {
			return d, withHint(err, "check --operator-token")
		}
		if d.regions[at].Operator, err = d.client(a, s, s.Regions[at], client.NewValue(strings.TrimSpace(string(token))), nil); err != nil {
			return d, err
		}
	}
	return d, nil
}

func (d *drillRegions) client(a *app, s *settings, r client.Region, token client.Value, secured *tls.Config) (*client.Client, error) {
	timeout := drillCallTimeout
	if a.flags.timeout > 0 {
		timeout = a.flags.timeout
	}
	config := client.Config{Regions: []client.Region{r}, Token: token, CAFile: s.CAFile, TLS: secured, Timeout: timeout, UserAgent: "lifeboat-drill/" + a.Release}
	if secured != nil {
		config.Account = s.Account
	}
	c, err := client.New(config)
	if err == nil {
		d.clients = append(d.clients, c)
	}
	return c, err
}

// choose returns the regions that take part: those that are named, and the first of the
// others in the place of those that are not.
func (o *drillOptions) choose(regions []drill.Region) (home, heir, third drill.Region, err error) {
	left := slices.Clone(regions)
	take := func(name, flag string) drill.Region {
		at := 0
		if name != "" {
			at = slices.IndexFunc(left, func(r drill.Region) bool { return r.Name == name })
		}
		if at < 0 || at >= len(left) {
			err = firstOf(err, usagef("there is no region for --%s %s; the regions file has %d", flag, name, len(regions)))
			return drill.Region{}
		}
		r := left[at]
		left = slices.Delete(left, at, at+1)
		return r
	}
	// Those that are named come first, so that nobody else takes them.
	parts := []struct {
		name, flag string
		to         *drill.Region
	}{{o.home, "home", &home}, {o.heir, "heir", &heir}, {o.third, "third", &third}}
	for _, named := range []bool{true, false} {
		for _, p := range parts {
			if (p.name != "") == named && err == nil {
				*p.to = take(p.name, p.flag)
			}
		}
	}
	return home, heir, third, err
}

func firstOf(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func (a *app) runDrill(ctx context.Context, o *drillOptions) error {
	d, err := a.openDrill(o)
	defer d.close()
	if err != nil {
		return err
	}
	home, heir, third, err := o.choose(d.regions)
	if err != nil {
		return err
	}
	for _, r := range []drill.Region{home, heir} {
		if r.Operator == nil {
			return &usageError{err: fmt.Errorf("no operator of %s is given", r.Name), hint: "add --operator-token " + r.Name + "=FILE"}
		}
	}
	report, err := drill.Run(ctx, drill.Options{
		Home: home, Heir: heir, Third: third, Secrets: o.secrets, WriteFor: o.writeFor, RecoverWithin: o.recoverWithin, Keep: o.keep, Release: a.Release,
		Loss: &drill.VaultCut{Home: home, Heir: heir, Lasts: o.cutFor, NoticeAfter: o.noticeAfter}, Told: a.drillProgress(0),
	})
	return a.endDrill(o.reportDir, report, err)
}

// drillProgress tells a person of each step, numbered after those before it.
func (a *app) drillProgress(before int) func(drill.Step) {
	return func(s drill.Step) {
		switch {
		case a.flags.output == outputJSON && (!isTerminal(a.Stderr) || s.Outcome != ""):
		case a.flags.output == outputJSON:
			a.note("%d. %s", s.Number+before, s.Title)
		case s.Outcome == "":
			_ = a.line("%d. %s", s.Number+before, oneLine(s.Title))
		default:
			for _, seen := range s.Seen {
				_ = a.line("   ✓ %s", oneLine(seen))
			}
			if s.Error != "" {
				_ = a.line("   ✗ %s", oneLine(s.Error))
			}
		}
	}
}

// endDrill writes the report, shows its summary, and fails if the drill has.
func (a *app) endDrill(dir string, report *drill.Report, failure error) error {
	files, err := writeDrillReport(dir, report)
	if err != nil {
		return errors.Join(failure, withHint(err, "check --report-dir"))
	}
	if a.flags.output == outputJSON {
		err = writeJSON(a.Stdout, report)
	} else {
		err = a.showDrill(report, files)
	}
	switch {
	case failure != nil:
		return failure
	case err != nil:
		return err
	case report.Outcome != drill.Passed:
		return withHint(fmt.Errorf("the drill has %s: %d promises were broken", report.Outcome, len(report.Broken())), "see "+files[1])
	}
	return nil
}

// writeDrillReport writes it as JSON and as a page, and returns the names of both.
func writeDrillReport(dir string, report *drill.Report) (files []string, err error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	for suffix, write := range map[string]func(io.Writer) error{".json": report.WriteJSON, ".html": report.WritePage} {
		path := filepath.Join(dir, secret.DrillVaultPrefix+strings.ToLower(report.ID)+suffix)
		f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o644) //nolint:gosec // to be shown to others; it holds no secret
		if err != nil {
			return nil, err
		}
		if err := errors.Join(write(f), f.Close()); err != nil {
			return nil, err
		}
		files = append(files, path)
	}
	slices.Sort(files)
	slices.Reverse(files)
	return files, nil
}

func (a *app) showDrill(r *drill.Report, files []string) error {
	w := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
	row(w, "")
	row(w, "DRILL "+strings.ToUpper(string(r.Outcome)))
	row(w, r.Loss.Summary)
	row(w, "")
	row(w, "RESULT", "PROMISE", "SEEN")
	for _, p := range r.Promises {
		result := "not tested"
		switch {
		case p.Tested && p.Kept:
			result = "kept"
		case p.Tested:
			result = "BROKEN"
		}
		row(w, result, clip(p.Promise, 54), clip(p.Detail, 32))
	}
	row(w, "")
	m := r.Measures
	row(w, "decision → first write", fmt.Sprintf("%.3f s", m.DecisionToFirstWrite))
	row(w, "noticed → first write", fmt.Sprintf("%.3f s", m.NoticedToFirstWrite))
	row(w, "return → in sync", fmt.Sprintf("%.2f s", m.ReturnToInSync))
	row(w, "failback, longest pause", fmt.Sprintf("%.3f s", m.FailbackWritePause))
	row(w, "lost silently", fmt.Sprintf("%d of %d acknowledged writes", r.RecoveryPoint.LostSilently, len(r.Writes)))
	row(w, "")
	row(w, "report, to read", files[1])
	row(w, "report, for programs", files[0])
	return w.Flush()
}
