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
point where the two part is kept in the region that held it, as a conflict: of secrets
sealed, with every version, and who made it when; of vaults, the account, and who may do
what in it, the state that was held. The commands are about the region that answers;
name another one with --region.`,
		Example: "  lifeboat conflict list --vault payments\n  lifeboat conflict list --account shop\n  lifeboat conflict show 8c0f1d2e3a4b5c6d",
	}
	c.PersistentFlags().StringVar(&a.flags.vault, "vault", "", "vault: its name, ACCOUNT/NAME, or its ID")
	_ = c.RegisterFlagCompletionFunc("vault", a.completeVaults)
	c.AddCommand(a.conflictList(), a.conflictShow(), a.conflictAdopt(), a.conflictDiscard())
	return c
}

func (a *app) conflictList() *cobra.Command {
	var account string
	c := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the conflicts of a vault, or of an account, in this region", Args: args(),
		Long: `List the conflicts of a vault and its secrets; with --account, or if no vault is given,
those of the account: its principals, credentials, policies, trust bundles, bindings,
issuers and vaults, and of secrets in vaults that this region has given up. An operator
can name an account that the region has given up, by its ID.`,
		Example: "  lifeboat conflict list --vault payments\n  lifeboat conflict list --account shop -o json",
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			request := &lifeboatv1.ListConflictsRequest{Vault: a.client.settings.Vault, Account: account}
			if c.Flags().Changed("account") {
				if c.Flags().Changed("vault") {
					return usagef("either --vault or --account")
				}
				request.Vault = ""
			}
			answer, err := cl.ListConflicts(c.Context(), request)
			if err != nil {
				return err
			}
			return a.show(answer, func(w io.Writer) {
				row(w, "ID", "KIND", "NAME", "KEEPS", "WON FROM", "SINCE")
				for _, c := range answer.GetConflicts() {
					row(w, c.GetId(), conflictKind(c), clip(c.GetName(), 18), conflictKeeps(c), clip(c.GetFromRegion(), 12), at(c.GetAt()))
				}
			})
		},
	}
	c.Flags().StringVar(&account, "account", "", "instead of a vault the account, by its name or ID; \"\" for yours")
	return c
}

// conflictKind names what a conflict is of as the commands do.
func conflictKind(c *lifeboatv1.Conflict) string {
	return strings.ReplaceAll(strings.ToLower(c.GetKind()), "_", "-")
}

// conflictKeeps says what a conflict keeps.
func conflictKeeps(c *lifeboatv1.Conflict) string {
	switch n := len(c.GetVersions()); {
	case c.GetDeleted():
		return "deletion"
	case n == 1:
		return "1 version"
	case n > 1:
		return strconv.Itoa(n) + " versions"
	}
	return "state"
}

func orderText(o *lifeboatv1.Order) string {
	return strconv.FormatUint(o.GetEpochCounter(), 10) + ":" + o.GetEpochRegion() + ":" + strconv.FormatUint(o.GetSeq(), 10)
}

func (a *app) conflictShow() *cobra.Command {
	var reveal bool
	c := &cobra.Command{
		Use: "show ID", Short: "Show a conflict and what it keeps", Args: args("ID"),
		Long: `Show a conflict: of a secret the versions that it keeps, of anything else the state that
was held beside the one that this region has now.`,
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
	row(w, conflictKind(c), c.GetName())
	if id := c.GetRecordId(); id != "" {
		row(w, conflictKind(c)+" id", id)
	}
	row(w, "keeps", conflictKeeps(c))
	row(w, "held", orderText(c.GetOrder()))
	row(w, "won", orderText(c.GetCollidesWith())+" of "+c.GetFromRegion())
	row(w, "since", at(c.GetAt()))
	if c.GetSecretId() == "" {
		stateRows(w, c)
		return
	}
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
		Use: "adopt ID", Short: "Make what a conflict keeps the present state, at the record's home", Args: args("ID"),
		Long: `Make what a conflict keeps the present state by ordinary mutations where the record has
its home now, and discard the conflict. It takes a client of several regions
(lifeboat help environment), also with --region, which says whose conflict it is. It may
be repeated if it is interrupted: what was done is not done
again.

  secret      its values become new versions, oldest first, the newest current
  policy      gets the text and the description that were held
  principal   gets the roles that were held, or is disabled; it is never enabled
  vault       gets the description, tags and retention that were held; not the targets
  credential  is revoked, if that was held; it never comes back

Anything else, and what was deleted, is refused with what to do instead. A policy or a
vault that has changed since this region heard of it last is refused: show the conflict
again.`,
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
			// --region says whose conflict it is; the home may be another region.
			if _, err := a.client.all.AdoptConflict(c.Context(), answer.GetConflict()); err != nil {
				return err
			}
			discarded, err := cl.DiscardConflict(c.Context(), &lifeboatv1.DiscardConflictRequest{Id: args[0]})
			if err != nil {
				return err
			}
			return a.show(discarded, func(w io.Writer) {
				row(w, adopted(answer.GetConflict()))
			})
		},
	}
	return c
}

func adopted(c *lifeboatv1.Conflict) string {
	if c.GetSecretId() != "" {
		return "put " + strconv.Itoa(len(c.GetVersions())) + " versions of " + c.GetName()
	}
	return "adopted the " + conflictKind(c) + " " + c.GetName()
}

func (a *app) conflictDiscard() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "discard ID", Short: "Delete a conflict with what it keeps", Args: args("ID"),
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
