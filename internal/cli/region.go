package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func (a *app) regionCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "region", Short: "Look at other regions, move away from one, take a lost one over",
		Example: "  lifeboat region status\n  lifeboat region move east --to west\n  lifeboat region takeover east",
	}
	c.AddCommand(a.regionStatus(), a.regionAdmit(), a.regionTakeover(), a.regionTakeovers(), a.regionForget(), a.regionMove(), a.regionMoves())
	return c
}

func (a *app) regionStatus() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "List the other regions as this one sees them", Args: args(),
		Long: `List the other regions as a control process of this one sees them.

STATE is linked; new, which does not last; unreachable; forgotten, until another
incarnation of it is admitted; or refused: then an incarnation of the region answers
that is neither the one that was met first nor one that was admitted. CLOCK is how far
the clock of the other region is ahead, exact to half a round trip.

WAITING counts the records of which it lacks a mutation that was made here, REFUSED
those of them that it has refused; LAG is how long ago the oldest one was. QUEUE is
open, paused, forgotten, or resynchronising, while it is compared as a whole. SCHEMA is the
highest version of the replication schema that it reads.`,
		Example: "  lifeboat region status\n  lifeboat region status -o json",
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			answer, err := cl.ListPeers(c.Context(), &lifeboatv1.ListPeersRequest{})
			if err != nil {
				return err
			}
			return a.show(answer, func(w io.Writer) { peerRows(w, answer) })
		},
	}
}

func peerRows(w io.Writer, answer *lifeboatv1.ListPeersResponse) {
	row(w, "REGION", "STATE", "SINCE", "RTT", "CLOCK", "INCARNATION", "RELEASE")
	row(w, clip(answer.GetRegion(), 16), "this region", "-", "-", "-", clip(answer.GetIncarnation(), 9), "-")
	for _, p := range answer.GetPeers() {
		rtt, clock := "-", "-"
		if p.GetReachable() {
			rtt = milliseconds(p.GetRoundTripSeconds())
			clock = fmt.Sprintf("%+.1f ms", 1000*p.GetClockDifferenceSeconds())
		}
		row(w, clip(p.GetRegion(), 16), peerState(p), at(p.GetSince()), rtt, clock, or(clip(p.GetIncarnation(), 9), "-"), or(clip(p.GetRelease(), 12), "-"))
	}
	row(w, "")
	row(w, "REGION", "WAITING", "REFUSED", "LAG", "QUEUE", "LAST SEEN", "SCHEMA")
	for _, p := range answer.GetPeers() {
		schema := "-"
		if p.GetReplicationSchema() > 0 {
			schema = strconv.FormatUint(uint64(p.GetReplicationSchema()), 10)
		}
		row(w, clip(p.GetRegion(), 16), strconv.FormatUint(p.GetWaiting(), 10), strconv.FormatUint(p.GetRefused(), 10),
			fmt.Sprintf("%.1f s", p.GetLagSeconds()), strings.ToLower(p.GetQueueState()), at(p.GetLastSeenAt()), schema)
	}
	for _, p := range answer.GetPeers() {
		switch peerState(p) {
		case stateForgotten:
			row(w, "")
			if p.GetReachable() && !slices.Contains(p.GetForgottenIncarnations(), p.GetIncarnation()) {
				row(w, fmt.Sprintf("%s was forgotten, and another incarnation answers. See: lifeboat region admit --help", p.GetRegion()))
			} else {
				row(w, p.GetRegion()+" was forgotten at "+at(p.GetForgottenAt())+"; it is never accepted again")
			}
		case stateUnreachable:
			row(w, "")
			row(w, p.GetRegion()+" does not answer: "+clip(p.GetError(), 80))
		case stateRefused:
			row(w, "")
			row(w, fmt.Sprintf("%s shows incarnation %s;", p.GetRegion(), p.GetIncarnation()))
			row(w, fmt.Sprintf("admitted is %s. See: lifeboat region admit --help", p.GetPinnedIncarnation()))
		}
	}
}

// States of a link.
const (
	stateLinked      = "linked"
	stateNew         = "new"
	stateUnreachable = "unreachable"
	stateRefused     = "refused"
	stateForgotten   = "forgotten"
	stateUnknown     = "unknown"
)

func peerState(p *lifeboatv1.Peer) string {
	switch {
	case p.GetForgottenAt() != nil:
		return stateForgotten
	case p.GetSince() == nil:
		return stateUnknown
	case !p.GetReachable():
		return stateUnreachable
	case p.GetIncarnation() == "" || p.GetPinnedIncarnation() == "":
		return stateNew
	case p.GetIncarnation() != p.GetPinnedIncarnation():
		return stateRefused
	}
	return stateLinked
}

func milliseconds(seconds float64) string {
	return fmt.Sprintf("%.1f ms", seconds*float64(time.Second/time.Millisecond))
}

func (a *app) regionAdmit() *cobra.Command {
	var yes, older bool
	var incarnation string
	c := &cobra.Command{
		Use: "admit REGION", Short: "Accept another life of a region, such as a restored one", Args: args("REGION"),
		Long: `A region accepts the first incarnation of another one that it meets, and no other
one until an operator admits it: a region that was restored from a backup, or made
anew, is another one; so is a copy of it that somebody made. Until then nothing is
sent to it and nothing is taken from it.

Admit an incarnation only if you know why it is another one. What the one before had
sent stays. One that was restored from so old a backup that it may hold records
which were deleted since, and of which nothing is remembered here any more, is
refused: they would come back. --older-backup admits it all the same.

In the place of a region that was forgotten (lifeboat region forget) only one that was
made anew, empty, is admitted; it is then sent everything that is meant for it.`,
		Example:           "  lifeboat region status\n  lifeboat region admit west\n  lifeboat region admit west --incarnation 4f0c… --yes",
		ValidArgsFunction: a.completePeers,
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			region := args[0]
			if incarnation == "" {
				if incarnation, err = seenIncarnation(c.Context(), cl, region); err != nil {
					return err
				}
			}
			if err := a.confirm(yes, "admitting incarnation "+incarnation+" of "+region, region); err != nil {
				return err
			}
			answer, err := cl.AdmitPeer(c.Context(), &lifeboatv1.AdmitPeerRequest{Region: region, Incarnation: incarnation, OlderBackup: older})
			if err != nil {
				return err
			}
			return a.show(answer, func(w io.Writer) { row(w, "admitted incarnation "+incarnation+" of "+region) })
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.Flags().BoolVar(&older, "older-backup", false, "admit it although deleted records may come back with it")
	c.Flags().StringVar(&incarnation, "incarnation", "", "the incarnation to admit (default: the one that answers now)")
	return c
}

// seenIncarnation returns the incarnation of another region that answers now.
func seenIncarnation(ctx context.Context, cl *client.Client, region string) (string, error) {
	answer, err := cl.ListPeers(ctx, &lifeboatv1.ListPeersRequest{})
	if err != nil {
		return "", err
	}
	for _, p := range answer.GetPeers() {
		switch {
		case p.GetRegion() != region:
			continue
		case p.GetIncarnation() == "":
			return "", secret.Errorf(secret.CodeUnavailable, "region %s did not answer yet", region).WithHint("see: lifeboat region status")
		}
		return p.GetIncarnation(), nil
	}
	return "", secret.Errorf(secret.CodeNotFound, "region %s is not a peer of this one", region).
		WithHint("peers are named in the configuration of control processes")
}
