package cli

import (
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
)

func (a *app) conflictCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "conflict", Aliases: []string{"conflicts"}, Short: "Settle what a region held that another history has overtaken",
		Long: `A region that was taken over may have accepted mutations that nobody else had. When
it returns, the history of the region that took it over counts; what lies past the
point where the two part is kept in the region that held it, as a conflict: sealed,
with every version, and who made it when. The commands are about the region that
answers; name another one with --region.`,
		Example: "  lifeboat conflict list --vault payments\n  lifeboat conflict show 8c0f1d2e3a4b5c6d\n  lifeboat conflict adopt 8c0f1d2e3a4b5c6d",
	}
	c.PersistentFlags().StringVar(&a.flags.vault, "vault", "", "vault: its name, ACCOUNT/NAME, or its ID")
	_ = c.RegisterFlagCompletionFunc("vault", a.completeVaults)
	c.AddCommand(a.conflictList(), a.conflictShow(), a.conflictAdopt(), a.conflictDiscard())
	return c
}

func (a *app) conflictList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the conflicts of a vault's secrets in this region", Args: args(),
		Example: "  lifeboat conflict list --vault payments\n  lifeboat conflict list --vault payments -o json",
		RunE: func(c *cobra.Command, _ []string) error {
			cl, vault, err := a.inVault()
			if err != nil {
				return err
			}
			answer, err := cl.ListConflicts(c.Context(), &lifeboatv1.ListConflictsRequest{Vault: vault})
			if err != nil {
				return err
			}
			return a.show(answer, func(w io.Writer) {
				row(w, "ID", "SECRET", "HELD", "WON", "FROM", "VERSIONS", "SINCE")
				for _, c := range answer.GetConflicts() {
					row(w, c.GetId(), clip(c.GetName(), 24), orderText(c.GetOrder()), orderText(c.GetCollidesWith()), clip(c.GetFromRegion(), 12),
						strconv.Itoa(len(c.GetVersions())), at(c.GetAt()))
				}
			})
		},
	}
}

func orderText(o *lifeboatv1.Order) string {
	return strconv.FormatUint(o.GetEpochCounter(), 10) + ":" + o.GetEpochRegion() + ":" + strconv.FormatUint(o.GetSeq(), 10)
}

func (a *app) conflictShow() *cobra.Command {
	var reveal bool
	c := &cobra.Command{
		Use: "show ID", Short: "Show a conflict and the versions that it keeps", Args: args("ID"),
		Example: "  lifeboat conflict show 8c0f1d2e3a4b5c6d\n  lifeboat conflict show 8c0f1d2e3a4b5c6d --reveal",
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			answer, err := cl.GetConflict(c.Context(), &lifeboatv1.GetConflictRequest{Id: args[0]})
			if err != nil {
				return err
			}
			if !reveal {
				for _, v := range answer.GetConflict().GetVersions() {
					v.Value = nil
				}
			}
			return a.show(answer, func(w io.Writer) { conflictRows(w, answer.GetConflict(), reveal) })
		},
	}
	c.Flags().BoolVar(&reveal, "reveal", false, "show the values too")
	return c
}

func conflictRows(w io.Writer, c *lifeboatv1.Conflict, reveal bool) {
	row(w, "secret", c.GetName())
	row(w, "secret id", c.GetSecretId())
	row(w, "held", orderText(c.GetOrder()))
	row(w, "won", orderText(c.GetCollidesWith())+" of "+c.GetFromRegion())
	row(w, "since", at(c.GetAt()))
	row(w, "")
	row(w, "VERSION", "NUMBER", "MADE", "BY", "STAGES")
	for _, v := range c.GetVersions() {
		row(w, clip(v.GetId(), 32), strconv.FormatUint(v.GetNumber(), 10), at(v.GetCreatedAt()), clip(v.GetCreatedBy(), 26), or(strings.Join(v.GetStages(), ","), "-"))
		if reveal {
			row(w, "  "+string(v.GetValue()))
		}
	}
}

func (a *app) conflictAdopt() *cobra.Command {
	c := &cobra.Command{
		Use: "adopt ID", Short: "Put the values of a conflict as new versions at the secret's home", Args: args("ID"),
		Long: `Put the values that a conflict keeps as new versions of the secret, oldest first, so
that the newest of them becomes current, and discard the conflict. They are put where
the secret has its home now, which takes a client of several regions
(lifeboat help environment). It may be repeated if it is interrupted: what was put is
not put again.`,
		Example: "  lifeboat conflict show 8c0f1d2e3a4b5c6d\n  lifeboat conflict adopt 8c0f1d2e3a4b5c6d",
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			answer, err := cl.GetConflict(c.Context(), &lifeboatv1.GetConflictRequest{Id: args[0]})
			if err != nil {
				return err
			}
			if _, err := cl.AdoptConflict(c.Context(), answer.GetConflict()); err != nil {
				return err
			}
			discarded, err := cl.DiscardConflict(c.Context(), &lifeboatv1.DiscardConflictRequest{Id: args[0]})
			if err != nil {
				return err
			}
			return a.show(discarded, func(w io.Writer) {
				row(w, "put "+strconv.Itoa(len(answer.GetConflict().GetVersions()))+" versions of "+answer.GetConflict().GetName())
			})
		},
	}
	return c
}

func (a *app) conflictDiscard() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "discard ID", Short: "Delete a conflict with the values that it keeps", Args: args("ID"),
		Example: "  lifeboat conflict discard 8c0f1d2e3a4b5c6d --yes",
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			if err := a.confirm(yes, "discarding the conflict "+args[0], args[0]); err != nil {
				return err
			}
			answer, err := cl.DiscardConflict(c.Context(), &lifeboatv1.DiscardConflictRequest{Id: args[0]})
			if err != nil {
				return err
			}
			return a.show(answer, func(w io.Writer) { row(w, "discarded "+args[0]) })
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}
