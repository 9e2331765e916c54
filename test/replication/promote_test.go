package replication_test

import (
	"context"
	"slices"
	"testing"

	"connectrpc.com/connect"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

const isPromoted = lifeboatv1.ReplicationState_REPLICATION_STATE_PROMOTED

func (s *shop) promote(region, name string) *lifeboatv1.PromoteSecretResponse {
	s.t.Helper()
	answer, err := s.at(region).PromoteSecret(s.t.Context(), connect.NewRequest(&lifeboatv1.PromoteSecretRequest{Vault: "shop", Secret: name}))
	must(s.t, err)
	return answer.Msg
}

// wantNothingFailed waits until nothing of what a region sends to another is refused.
func (s *shop) wantNothingFailed(home, target string) {
	s.t.Helper()
	until(s.t, home+" has nothing that "+target+" lacks", func(ctx context.Context) (bool, any) {
		answer, err := s.regions.Region(home).Operator().ListQueues(ctx, connect.NewRequest(&lifeboatv1.ListQueuesRequest{}))
		if err != nil {
			return false, err
		}
		at := slices.IndexFunc(answer.Msg.GetQueues(), func(q *lifeboatv1.Queue) bool { return q.GetRegion() == target })
		q := answer.Msg.GetQueues()[at]
		return q.GetDepth() == 0 && q.GetFailed() == 0, q
	})
}

func TestAReplicaIsPromotedWhileItsHomeIsLost(t *testing.T) {
	s := startShop(t, lifeboattest.Options{}, "east", "west", "south")
	for _, name := range []string{"db", "other"} {
		s.create("east", name, "one")
		s.wantState("east", name, "west", inSync)
		s.wantState("east", name, "south", inSync)
	}
	s.wantSynchronised("east")
	s.regions.Isolate("east")
	answer := s.promote("west", "db")
	if made := answer.GetSecret(); !made.GetDetached() || made.GetOwnership().GetHomeRegion() != "west" || answer.GetReplayed() {
		t.Errorf("promoted, it is %v", made)
	}
	if !s.promote("west", "db").GetReplayed() {
		t.Error("a promotion that is asked for again does something")
	}
	s.put("west", "db", "of west")
	s.put("east", "db", "of east")

	// Its home is taken over by a third region, which holds a replica too.
	s.takeOver("south", "east")
	s.put("south", "db", "of south")
	s.wantHome("south", []string{"south", "west"}, "", "other")
	s.wantState("south", "db", "west", isPromoted)
	s.wantValue("west", "other", "one")
	s.wantHome("west", []string{"west"}, "db")

	s.regions.Rejoin("east")
	s.wantReconciled("east", "south")
	s.wantHome("south", []string{"east", "south"}, "", "db", "other")
	s.wantValue("east", "db", "of south")
	s.wantValue("west", "db", "of west")
	for _, from := range []string{"east", "south"} {
		s.wantNothingFailed(from, "west")
	}
	s.wantNothingFailed("west", "east")
	if found := s.conflicts(t.Context(), "west"); len(found) > 0 {
		t.Errorf("west has conflicts: %v", found)
	}
	s.deleteAndReplicateAnew()
}

// deleteAndReplicateAnew has west delete what it has promoted, and get a replica again.
func (s *shop) deleteAndReplicateAnew() {
	s.t.Helper()
	_, err := s.at("west").DeleteSecret(s.t.Context(), connect.NewRequest(&lifeboatv1.DeleteSecretRequest{Vault: "shop", Secret: "db", Immediate: true}))
	must(s.t, err)
	_, err = s.at("south").ReplicateSecret(s.t.Context(), connect.NewRequest(&lifeboatv1.ReplicateSecretRequest{
		Vault: "shop", Secret: "db", Targets: []*lifeboatv1.Target{{Region: "west"}},
	}))
	must(s.t, err)
	s.wantValue("west", "db", "of south")
	s.wantState("south", "db", "west", inSync)
	s.wantHome("south", []string{"west"}, "db")
}

func TestTheTargetsOfAVaultDoNotTouchWhatWasPromoted(t *testing.T) {
	s := startShop(t, lifeboattest.Options{}, "east", "west", "south")
	for _, name := range []string{"db", "other"} {
		s.create("east", name, "one")
		s.wantState("east", name, "west", inSync)
	}
	s.promote("west", "db")
	s.wantState("east", "db", "west", isPromoted)
	s.put("west", "db", "of west")
	s.put("east", "db", "of east")
	s.replicate("east", "south") // west is a target no more
	s.wantCode("west", "other", secret.CodeNotFound)
	s.wantValue("west", "db", "of west")
	s.replicate("east", "south", "west")
	s.wantValue("west", "other", "one")
	s.wantValue("west", "db", "of west")
	s.wantSynchronised("east")
	s.wantNothingFailed("east", "west")
	if compared, err := s.at("east").CompareVault(t.Context(), connect.NewRequest(&lifeboatv1.CompareVaultRequest{Vault: "shop", Region: "west"})); err != nil || len(compared.Msg.GetDiffering())+len(compared.Msg.GetSurplus()) > 0 {
		t.Errorf("the digests: %v, %v", compared, err)
	}

	// It goes to others as any secret does, beside the one that it came from.
	_, err := s.at("west").ReplicateSecret(t.Context(), connect.NewRequest(&lifeboatv1.ReplicateSecretRequest{
		Vault: "shop", Secret: "db", Targets: []*lifeboatv1.Target{{Region: "south"}},
	}))
	must(t, err)
	if state := s.wantState("west", "db", "south", failed); secret.Code(state.GetCode()) != secret.CodeExists {
		t.Errorf("onto the one that it came from: %v", state)
	}
	s.wantValue("south", "db", "of east")
	s.put("east", "db", "again of east")
	s.wantValue("south", "db", "again of east")
	if got, err := s.describe(t.Context(), "east", "db"); err != nil || !slices.Equal(got.GetSecret().GetPromotedRegions(), []string{"west"}) || got.GetSecret().GetDetached() {
		t.Errorf("east shows %v, %v", got, err)
	}
}

func TestAPromotionIsToldAfterACrash(t *testing.T) {
	s := startShop(t, lifeboattest.Options{}, "east", "west")
	s.create("east", "db", "one")
	s.wantState("east", "db", "west", inSync)
	s.wantSynchronised("east")
	s.regions.Isolate("west")
	s.promote("west", "db")
	west := s.regions.Region("west")
	must(t, west.Control().Kill())
	must(t, west.Control().Start(t.Context()))
	must(t, west.WaitReady(t.Context()))
	s.regions.Rejoin("west")
	s.wantState("east", "db", "west", isPromoted) // nothing was put to it that could be refused
	until(t, "west accepts mutations", func(ctx context.Context) (bool, any) {
		_, err := s.at("west").PutSecretVersion(ctx, connect.NewRequest(&lifeboatv1.PutSecretVersionRequest{Vault: "shop", Secret: "db", Value: []byte("of west")}))
		return err == nil, err
	})
	s.wantValue("east", "db", "one")
}
