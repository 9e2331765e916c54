package replication_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

func (s *shop) describe(ctx context.Context, region, name string) (*lifeboatv1.DescribeSecretResponse, error) {
	answer, err := s.at(region).DescribeSecret(ctx, connect.NewRequest(&lifeboatv1.DescribeSecretRequest{Vault: "shop", Secret: name}))
	if err != nil {
		return nil, err
	}
	return answer.Msg, nil
}

// What is written, taken over, returned and moved does not depend on what time it is
// where: of three regions one is an hour ahead and one an hour behind.
func TestRegionsWithWrongClocksAgree(t *testing.T) {
	all := []string{"east", "west", "south"}
	s := startShop(t, lifeboattest.Options{ClockAhead: map[string]time.Duration{"west": time.Hour, "south": -time.Hour}}, all...)
	s.create("east", "forked", "one")
	s.create("east", "quiet", "one")
	soon := time.Now().Add(30 * time.Minute)
	_, err := s.at("east").PutSecretVersion(t.Context(), connect.NewRequest(&lifeboatv1.PutSecretVersionRequest{
		Vault: "shop", Secret: "quiet", Value: []byte("two"), ExpiresAt: timestamppb.New(soon),
	}))
	must(t, err)
	s.create("east", "gone", "one")
	_, err = s.at("east").DeleteSecret(t.Context(), connect.NewRequest(&lifeboatv1.DeleteSecretRequest{Vault: "shop", Secret: "gone"}))
	must(t, err)
	for _, name := range []string{"forked", "quiet", "gone"} {
		s.wantState("east", name, "west", inSync)
		s.wantState("east", name, "south", inSync)
	}
	s.wantSynchronised("east")
	s.wantValue("south", "quiet", "two")
	s.wantCode("west", "quiet", secret.CodeExpired) // by the clock of the region that reads
	until(t, "west knows how old its copy is", func(ctx context.Context) (bool, any) {
		got, err := s.describe(ctx, "west", "forked")
		return err == nil && !got.GetFreshness().GetAgeUnknown() && got.GetFreshness().GetAgeSeconds() < 60, []any{got.GetFreshness(), err}
	})

	s.regions.Isolate("east")
	s.put("east", "forked", "lost in east")
	s.takeOver("west", "east")
	s.put("west", "forked", "of west")
	s.put("west", "quiet", "three")
	s.wantValue("south", "forked", "of west")
	s.regions.Rejoin("east")
	s.wantReconciled("east", "west")
	s.regions.Isolate("west")
	s.put("west", "forked", "lost in west")
	s.takeOver("south", "west")
	s.put("south", "forked", "of south")
	s.wantValue("east", "forked", "of south")
	s.regions.Rejoin("west")
	s.wantReconciled("west", "south")
	s.wantHome("south", all, "", "forked", "quiet", "gone")
	for _, region := range all {
		s.wantValue(region, "forked", "of south")
		s.wantValue(region, "quiet", "three")
		s.wantCode(region, "gone", secret.CodeWrongState)
	}
	for region, lost := range map[string]string{"east": "lost in east", "west": "lost in west"} {
		if found := s.conflicts(t.Context(), region); len(found) != 1 || found[0].GetName() != "forked" {
			t.Errorf("of %q the conflicts of %s are %v", lost, region, found)
		}
	}
	s.wantTimesOf(map[string]time.Duration{"one": 0, "two": 0, "three": time.Hour})
}

// wantTimesOf checks by whose clock the versions of the secret named quiet were made:
// it is the one of the region that made them, everywhere.
func (s *shop) wantTimesOf(ahead map[string]time.Duration) {
	s.t.Helper()
	for _, region := range []string{"east", "west", "south"} {
		got, err := s.describe(s.t.Context(), region, "quiet")
		must(s.t, err)
		versions := got.GetSecret().GetVersions()
		if len(versions) != len(ahead) || !slices.IsSortedFunc(versions, func(a, b *lifeboatv1.SecretVersion) int { return int(a.GetNumber()) - int(b.GetNumber()) }) { //nolint:gosec // small
			s.t.Errorf("%s has the versions %v", region, versions)
			continue
		}
		for i, value := range []string{"one", "two", "three"} {
			if off := time.Until(versions[i].GetCreatedAt().AsTime()) - ahead[value]; off.Abs() > 10*time.Minute {
				s.t.Errorf("%s says that %q was made at %s", region, value, versions[i].GetCreatedAt().AsTime())
			}
		}
	}
	until(s.t, "the status of east says that clocks differ", func(ctx context.Context) (bool, any) {
		status, err := s.regions.Region("east").Operator().GetStatus(ctx, connect.NewRequest(&lifeboatv1.GetStatusRequest{}))
		return err == nil && strings.Contains(status.Msg.String(), "its clock differs by"), []any{status, err}
	})
}
