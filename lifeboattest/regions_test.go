package lifeboattest_test

import (
	"context"
	"testing"
	"time"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

func unreachable(p *lifeboatv1.Peer) bool { return !p.GetReachable() && p.GetError() != "" }

func wait(t testing.TB, r *lifeboattest.Region, peer string, wanted func(*lifeboatv1.Peer) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	must(t, r.WaitPeer(ctx, peer, wanted))
}

func TestRegionsSeeEachOtherAndLoseTheirLinks(t *testing.T) {
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
	wait(t, east, "west", unreachable)
	wait(t, east, "south", lifeboattest.Linked)
	wait(t, west, "east", lifeboattest.Linked)
	r.Link("east", "west").Heal()
	wait(t, east, "west", lifeboattest.Linked)
	r.Link("west", "south").Blackhole()
	wait(t, west, "south", unreachable)
	wait(t, west, "east", lifeboattest.Linked)
	r.Link("west", "south").Heal()
	wait(t, west, "south", lifeboattest.Linked)
	r.Link("south", "east").Delay(30 * time.Millisecond)
	wait(t, south, "east", func(p *lifeboatv1.Peer) bool { return p.GetReachable() && p.GetRoundTripSeconds() >= 0.06 })

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
