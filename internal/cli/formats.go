package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
)

func (a *app) operatorFormats() *cobra.Command {
	var hold, release bool
	c := &cobra.Command{
		Use: "formats", Short: "Show which formats of records are written, and what keeps newer ones from being written", Args: args(),
		Long: `Show which formats of records are written and read. A newer format is written as
soon as every registered process reads it; from then on no older release can be
started in the region. --hold, given before an upgrade, keeps the way back open
until --release.`,
		Example: "  lifeboat operator formats --hold\n  lifeboat operator formats\n  lifeboat operator formats --release",
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			if hold || release {
				if _, err := cl.HoldFormats(c.Context(), &lifeboatv1.HoldFormatsRequest{Held: hold}); err != nil {
					return err
				}
				return a.done(heldText(hold), map[string]any{"held": hold})
			}
			answer, err := cl.GetFormats(c.Context(), &lifeboatv1.GetFormatsRequest{})
			if err != nil {
				return err
			}
			return a.show(answer, func(w io.Writer) { formatsTable(w, answer) })
		},
	}
	c.Flags().BoolVar(&hold, "hold", false, "write no newer formats until --release")
	c.Flags().BoolVar(&release, "release", false, "end --hold")
	c.MarkFlagsMutuallyExclusive("hold", "release")
	return c
}

func heldText(held bool) string {
	if held {
		return "no newer formats are written until: lifeboat operator formats --release"
	}
	return "newer formats are written as soon as every registered process reads them"
}

func formatsTable(w io.Writer, f *lifeboatv1.GetFormatsResponse) {
	state := "closed until every process reads the newest formats"
	switch {
	case f.GetOpen():
		state = "open: every format that this release reads is written"
	case f.GetHeld():
		state = "held by an operator; end it with --release"
	}
	row(w, "gate", state)
	if f.GetOpen() && f.GetHeld() {
		row(w, "held", "true: the next newer format waits for --release")
	}
	if f.GetRaisedAt() != nil {
		row(w, "last raised", at(f.GetRaisedAt())+" by release "+clip(f.GetRaisedBy(), 40))
	}
	row(w, "")
	row(w, "KIND", "WRITTEN", "NEWEST", "BLOCKED BY")
	for _, k := range f.GetFormats() {
		row(w, k.GetKind(), fmt.Sprint(k.GetWritten()), fmt.Sprint(k.GetNewest()), clip(strings.Join(k.GetBlockedBy(), ", "), 56))
	}
	row(w, "")
	row(w, "PROCESS", "ROLE", "RELEASE")
	for _, r := range f.GetReaders() {
		row(w, r.GetProcess(), r.GetRole(), clip(r.GetRelease(), 50))
	}
}
