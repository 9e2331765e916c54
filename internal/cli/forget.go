package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
)

func (a *app) regionForget() *cobra.Command {
	var yes, acceptLoss, dryRun bool
	c := &cobra.Command{
		Use: "forget REGION", Short: "Never accept a region again that is gone for good", Args: args("REGION"),
		Long: `Have this region never accept the known incarnations of REGION again, nor one that is
restored from a backup of them, and end what waits here for its return: the takeover
of it, what is queued for it, its part in forgetting deleted records. There is no way
back. Run it in each region that is left.

A region that is reachable is refused. So is one that is the home of records which this
region holds: take it over first, here or in another region, and wait until those have
moved. --accept-loss leaves them as they are: they can be read, and not be changed.

It stays a target of the vaults that are replicated there. When it was made anew, empty,
under the same name, admit it (lifeboat region admit): it is sent everything that is
meant for it.`,
		Example:           "  lifeboat region forget east --dry-run\n  lifeboat region forget east\n  lifeboat region admit east",
		ValidArgsFunction: a.completePeers,
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			request := &lifeboatv1.ForgetRegionRequest{Region: args[0], AcceptLoss: acceptLoss, DryRun: dryRun}
			if !dryRun {
				if err := a.confirm(yes, forgetting(request), args[0]); err != nil {
					return err
				}
			}
			answer, err := cl.ForgetRegion(c.Context(), request)
			if err != nil {
				return err
			}
			return a.show(answer, func(w io.Writer) { forgetRows(w, request, answer) })
		},
	}
	c.Flags().BoolVar(&dryRun, "dry-run", false, "only say what it would do, and what stands in its way")
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.Flags().BoolVar(&acceptLoss, "accept-loss", false, "leave the records whose home it is as they are, for good")
	return c
}

// forgetting is what is asked about.
func forgetting(request *lifeboatv1.ForgetRegionRequest) string {
	what := "forgetting " + request.GetRegion() + " for good"
	if request.GetAcceptLoss() {
		what += ", and losing what can be changed there alone,"
	}
	return what
}

func forgetRows(w io.Writer, request *lifeboatv1.ForgetRegionRequest, answer *lifeboatv1.ForgetRegionResponse) {
	region, s := request.GetRegion(), answer.GetScope()
	if !request.GetDryRun() {
		row(w, fmt.Sprintf("forgot %s (incarnations %s)", region, strings.Join(answer.GetIncarnations(), ", ")))
		row(w, "run it in each other region that is left; a new "+region+" is admitted with: lifeboat region admit "+region)
	} else {
		row(w, region+" answered last", at(s.GetLastSeenAt()))
		row(w, "waits to be sent there", fmt.Sprintf("%d records", s.GetWaiting()))
		row(w, "takeover of it here", map[bool]string{true: "would end", false: "none"}[s.GetTakenOver()])
		row(w, "would be refused", or(clip(answer.GetBlocked(), 70), "no"))
	}
	if n := s.GetAccounts() + s.GetIdentities() + s.GetVaults() + s.GetSecrets(); n > 0 {
		row(w, "stay as they are, for good", fmt.Sprintf("%d secrets, %d vaults, %d accounts, %d of those in them", s.GetSecrets(), s.GetVaults(), s.GetAccounts(), s.GetIdentities()))
	}
	for _, one := range s.GetFirstStranded() {
		row(w, "  "+strings.ToLower(one.GetKind()), clip(one.GetName(), 40), one.GetId())
	}
}
