package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
)

func (a *app) regionTakeover() *cobra.Command {
	var unfenced, yes, dryRun bool
	var yesUnfenced string
	c := &cobra.Command{
		Use: "takeover REGION", Short: "Go on in this region with what is homed in a lost one", Args: args("REGION"),
		Long: `Make this region the home of everything whose home is the lost REGION and of which
this one holds a replica: secrets, vaults, accounts and who may do what in them. One
write does it, whatever their number; mutations are accepted here from then on.

What the lost region had accepted and not sent yet is not here. If another survivor
holds it, it is fetched before a record changes here: this region compares its copies
with theirs, and asks for what differs. Otherwise it is kept where it
is: when the region returns it becomes a replica by itself, and lists what nobody had
as conflicts (lifeboat conflict list).

A region that is reachable is refused: move its vaults instead (lifeboat vault move).
With --accept-unfenced it is taken over all the same; what it goes on to accept until
it has learnt of this becomes conflicts too.`,
		Example:           "  lifeboat region takeover east --dry-run\n  lifeboat region takeover east\n  lifeboat region takeovers",
		ValidArgsFunction: a.completePeers,
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			if dryRun {
				return a.takeoverDryRun(c.Context(), cl, args[0], unfenced || yesUnfenced != "")
			}
			what := "taking over " + args[0]
			if unfenced = unfenced || yesUnfenced != ""; unfenced {
				what += ", even if it still accepts mutations,"
				yes = yesUnfenced == args[0]
			}
			err = a.confirm(yes, what, args[0])
			if usage, ok := errors.AsType[*usageError](err); ok && unfenced && usage.hint != "" {
				usage.hint = "add --yes-unfenced " + args[0] + " to do it without being asked"
			}
			if err != nil {
				return err
			}
			answer, err := cl.TakeOverRegion(c.Context(), &lifeboatv1.TakeOverRegionRequest{Region: args[0], AcceptUnfenced: unfenced})
			if err != nil {
				return err
			}
			return a.show(answer, func(w io.Writer) {
				row(w, "taken over "+args[0]+"; mutations of what is replicated here are accepted here now")
			})
		},
	}
	c.Flags().BoolVar(&dryRun, "dry-run", false, "only say what it would do, and what stands in its way")
	c.Flags().BoolVar(&yes, "yes", false, "do not ask, unless --accept-unfenced is given")
	c.Flags().StringVar(&yesUnfenced, "yes-unfenced", "", "name of the region, so that --accept-unfenced does not ask")
	c.Flags().BoolVar(&unfenced, "accept-unfenced", false, "take it over although it is reachable; asks for its name to be typed")
	return c
}

func (a *app) takeoverDryRun(ctx context.Context, cl *client.Client, region string, unfenced bool) error {
	answer, err := cl.TakeOverRegion(ctx, &lifeboatv1.TakeOverRegionRequest{Region: region, AcceptUnfenced: unfenced, DryRun: true})
	if err != nil {
		return err
	}
	return a.show(answer, func(w io.Writer) {
		s := answer.GetScope()
		row(w, "would move here", fmt.Sprintf("%d secrets, %d vaults, %d accounts", s.GetSecrets(), s.GetVaults(), s.GetAccounts()))
		row(w, "of other vaults", fmt.Sprintf("single secrets of %d vaults, which themselves stay", s.GetPartialVaults()))
		row(w, region+" answered last", at(s.GetLastSeenAt()))
		row(w, "compared with", or(strings.Join(s.GetSurvivors(), ", "), "no region"))
		row(w, "does not answer", or(strings.Join(s.GetSilent(), ", "), "-"))
		for _, survivor := range s.GetCompared() {
			survivorRows(w, survivor)
		}
		row(w, "would be refused", or(clip(answer.GetBlocked(), 70), "no"))
		row(w, "lost for now", "what "+region+" accepted and no region that answers has")
	})
}

// survivorRows show how a survivor differs from this region.
func survivorRows(w io.Writer, s *lifeboatv1.SurvivorScope) {
	region := clip(s.GetRegion(), 12)
	row(w, "newer in "+region, fmt.Sprintf("%d of %d secrets, %d other records: fetched", s.GetNewer(), s.GetCompared(), s.GetOtherRecords()))
	row(w, "only in "+region, fmt.Sprintf("%d secrets that are meant for this region: fetched", s.GetMissing()))
	row(w, "stranded in "+region, fmt.Sprintf("%d secrets that are not meant for this region", s.GetStranded()))
	row(w, "behind in "+region, fmt.Sprintf("%d secrets that it lacks or holds older", s.GetBehind()))
	for _, v := range s.GetVaults() {
		parts := []string{
			differing(v.GetNewer(), "newer", v.GetNewerExamples()), differing(v.GetMissing(), "only there", v.GetMissingExamples()),
			differing(v.GetStranded(), "stranded", nil), differing(v.GetBehind(), "behind", nil),
		}
		parts = slices.DeleteFunc(parts, func(p string) bool { return p == "" })
		row(w, "  "+clip(or(v.GetName(), v.GetVault()), 26), clip(strings.Join(parts, ", "), 68))
	}
	for _, u := range s.GetUncompared() {
		what := "nothing"
		if u.GetCount() > 0 {
			what = fmt.Sprintf("without %d vaults", u.GetCount())
		}
		row(w, "compared with "+region, clip(what+": "+u.GetReason(), 68))
	}
}

func differing(n uint64, what string, examples []string) string {
	switch {
	case n == 0:
		return ""
	case len(examples) == 0:
		return fmt.Sprintf("%d %s", n, what)
	}
	return fmt.Sprintf("%d %s (%s)", n, what, strings.Join(examples, ", "))
}

func (a *app) regionTakeovers() *cobra.Command {
	return &cobra.Command{
		Use: "takeovers", Short: "List regions that were taken over and have not caught up since", Args: args(),
		Long: `List the regions that this one has taken over, and those that have taken this one
over. An entry ends by itself when the region that was taken over is back and has
received everything. MOVED counts the records that have moved to this region for
good; mutations need not wait for that. Below them are the conflicts that this region
keeps, by account (lifeboat conflict list).`,
		Example: "  lifeboat region takeovers\n  lifeboat region takeovers -o json",
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			answer, err := cl.ListTakeovers(c.Context(), &lifeboatv1.ListTakeoversRequest{})
			if err != nil {
				return err
			}
			return a.show(answer, func(w io.Writer) {
				row(w, "REGION", "TAKEN OVER", "MOVED", "ALL MOVED", "UNFENCED")
				for _, t := range answer.GetTakeovers() {
					row(w, clip(t.GetRegion(), 32), at(t.GetAt()), strconv.FormatUint(t.GetMoved(), 10), at(t.GetMovedAt()), strconv.FormatBool(t.GetUnfenced()))
				}
				for _, t := range answer.GetTakeovers() {
					if n := len(t.GetHeldUpRecords()); n > 0 {
						row(w, "")
						row(w, fmt.Sprintf("%s is back and refuses %d records, of which this region stays the home; see: lifeboat replication failed %s", t.GetRegion(), n, t.GetRegion()))
					}
				}
				for _, region := range answer.GetSupersededBy() {
					row(w, "")
					row(w, "this region was taken over by "+region+"; what "+region+" holds is changed there")
				}
				conflictCounts(w, answer)
			})
		},
	}
}

// conflictCounts show how many conflicts a region keeps, and of whom.
func conflictCounts(w io.Writer, t *lifeboatv1.ListTakeoversResponse) {
	if t.GetConflicts() == 0 {
		return
	}
	row(w, "")
	row(w, fmt.Sprintf("this region keeps %d conflicts:", t.GetConflicts()))
	for _, n := range t.GetFirstConflicts() {
		row(w, fmt.Sprintf("  %s: %d of secrets, %d of other records", clip(or(n.GetAccount(), n.GetAccountId()), 40), n.GetOfSecrets(), n.GetConflicts()-n.GetOfSecrets()))
	}
}
