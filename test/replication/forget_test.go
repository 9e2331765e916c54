package replication_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

func (s *shop) forget(ctx context.Context, region, gone string, acceptLoss, dryRun bool) (*lifeboatv1.ForgetRegionResponse, error) {
	answer, err := s.regions.Region(region).Operator().ForgetRegion(ctx, connect.NewRequest(&lifeboatv1.ForgetRegionRequest{
		Region: gone, AcceptLoss: acceptLoss, DryRun: dryRun,
	}))
	if err != nil {
		return nil, err
	}
	return answer.Msg, nil
}

// wantForgets waits until a region forgets another one, as soon as it may.
func (s *shop) wantForgets(region, gone string) (forgot *lifeboatv1.ForgetRegionResponse) {
	s.t.Helper()
	until(s.t, region+" forgets "+gone, func(ctx context.Context) (_ bool, _ any) {
		var err error
		forgot, err = s.forget(ctx, region, gone, false, false)
		return err == nil, err
	})
	return forgot
}

func TestARegionThatIsForgottenStaysOutAndANewOneTakesItsPlace(t *testing.T) {
	all := []string{"east", "west", "south"}
	s := startShop(t, lifeboattest.Options{}, all...)
	s.create("east", "db", "one")
	for _, region := range all[1:] {
		s.wantState("east", "db", region, inSync)
	}
	s.wantSynchronised("east")
	known, err := s.regions.Region("west").Peer(t.Context(), "east")
	must(t, err)
	life := known.GetPinnedIncarnation()

	s.wantNotForgottenWhileReachable("west", "east")
	s.regions.Isolate("east")
	s.wantMissed("west", "east")
	s.wantNotForgottenAsHome("west", "east")
	s.takeOver("west", "east")
	s.put("west", "db", "of west")
	s.wantHome("west", all[1:], "", "db")
	lost := s.put("east", "db", "lost in east")

	s.forgetTakenOver(all[1:], life)
	s.wantStaysOut(all[1:], life, lost.GetRevisionToken())
	s.wantNewInItsPlace(all[1:])
}

// wantMissed waits until a region finds a peer unreachable.
func (s *shop) wantMissed(region, peer string) {
	s.t.Helper()
	until(s.t, region+" misses "+peer, func(ctx context.Context) (bool, any) {
		p, err := s.regions.Region(region).Peer(ctx, peer)
		return err == nil && !p.GetReachable(), err
	})
}

func (s *shop) wantNotForgottenWhileReachable(region, peer string) {
	s.t.Helper()
	if _, err := s.forget(s.t.Context(), region, peer, true, false); codeOf(err) != secret.CodeWrongState || !strings.Contains(err.Error(), "reachable") {
		s.t.Fatalf("forgetting a region that is reachable: %v", err)
	}
	if _, err := s.forget(s.t.Context(), region, "mars", false, false); codeOf(err) != secret.CodeNotFound {
		s.t.Fatalf("forgetting a region that is no peer: %v", err)
	}
}

func (s *shop) wantNotForgottenAsHome(region, gone string) {
	s.t.Helper()
	if _, err := s.forget(s.t.Context(), region, gone, false, false); codeOf(err) != secret.CodeWrongState || !strings.Contains(err.Error(), "SECRET db") {
		s.t.Fatalf("forgetting the home of records: %v", err)
	}
	dry, err := s.forget(s.t.Context(), region, gone, true, true)
	if err != nil || dry.GetBlocked() != "" || dry.GetForgottenAt() != nil || dry.GetScope().GetSecrets() != 1 || dry.GetScope().GetVaults() != 1 || dry.GetScope().GetTakenOver() {
		s.t.Fatalf("the dry run says %v, %v", dry, err)
	}
}

// forgetTakenOver has survivors forget east, which west has taken over. What was taken
// over goes to no third region while east may return.
func (s *shop) forgetTakenOver(survivors []string, life string) {
	s.t.Helper()
	move := connect.NewRequest(&lifeboatv1.MoveVaultRequest{Vault: "shop", To: "south"})
	until(s.t, "the records of east have moved", func(ctx context.Context) (bool, any) {
		answer, err := s.regions.Region("west").Operator().ListTakeovers(ctx, connect.NewRequest(&lifeboatv1.ListTakeoversRequest{}))
		return err == nil && len(answer.Msg.GetTakeovers()) == 1 && answer.Msg.GetTakeovers()[0].GetMovedAt() != nil, err
	})
	if _, err := s.at("west").MoveVault(s.t.Context(), move); codeOf(err) != secret.CodeWrongState {
		s.t.Fatalf("a move to a third region while east may return: %v", err)
	}
	for _, region := range survivors {
		if forgot := s.wantForgets(region, "east"); !slices.Equal(forgot.GetIncarnations(), []string{life}) {
			s.t.Errorf("%s forgot %v", region, forgot)
		}
	}
	s.wantReconciled("west", "south")
	if again := s.wantForgets("west", "east"); !slices.Equal(again.GetIncarnations(), []string{life}) {
		s.t.Errorf("repeated, it answers %v", again)
	}
	_, err := s.at("west").MoveVault(s.t.Context(), move)
	must(s.t, err)
	s.wantHome("south", survivors, "", "db")
}

// wantStaysOut has east come back: it is refused, also after a restart, and learns that it
// was taken over, so that it accepts nothing either. token is of a write that it lost.
func (s *shop) wantStaysOut(survivors []string, life, token string) {
	s.t.Helper()
	must(s.t, s.regions.Region("west").Control().Restart(s.t.Context()))
	s.regions.Rejoin("east")
	until(s.t, "east knows that it was taken over", func(ctx context.Context) (bool, any) {
		_, err := s.at("east").PutSecretVersion(ctx, connect.NewRequest(&lifeboatv1.PutSecretVersionRequest{Vault: "shop", Secret: "db", Value: []byte("late")}))
		return codeOf(err) == secret.CodeNotHome, err
	})
	until(s.t, "the links of west refuse east", func(ctx context.Context) (bool, any) {
		p, err := s.regions.Region("west").Peer(ctx, "east")
		return err == nil && p.GetReachable() && p.GetPinnedIncarnation() == "" && p.GetQueueState() == "FORGOTTEN", p
	})
	err := s.admit("west", "east", secret.Incarnation(life), true)
	if codeOf(err) != secret.CodeWrongState {
		s.t.Errorf("a life that was forgotten is admitted: %v", err)
	}
	for _, region := range survivors {
		if got, err := s.get(s.t.Context(), region, "db"); err != nil || got != "of west" {
			s.t.Errorf("%s answers %q, %v", region, got, err)
		}
		s.wantSuperseded(region, "db", token, "had not reached")
	}
	s.create("south", "new", "made meanwhile")
	s.wantValue("west", "new", "made meanwhile")
}

// wantNewInItsPlace makes a new region of the name, which gets everything once it is
// admitted.
func (s *shop) wantNewInItsPlace(survivors []string) {
	s.t.Helper()
	east := s.regions.Region("east")
	must(s.t, east.Remake(s.t.Context()))
	made, err := east.Operator().ListPeers(s.t.Context(), connect.NewRequest(&lifeboatv1.ListPeersRequest{}))
	must(s.t, err)
	for _, region := range survivors {
		must(s.t, s.admit(region, "east", secret.Incarnation(made.Msg.GetIncarnation()), false))
	}
	s.wantValue("east", "db", "of west")
	s.wantValue("east", "new", "made meanwhile")
	s.put("south", "db", "after")
	s.wantValue("east", "db", "after")
	s.wantState("south", "db", "east", inSync)
	lines, err := s.regions.Region("west").AuditLines()
	must(s.t, err)
	if !slices.ContainsFunc(lines, func(l lifeboattest.AuditLine) bool {
		return l.Action == "ForgetRegion" && l.Name == "east" && l.Outcome == "ok"
	}) {
		s.t.Error("there is no line of ForgetRegion")
	}
}

func TestARegionIsForgottenWithWhatItIsTheHomeOf(t *testing.T) {
	s := startShop(t, lifeboattest.Options{}, "east", "west")
	s.create("east", "db", "one")
	s.wantValue("west", "db", "one")
	must(t, s.regions.Region("east").Stop())
	until(t, "west forgets east", func(ctx context.Context) (bool, any) {
		forgot, err := s.forget(ctx, "west", "east", true, false)
		return err == nil && forgot.GetScope().GetSecrets() == 1, []any{forgot, err}
	})
	s.wantValue("west", "db", "one")
	_, err := s.at("west").PutSecretVersion(t.Context(), connect.NewRequest(&lifeboatv1.PutSecretVersionRequest{Vault: "shop", Secret: "db", Value: []byte("two")}))
	if codeOf(err) != secret.CodeNotHome {
		t.Errorf("what is stranded is changed: %v", err)
	}
}

// What is left of deleted records does not wait for a region that is forgotten, and a new
// one gets what is there still, although so much is forgotten.
func TestDeletedRecordsDoNotWaitForARegionThatIsForgotten(t *testing.T) {
	s := startShop(t, forgetful(), "west", "east")
	s.openShards("west")
	s.create("west", "kept", "one")
	s.create("west", "early", "two")
	s.create("west", "late", "three")
	for _, name := range []string{"kept", "early", "late"} {
		s.wantValue("east", name, map[string]string{"kept": "one", "early": "two", "late": "three"}[name])
	}
	s.wantSynchronised("west")
	s.purge("west", "early")
	s.wantGraves("west")
	must(t, s.regions.Region("east").Stop())
	s.purge("west", "late")
	waiting, err := s.graves(t.Context(), "west")
	must(t, err)
	s.passRound("west")
	if left, err := s.graves(t.Context(), "west"); err != nil || len(waiting) != 1 || !slices.Equal(left, waiting) {
		t.Fatalf("of %v west has %v left, %v, although east may hold it", waiting, left, err)
	}
	s.wantForgets("west", "east")
	s.wantGraves("west")
	s.create("west", "new", "four")

	east := s.regions.Region("east")
	must(t, east.Remake(t.Context()))
	made, err := east.Operator().ListPeers(t.Context(), connect.NewRequest(&lifeboatv1.ListPeersRequest{}))
	must(t, err)
	if status, err := s.status(t.Context(), "west", "new", "east"); err != nil || status.GetState() != lifeboatv1.ReplicationState_REPLICATION_STATE_PENDING {
		t.Errorf("the status at a region that is forgotten is %v, %v", status, err)
	}
	must(t, s.admit("west", "east", secret.Incarnation(made.Msg.GetIncarnation()), false))
	s.wantValue("east", "kept", "one")
	s.wantValue("east", "new", "four")
	s.wantState("west", "new", "east", inSync)
}
