package lifeboattest_test

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

func unreachable(p *lifeboatv1.Peer) bool { return !p.GetReachable() && p.GetError() != "" }

func wait(t testing.TB, r *lifeboattest.Region, peer string, wanted func(*lifeboatv1.Peer) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must(t, r.WaitPeer(ctx, peer, wanted))
}

func TestRegionsSeeEachOtherAndLoseTheirLinks(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	r := lifeboattest.StartRegions(t, lifeboattest.Options{}, "east", "west", "south")
	t.Log("started in", time.Since(begin))
	east, west, south := r.Region("east"), r.Region("west"), r.Region("south")
	for _, from := range r.All() {
		for _, to := range r.All() {
			if from != to {
				wait(t, from, to.Name(), lifeboattest.Linked)
			}
		}
	}
	seen, err := east.Peer(t.Context(), "west")
	must(t, err)
	if seen.GetProcess() != "control-1" || seen.GetRelease() != "test" || seen.GetReplicationSchema() == 0 || seen.GetRoundTripSeconds() <= 0 ||
		seen.GetAdmittedAt() == nil || max(seen.GetClockDifferenceSeconds(), -seen.GetClockDifferenceSeconds()) > 1 {
		t.Errorf("east sees %v", seen)
	}

	// One direction at a time.
	r.Link("east", "west").Cut()
	r.Link("west", "south").Blackhole()
	wait(t, east, "west", unreachable)
	wait(t, west, "south", unreachable)
	wait(t, east, "south", lifeboattest.Linked)
	wait(t, west, "east", lifeboattest.Linked)
	r.Link("east", "west").Heal()
	r.Link("west", "south").Heal()
	r.RoundTrip(60 * time.Millisecond)
	wait(t, west, "south", lifeboattest.Linked)
	for _, peer := range []string{"west", "south"} {
		wait(t, east, peer, func(p *lifeboatv1.Peer) bool { return p.GetReachable() && p.GetRoundTripSeconds() >= 0.06 })
	}

	// All of a region.
	r.Isolate("south")
	wait(t, east, "south", unreachable)
	wait(t, south, "west", unreachable)
	r.Rejoin("south")
	must(t, r.WaitLinked(t.Context()))
	must(t, west.Kill())
	wait(t, east, "west", unreachable)
	must(t, west.Start(t.Context()))
	wait(t, east, "west", lifeboattest.Linked)
	wait(t, west, "east", lifeboattest.Linked)
}

// A region that was made anew, or a clone of one, is another one to its peers.
func TestAnotherLifeOfARegionMustBeAdmitted(t *testing.T) {
	t.Parallel()
	r := lifeboattest.StartRegions(t, lifeboattest.Options{}, "east", "west")
	east, west := r.Region("east"), r.Region("west")
	first, err := east.Peer(t.Context(), "west")
	must(t, err)
	must(t, west.Remake(t.Context()))
	refused := func(p *lifeboatv1.Peer) bool {
		return p.GetReachable() && p.GetIncarnation() != "" && p.GetIncarnation() != first.GetIncarnation() && p.GetPinnedIncarnation() == first.GetIncarnation()
	}
	wait(t, east, "west", refused)
	wait(t, west, "east", lifeboattest.Linked) // it has forgotten whom it knew
	status, err := east.Operator().GetStatus(t.Context(), connect.NewRequest(&lifeboatv1.GetStatusRequest{}))
	must(t, err)
	if !slices.ContainsFunc(status.Msg.GetChecks(), func(c *lifeboatv1.Check) bool {
		return c.GetName() == "peer west" && !c.GetHealthy() && strings.Contains(c.GetDetail(), "is not admitted")
	}) {
		t.Errorf("the checks are %v", status.Msg.GetChecks())
	}
	must(t, east.Control().Restart(t.Context()))
	wait(t, east, "west", refused)
	seen, err := east.Peer(t.Context(), "west")
	must(t, err)
	_, err = east.Operator().AdmitPeer(t.Context(), connect.NewRequest(&lifeboatv1.AdmitPeerRequest{Region: "west", Incarnation: first.GetIncarnation()}))
	if connect.CodeOf(err) != connect.CodeFailedPrecondition {
		t.Errorf("admitting a life that is gone: %v", err)
	}
	_, err = east.Operator().AdmitPeer(t.Context(), connect.NewRequest(&lifeboatv1.AdmitPeerRequest{Region: "west", Incarnation: seen.GetIncarnation()}))
	must(t, err)
	wait(t, east, "west", lifeboattest.Linked)
	lines, err := east.AuditLines()
	must(t, err)
	for _, want := range []string{"PinPeer", "AdmitPeer"} {
		if !slices.ContainsFunc(lines, func(l lifeboattest.AuditLine) bool { return l.Action == want && l.Name == "west" && l.Outcome == "ok" }) {
			t.Errorf("there is no line of %s", want)
		}
	}
}

// Regions of real processes lose and find each other like those in one process,
// also after kill -9.
func TestRegionsOfProcesses(t *testing.T) {
	t.Parallel()
	binary, err := os.Executable()
	must(t, err)
	r := lifeboattest.StartRegionProcesses(t, binary, lifeboattest.ProcessOptions{}, "east", "west")
	token, err := r.Region("east").OperatorToken()
	must(t, err)
	c, err := r.Region("east").Client(r.Region("east").Control(), token)
	must(t, err)
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	await := func(wanted func(*lifeboatv1.Peer) bool) {
		t.Helper()
		for {
			answer, err := c.ListPeers(ctx, &lifeboatv1.ListPeersRequest{})
			must(t, err)
			if wanted(answer.GetPeers()[0]) {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	await(lifeboattest.Linked)
	r.Link("east", "west").Cut()
	await(unreachable)
	r.Link("east", "west").Heal()
	await(lifeboattest.Linked)
	control := r.Region("west").Control()
	must(t, control.Kill())
	await(unreachable)
	must(t, control.Start(ctx))
	await(lifeboattest.Linked)
	r.Isolate("west")
	await(unreachable)
	r.Rejoin("west")
	must(t, r.WaitLinked(ctx))
}
