package replication_test

import (
	"context"
	"testing"

	"connectrpc.com/connect"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

// A dry run of a takeover says what another survivor holds newer, and changes nothing;
// the takeover fetches it.
func TestADryRunSaysWhatSurvivorsHoldNewer(t *testing.T) {
	s := startShop(t, lifeboattest.Options{}, "east", "west", "south")
	s.create("east", "db", "one")
	for _, region := range []string{"west", "south"} {
		s.wantState("east", "db", region, inSync)
	}
	s.wantSynchronised("east")
	_, err := s.regions.Region("east").Operator().PauseQueue(t.Context(), connect.NewRequest(&lifeboatv1.PauseQueueRequest{Region: "west"}))
	must(t, err)
	s.put("east", "db", "only in south")
	s.wantValue("south", "db", "only in south")
	s.regions.Isolate("east")
	until(t, "south says what it holds newer", func(ctx context.Context) (bool, any) {
		answer, err := s.regions.Region("west").Operator().TakeOverRegion(ctx, connect.NewRequest(&lifeboatv1.TakeOverRegionRequest{Region: "east", DryRun: true}))
		if err != nil {
			return false, err
		}
		newer := answer.Msg.GetScope().GetNewer()
		return answer.Msg.GetBlocked() == "" && len(newer) == 1 && newer[0].GetRegion() == "south" && newer[0].GetNewer() == 1 && newer[0].GetAsked() >= 3, answer.Msg
	})
	if got, err := s.get(t.Context(), "west", "db"); err != nil || got != "one" {
		t.Errorf("after the dry run west answers %q, %v", got, err)
	}
	s.takeOver("west", "east")
	s.wantValue("west", "db", "only in south")
}
