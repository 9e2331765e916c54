package operations_test

import (
	"testing"

	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

// What happens to links raises alerts in the region that sees it.
func TestPeerIncidentsRaiseAlerts(t *testing.T) {
	t.Parallel()
	r := lifeboattest.StartRegions(t, lifeboattest.Options{}, "east", "west")
	east, west := r.Region("east"), r.Region("west")
	b := &broken{Region: east}
	for _, i := range []incident{
		{
			name: "peer out of reach", alerts: []string{"LifeboatPeerUnreachable"},
			provoke: func(*testing.T) { r.Isolate("west") }, mend: func(t *testing.T) {
				r.Rejoin("west")
				must(t, r.WaitLinked(t.Context()))
			},
			told: east.Control(), metric: "lifeboat_peer_reachable", labels: []string{"peer", "west"}, holds: is(0),
		},
		{
			name: "peer made anew", alerts: []string{"LifeboatPeerUnknownIncarnation"},
			provoke: func(t *testing.T) { must(t, west.Remake(t.Context())) },
			told:    east.Control(), metric: "lifeboat_peer_unknown_incarnation", labels: []string{"peer", "west"}, holds: is(1),
		},
	} {
		t.Run(i.name, func(t *testing.T) { b.check(t, i) })
	}
}
