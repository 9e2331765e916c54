package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
)

// movePlan are the flags of a region's move.
type movePlan struct {
	to                                 string
	abort, leaveBehind, dryRun, noWait bool
}

func (a *app) regionMove() *cobra.Command {
	var p movePlan
	c := &cobra.Command{
		Use: "move REGION", Short: "Move the home of everything in a region to another region", Args: args("REGION"),
		Long: `Move everything whose home is REGION to another region, as planned, so that nothing
is lost: before maintenance, or back after it. Accounts go first, each with who may
do what in it, then vaults, then secrets. Each record can be changed in REGION until
it is handed over, and in the new home as soon as that has arrived there; mutations
in between are held and passed on. REGION becomes a target of what has moved.

The new home must be a target of each vault. What cannot be moved is named before
anything starts; --leave-behind moves the rest.

The command is for operators of REGION, and is asked of it. It follows the move
until that has ended; interrupting it, or --no-wait, leaves the move to the region.
It pauses by itself while the new home does not receive, and ends if one of the two
is taken over. To move back, swap the names.`,
		Example: "  lifeboat region move east --to west --dry-run\n  lifeboat region move east --to west\n" +
			"  lifeboat region moves\n  lifeboat region move east --abort",
		ValidArgsFunction: a.completeRegions,
		RunE: func(c *cobra.Command, args []string) error {
			if p.abort == (p.to != "") {
				return usagef("either --to or --abort must be given")
			}
			cl, err := a.connect()
			if err != nil {
				return err
			}
			return a.moveRegion(c.Context(), cl, args[0], p)
		},
	}
	f := c.Flags()
	f.StringVar(&p.to, "to", "", "region to move to")
	f.BoolVar(&p.dryRun, "dry-run", false, "only say what would move, and what stands in its way")
	f.BoolVar(&p.leaveBehind, "leave-behind", false, "move what can be moved, and leave the rest")
	f.BoolVar(&p.noWait, "no-wait", false, "do not wait until everything has moved")
	f.BoolVar(&p.abort, "abort", false, "end the move where it is")
	a.completeFlagPeers(c, "to")
	return c
}

func (a *app) moveRegion(ctx context.Context, cl *client.Client, region string, p movePlan) error {
	if p.abort {
		answer, err := cl.AbortMove(ctx, &lifeboatv1.AbortMoveRequest{Region: region})
		if err != nil {
			return err
		}
		return a.show(answer, func(w io.Writer) { row(w, "the move of "+region+" ends; what has moved stays moved") })
	}
	answer, err := cl.MoveRegion(ctx, &lifeboatv1.MoveRegionRequest{Region: region, To: p.to, LeaveBehind: p.leaveBehind, DryRun: p.dryRun})
	if err != nil {
		return err
	}
	if p.dryRun {
		return a.show(answer, func(w io.Writer) { moveScopeRows(w, answer, p.to) })
	}
	if !p.noWait {
		if answer.Move, err = a.followMove(ctx, cl, region, answer.GetMove()); err != nil {
			return err
		}
	}
	if err := a.show(answer, func(w io.Writer) { moveRows(w, answer.GetMove()) }); err != nil {
		return err
	}
	return howMoveEnded(answer.GetMove())
}

// howMoveEnded returns an error for a move that ended before all had moved.
func howMoveEnded(m *lifeboatv1.Move) error {
	switch m.GetState() {
	case "ABORTED":
		return fmt.Errorf("the move was aborted; what has moved stays moved")
	case "PRE_EMPTED":
		return withHint(fmt.Errorf("the move ended because of a takeover"), "see: lifeboat region takeovers")
	}
	return nil
}

func moveScopeRows(w io.Writer, answer *lifeboatv1.MoveRegionResponse, to string) {
	s := answer.GetScope()
	row(w, "would move to "+to, fmt.Sprintf("%d secrets, %d vaults, %d accounts with %d identities", s.GetSecrets(), s.GetVaults(), s.GetAccounts(), s.GetIdentities()))
	row(w, "cannot be moved", strconv.FormatUint(s.GetUnmovable(), 10))
	row(w, "would be refused", or(clip(answer.GetBlocked(), 70), "no"))
	if s.GetUnmovable() == 0 {
		return
	}
	row(w, "")
	row(w, "KIND", "NAME", "STAYS BECAUSE")
	for _, u := range s.GetFirstUnmovable() {
		row(w, strings.ToLower(u.GetKind()), clip(u.GetName(), 32), clip(u.GetReason(), 50))
	}
	if more := s.GetUnmovable() - uint64(len(s.GetFirstUnmovable())); more > 0 {
		row(w, fmt.Sprintf("and %d more", more))
	}
}

func moveRows(w io.Writer, m *lifeboatv1.Move) {
	row(w, "to", m.GetTo())
	row(w, "state", strings.ToLower(m.GetState()))
	row(w, "moved", movedOf(m)+" records")
	if m.GetRefused() > 0 {
		row(w, "refused", fmt.Sprintf("%d records; see: lifeboat replication failed %s", m.GetRefused(), m.GetTo()))
	}
	row(w, "started", at(m.GetStartedAt()))
	row(w, "ended", at(m.GetEndedAt()))
	if m.GetWaiting() != "" {
		row(w, "waits because", clip(m.GetWaiting(), 70))
	}
}

func movedOf(m *lifeboatv1.Move) string {
	moved := strconv.FormatUint(m.GetMoved(), 10)
	if m.GetTotal() == 0 {
		return moved
	}
	return moved + " of " + strconv.FormatUint(m.GetTotal(), 10)
}

// followedMove is a Move as untilDone follows it.
type followedMove struct{ *lifeboatv1.Move }

// GetLookedAt implements rotation.
func (m followedMove) GetLookedAt() uint64 { return m.GetMoved() }

// GetFinishedAt implements rotation.
func (m followedMove) GetFinishedAt() *timestamppb.Timestamp { return m.GetEndedAt() }

// followMove waits until the move of a region has ended and shows, on a terminal, how
// far it is. Why it does not go on is said once each time.
func (a *app) followMove(ctx context.Context, cl *client.Client, region string, began *lifeboatv1.Move) (*lifeboatv1.Move, error) {
	waiting := ""
	last, err := untilDone(ctx, a, "moving to "+began.GetTo(), followedMove{began}, func() (followedMove, error) {
		answer, err := cl.ListMoves(ctx, &lifeboatv1.ListMovesRequest{Region: region})
		for _, m := range answer.GetMoves() {
			if m.GetKind() != "REGION" {
				continue
			}
			if m.GetWaiting() != waiting && m.GetWaiting() != "" {
				a.note("the move waits: %s", m.GetWaiting())
			}
			waiting = m.GetWaiting()
			return followedMove{m}, err
		}
		return followedMove{began}, err
	}, func(m followedMove) bool { return !m.GetStartedAt().AsTime().Before(began.GetStartedAt().AsTime()) })
	return last.Move, err
}

func (a *app) regionMoves() *cobra.Command {
	return &cobra.Command{
		Use: "moves", Short: "List the planned moves out of this region", Args: args(),
		Long: `List the planned moves out of this region that are under way, and how the last move
of the whole region ended.`,
		Example: "  lifeboat region moves\n  lifeboat region move east --to west\n  lifeboat vault move payments --to west",
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			answer, err := cl.ListMoves(c.Context(), &lifeboatv1.ListMovesRequest{})
			if err != nil {
				return err
			}
			return a.show(answer, func(w io.Writer) {
				row(w, "KIND", "ID", "TO", "STATE", "MOVED", "SINCE")
				for _, m := range answer.GetMoves() {
					row(w, m.GetKind(), m.GetId(), clip(m.GetTo(), 16), strings.ToLower(m.GetState()), movedOf(m), at(m.GetStartedAt()))
				}
				for _, m := range answer.GetMoves() {
					if m.GetWaiting() != "" {
						row(w, "")
						row(w, m.GetId()+" waits: "+clip(m.GetWaiting(), 60))
					}
				}
			})
		},
	}
}

func (a *app) vaultMove() *cobra.Command {
	var to string
	var abort bool
	c := &cobra.Command{
		Use: "move NAME", Short: "Move the home of a vault and its secrets to another region", Args: args("NAME"), ValidArgsFunction: a.completeVault,
		Long: `Move the home of a vault to a region that it is replicated to, with every secret of
it whose home is this region: as planned, so that nothing is lost. It goes on in the
background. Each record can be changed here until it moves, and there as soon as
its move has arrived. This region becomes a target of the vault.`,
		Example: "  lifeboat vault move payments --to west\n  lifeboat region moves\n  lifeboat vault move payments --abort",
		RunE: func(c *cobra.Command, args []string) error {
			if abort == (to != "") {
				return usagef("either --to or --abort must be given")
			}
			cl, err := a.connect()
			if err != nil {
				return err
			}
			if abort {
				answer, err := cl.AbortMove(c.Context(), &lifeboatv1.AbortMoveRequest{Vault: args[0]})
				if err != nil {
					return err
				}
				return a.show(answer, func(w io.Writer) { row(w, "the move of "+args[0]+" has ended; what has moved stays moved") })
			}
			answer, err := cl.MoveVault(c.Context(), &lifeboatv1.MoveVaultRequest{Vault: args[0], To: to})
			if err != nil {
				return err
			}
			return a.show(answer, func(w io.Writer) { row(w, "moving "+args[0]+" to "+to+"; see: lifeboat region moves") })
		},
	}
	c.Flags().StringVar(&to, "to", "", "region to move it to; must be a target of the vault")
	c.Flags().BoolVar(&abort, "abort", false, "end the move where it is")
	a.completeFlagPeers(c, "to")
	return c
}
