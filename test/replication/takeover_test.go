package replication_test

import (
	"context"
	"fmt"
	"testing"

	"connectrpc.com/connect"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

// takeOver has a region take over a lost one, as soon as it has noticed.
func (s *shop) takeOver(heir, lost string) {
	s.t.Helper()
	until(s.t, heir+" takes "+lost+" over", func(ctx context.Context) (bool, any) {
		_, err := s.regions.Region(heir).Operator().TakeOverRegion(ctx, connect.NewRequest(&lifeboatv1.TakeOverRegionRequest{Region: lost}))
		return err == nil, err
	})
}

func (s *shop) conflicts(ctx context.Context, region string) []*lifeboatv1.Conflict {
	answer, err := s.at(region).ListConflicts(ctx, connect.NewRequest(&lifeboatv1.ListConflictsRequest{Vault: "shop"}))
	if err != nil {
		s.t.Errorf("conflicts of %s: %v", region, err)
		return nil
	}
	return answer.Msg.GetConflicts()
}

// wantReconciled waits until no region has taken another one over any more.
func (s *shop) wantReconciled(regions ...string) {
	s.t.Helper()
	for _, region := range regions {
		until(s.t, region+" has nothing taken over, and is not", func(ctx context.Context) (bool, any) {
			answer, err := s.regions.Region(region).Operator().ListTakeovers(ctx, connect.NewRequest(&lifeboatv1.ListTakeoversRequest{}))
			if err != nil {
				return false, err
			}
			return len(answer.Msg.GetTakeovers())+len(answer.Msg.GetSupersededBy()) == 0, answer.Msg
		})
	}
}

// home returns the home region of a secret, or of the vault if name is empty, as a
// region sees it.
func (s *shop) home(ctx context.Context, region, name string) (string, error) {
	if name == "" {
		answer, err := s.at(region).GetVault(ctx, connect.NewRequest(&lifeboatv1.GetVaultRequest{Vault: "shop"}))
		if err != nil {
			return "", err
		}
		return answer.Msg.GetVault().GetOwnership().GetHomeRegion(), nil
	}
	answer, err := s.at(region).DescribeSecret(ctx, connect.NewRequest(&lifeboatv1.DescribeSecretRequest{Vault: "shop", Secret: name}))
	if err != nil {
		return "", err
	}
	return answer.Msg.GetSecret().GetOwnership().GetHomeRegion(), nil
}

func (s *shop) wantHome(home string, regions []string, names ...string) {
	s.t.Helper()
	for _, region := range regions {
		for _, name := range names {
			until(s.t, fmt.Sprintf("the home of %q in %s is %s", name, region, home), func(ctx context.Context) (bool, any) {
				got, err := s.home(ctx, region, name)
				return err == nil && got == home, []any{got, err}
			})
		}
	}
}

func TestALostRegionIsTakenOverAndReturns(t *testing.T) {
	all := []string{"east", "west", "south"}
	s := startShop(t, lifeboattest.Options{Hosts: 1}, all...)
	for _, name := range []string{"forked", "quiet"} {
		s.create("east", name, "one")
		s.wantState("east", name, "west", inSync)
		s.wantState("east", name, "south", inSync)
	}
	records := s.makeRecords()
	s.wantSynchronised("east")
	_, err := s.regions.Region("west").Operator().TakeOverRegion(t.Context(), connect.NewRequest(&lifeboatv1.TakeOverRegionRequest{Region: "east"}))
	if codeOf(err) != secret.CodeWrongState {
		t.Errorf("a takeover of a region that is reachable: %v", err)
	}
	s.regions.Isolate("east")
	kept, err := s.read(t.Context(), "east", "forked", "")
	must(t, err)
	lost := s.put("east", "forked", "lost in east").GetRevisionToken()
	s.create("east", "stranded", "never left")
	records.fork()
	s.takeOver("west", "east")
	s.put("west", "forked", "of west")
	s.create("west", "new", "made in west")
	s.wantValue("south", "forked", "of west")
	s.wantValue("south", "new", "made in west")
	s.wantSuperseded("west", "forked", lost, "had not reached west")
	s.wantSuperseded("south", "forked", lost, "had not reached west")
	s.wantHome("west", []string{"west", "south"}, "", "forked", "quiet")

	s.regions.Rejoin("east")
	s.wantReconciled("east", "west")
	s.wantHome("west", all, "", "forked", "quiet", "new")
	s.wantValue("east", "forked", "of west")
	s.wantValue("east", "new", "made in west")
	s.wantValue("west", "stranded", "never left")
	s.wantValue("south", "stranded", "never left")
	s.wantCounted("east", "lifeboat_takeover_conflicts")
	records.settle()
	found := s.conflicts(t.Context(), "east")
	if len(found) != 1 || found[0].GetName() != "forked" || len(found[0].GetVersions()) != 1 || found[0].GetFromRegion() != "west" {
		t.Fatalf("conflicts: %v", found)
	}
	for _, region := range all {
		s.wantSuperseded(region, "forked", lost, map[bool]string{true: "conflict " + found[0].GetId()}[region == "east"])
		if got, err := s.read(t.Context(), region, "forked", kept.GetRevisionToken()); err != nil || string(got.GetValue()) != "of west" {
			t.Errorf("%s, with the token of what west went on from: %s, %v", region, got.GetValue(), err)
		}
	}
	shown, err := s.at("east").GetConflict(t.Context(), connect.NewRequest(&lifeboatv1.GetConflictRequest{Id: found[0].GetId()}))
	must(t, err)
	if got := string(shown.Msg.GetConflict().GetVersions()[0].GetValue()); got != "lost in east" {
		t.Errorf("the conflict keeps %q", got)
	}
	_, err = s.at("east").DiscardConflict(t.Context(), connect.NewRequest(&lifeboatv1.DiscardConflictRequest{Id: found[0].GetId()}))
	must(t, err)
	if left := s.conflicts(t.Context(), "east"); len(left) > 0 {
		t.Errorf("conflicts that are left: %v", left)
	}
	s.wantSuperseded("east", "forked", lost, "had not reached west")
	s.moveBack()
	s.wantSuperseded("east", "forked", lost, "had not reached west")
}

// moveBack moves the vault from west to east again, as a failback.
func (s *shop) moveBack() {
	s.t.Helper()
	_, err := s.at("west").MoveVault(s.t.Context(), connect.NewRequest(&lifeboatv1.MoveVaultRequest{Vault: "shop", To: "east"}))
	must(s.t, err)
	all := []string{"east", "west", "south"}
	s.wantHome("east", all, "", "forked", "quiet", "new")
	until(s.t, "east accepts mutations again", func(ctx context.Context) (bool, any) {
		_, err := s.at("east").PutSecretVersion(ctx, connect.NewRequest(&lifeboatv1.PutSecretVersionRequest{Vault: "shop", Secret: "forked", Value: []byte("after the failback")}))
		return err == nil, err
	})
	s.create("east", "newer", "made in east")
	for _, region := range all[1:] {
		s.wantValue(region, "forked", "after the failback")
		s.wantValue(region, "newer", "made in east")
	}
	for _, region := range all {
		if found := s.conflicts(s.t.Context(), region); len(found) > 0 {
			s.t.Errorf("a planned move left conflicts in %s: %v", region, found)
		}
	}
}

func TestTwoSurvivorsThatTakeOverAgree(t *testing.T) {
	all := []string{"east", "west", "south"}
	s := startShop(t, lifeboattest.Options{}, all...)
	s.create("east", "db", "one")
	for _, region := range all[1:] {
		s.wantState("east", "db", region, inSync)
	}
	s.wantSynchronised("east")
	for _, region := range all {
		s.regions.Isolate(region)
	}
	s.takeOver("west", "east")
	s.takeOver("south", "east")
	s.put("west", "db", "of west")
	s.put("south", "db", "of south")
	for _, region := range all {
		s.regions.Rejoin(region)
	}
	s.wantReconciled(all...)
	s.wantHome("west", all, "", "db")
	for _, region := range all {
		s.wantValue(region, "db", "of west")
	}
	if found := s.conflicts(t.Context(), "south"); len(found) != 1 {
		t.Errorf("conflicts of south: %v", found)
	}
}
