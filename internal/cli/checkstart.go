package cli

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/region"
)

// startReport is the answer of operator check-start.
type startReport struct {
	// Starts says that nothing keeps the process from starting.
	Starts bool          `json:"starts"`
	Needs  []region.Need `json:"needs"`
}

func (a *app) operatorCheckStart() *cobra.Command {
	var file string
	var list bool
	c := &cobra.Command{
		Use: "check-start --config FILE", Short: "List what a process needs to start, and what of that is missing or circular", Args: args(),
		Long: `List everything outside of itself that a process with that configuration uses:
files, directories, addresses, names that must be resolved, the key service. Each
is tried, and nothing changed. "for" says what waits for it: start, the first copy
of a host, mutations, or nothing.

What a process needs to start must not itself need a secret from Lifeboat: after
an outage of everything neither could come up first. What is found to do so is
shown as circular; what may, and somebody has to make sure of, as check. Run it as
the user that the process runs as.

The exit code is 1 if something keeps the process from starting.`,
		Example: "  lifeboat operator check-start --config /etc/lifeboat/config.yaml\n  lifeboat operator check-start --config config.yaml --list -o json",
		RunE: func(c *cobra.Command, _ []string) error {
			if file == "" {
				return usagef("--config is missing")
			}
			configuration, err := config.Load(file, a.LookupEnv)
			if err != nil {
				return withHint(err, "\"lifeboat config reference\" shows every field")
			}
			return a.showStart(region.StartNeeds(c.Context(), configuration, !list))
		},
	}
	c.Flags().StringVar(&file, "config", "", "configuration of the process")
	c.Flags().BoolVar(&list, "list", false, "only list, try nothing")
	_ = c.MarkFlagFilename("config", "yaml", "yml")
	return c
}

func (a *app) showStart(needs []region.Need) error {
	r := startReport{Starts: true, Needs: needs}
	blocking := 0
	for _, n := range needs {
		if n.Blocks() {
			r.Starts = false
			blocking++
		}
	}
	if err := a.printNeeds(r); err != nil {
		return err
	}
	if blocking > 0 {
		return withHint(fmt.Errorf("%d of %d needs keep the process from starting", blocking, len(needs)), "docs/bootstrap.md says what a process may need")
	}
	return nil
}

// state is one word on a need.
func state(n region.Need) string {
	switch {
	case n.Circular != "":
		return "circular"
	case n.Problem != "":
		return "missing"
	case n.Doubt != "":
		return "check"
	}
	return "ok"
}

func (a *app) printNeeds(r startReport) error {
	if a.flags.output == outputJSON {
		return writeJSON(a.Stdout, r)
	}
	w := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
	row(w, "KIND", "WHAT", "FOR", "FIELD", "STATE")
	for _, n := range r.Needs {
		row(w, n.Kind, clip(n.What, 34), n.For, clip(n.Field, 30), state(n))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	a.explain(r.Needs)
	return nil
}

// explain says in full what is wrong.
func (a *app) explain(needs []region.Need) {
	for _, n := range needs {
		if n.Circular != "" {
			a.note("circular: %s (%s) %s", n.What, n.Field, n.Circular)
		}
		if n.Doubt != "" {
			a.note("check: %s (%s): %s", n.What, n.Field, n.Doubt)
		}
		if n.Problem != "" {
			a.note("missing: %s (%s): %s", n.What, n.Field, n.Problem)
		}
	}
}
