package replication_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"connectrpc.com/connect"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

// pauseQueue stops what is sent from east to a region.
func (s *shop) pauseQueue(target string) {
	s.t.Helper()
	_, err := s.regions.Region("east").Operator().PauseQueue(s.t.Context(), connect.NewRequest(&lifeboatv1.PauseQueueRequest{Region: target}))
	must(s.t, err)
}

func (s *shop) createVault(name string, targets ...string) {
	s.t.Helper()
	_, err := s.at("east").CreateVault(s.t.Context(), connect.NewRequest(&lifeboatv1.CreateVaultRequest{Name: name}))
	must(s.t, err)
	to := &lifeboatv1.ReplicateVaultRequest_Targets{}
	for _, target := range targets {
		to.Targets = append(to.Targets, &lifeboatv1.Target{Region: target})
	}
	_, err = s.at("east").ReplicateVault(s.t.Context(), connect.NewRequest(&lifeboatv1.ReplicateVaultRequest{Vault: name, Targets: to}))
	must(s.t, err)
	_, err = s.at("east").CreateSecret(s.t.Context(), connect.NewRequest(&lifeboatv1.CreateSecretRequest{Vault: name, Name: "key", Value: []byte("of " + name)}))
	must(s.t, err)
}

// wantValueIn is wantValue for the secret of a vault that createVault made.
func (s *shop) wantValueIn(region, vault string) {
	s.t.Helper()
	until(s.t, region+" answers a secret of "+vault, func(ctx context.Context) (bool, any) {
		got, err := s.at(region).GetSecretValue(ctx, connect.NewRequest(&lifeboatv1.GetSecretValueRequest{Vault: vault, Secret: "key"}))
		return err == nil && string(got.Msg.GetValue()) == "of "+vault, err
	})
}

func (s *shop) wantAllMoved(heir string) {
	s.t.Helper()
	until(s.t, "all has moved to "+heir, func(ctx context.Context) (bool, any) {
		answer, err := s.regions.Region(heir).Operator().ListTakeovers(ctx, connect.NewRequest(&lifeboatv1.ListTakeoversRequest{}))
		return err == nil && len(answer.Msg.GetTakeovers()) == 1 && answer.Msg.GetTakeovers()[0].GetMovedAt() != nil, answer
	})
}

// opened are the secrets about which a survivor was asked, or was not, before they moved
// to the heir.
func (s *shop) opened(heir, survivor string, asked bool) (n int) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.regions.Region(heir).Control().AdminURL()+"/metrics", nil)
	must(s.t, err)
	answer, err := http.DefaultClient.Do(request)
	must(s.t, err)
	defer func() { _ = answer.Body.Close() }()
	told, err := io.ReadAll(answer.Body)
	must(s.t, err)
	series := regexp.MustCompile(fmt.Sprintf(`(?m)^lifeboat_takeover_opened_secrets_total\{asked="%t",survivor="%s"\} (\d+)$`, asked, survivor))
	found := series.FindSubmatch(told)
	if found == nil {
		s.t.Fatalf("%s does not tell how many secrets it opened", heir)
	}
	n, err = strconv.Atoi(string(found[1]))
	must(s.t, err)
	return n
}

func (s *shop) dryRun(heir, lost string) *lifeboatv1.TakeoverScope {
	s.t.Helper()
	var answer *connect.Response[lifeboatv1.TakeOverRegionResponse]
	until(s.t, heir+" may take "+lost+" over", func(ctx context.Context) (ok bool, last any) {
		var err error
		answer, err = s.regions.Region(heir).Operator().TakeOverRegion(ctx, connect.NewRequest(&lifeboatv1.TakeOverRegionRequest{Region: lost, DryRun: true}))
		return err == nil && answer.Msg.GetBlocked() == "", []any{answer, err}
	})
	return answer.Msg.GetScope()
}

// startAhead starts three regions, in which south has received more of east than west.
func startAhead(t *testing.T) *shop {
	t.Helper()
	s := startShop(t, lifeboattest.Options{}, "east", "west", "south")
	_, err := s.at("east").PutPolicy(t.Context(), connect.NewRequest(&lifeboatv1.PutPolicyRequest{Name: "extra", Text: "permit(principal, action, resource) when { false };"}))
	must(t, err)
	for i := range 8 {
		s.create("east", fmt.Sprint("agreed-", i), "one")
	}
	for _, name := range []string{"newer", "purged", "behind"} {
		s.create("east", name, "one")
	}
	for _, region := range []string{"west", "south"} {
		s.wantState("east", "behind", region, inSync)
	}
	s.wantSynchronised("east")
	return s
}

// goAhead has south receive what west does not, and west something that south does not.
func (s *shop) goAhead() {
	s.t.Helper()
	s.pauseQueue("south")
	s.put("east", "behind", "only in west")
	s.wantValue("west", "behind", "only in west")
	s.regions.Link("east", "west").Cut()
	shard := s.regions.Region("east").Shard(s.t)
	described, err := s.at("east").DescribeSecret(s.t.Context(), connect.NewRequest(&lifeboatv1.DescribeSecretRequest{Vault: "shop", Secret: "behind"}))
	must(s.t, err)
	remove(s.t, shard, record.MessageKey("south", record.SecretKey(secret.ID(described.Msg.GetSecret().GetId()))))
	_, err = s.regions.Region("east").Operator().ResumeQueue(s.t.Context(), connect.NewRequest(&lifeboatv1.ResumeQueueRequest{Region: "south"}))
	must(s.t, err)
	s.put("east", "newer", "only in south")
	s.create("east", "missing", "made late")
	_, err = s.at("east").DeleteSecret(s.t.Context(), connect.NewRequest(&lifeboatv1.DeleteSecretRequest{Vault: "shop", Secret: "purged", Immediate: true}))
	must(s.t, err)
	s.create("east", "purged", "made again")
	_, err = s.at("east").DeletePolicy(s.t.Context(), connect.NewRequest(&lifeboatv1.DeletePolicyRequest{Name: "extra"}))
	must(s.t, err)
	s.createVault("late", "south", "west")
	s.createVault("southern", "south")
	s.wantValue("south", "newer", "only in south")
	s.wantValue("south", "purged", "made again")
	s.wantValueIn("south", "late")
	s.wantValueIn("south", "southern")
	s.wantValue("south", "missing", "made late")
	until(s.t, "south has heard that the policy is gone", func(ctx context.Context) (bool, any) { return !s.hasPolicy(ctx, "south", "extra"), nil })
}

func (s *shop) hasPolicy(ctx context.Context, region, name string) bool {
	_, err := s.at(region).GetPolicy(ctx, connect.NewRequest(&lifeboatv1.GetPolicyRequest{Name: name}))
	return codeOf(err) != secret.CodeNotFound
}

// A survivor is ahead of the heir: a dry run says how, and changes nothing. The takeover
// fetches what differs, and only that; nothing is lost, and nothing deleted comes back.
func TestTheHeirFetchesWhatDiffers(t *testing.T) {
	all := []string{"east", "west", "south"}
	s := startAhead(t)
	s.goAhead()
	s.regions.Isolate("east")

	scope := s.dryRun("west", "east")
	if len(scope.GetCompared()) != 1 {
		t.Fatalf("compared: %v", scope)
	}
	south := scope.GetCompared()[0]
	if south.GetRegion() != "south" || south.GetCompared() != 11 || south.GetNewer() != 2 || south.GetMissing() != 3 ||
		south.GetStranded() != 1 || south.GetBehind() != 1 || south.GetOtherRecords() != 2 || len(south.GetUncompared()) > 0 {
		t.Errorf("south, as west compares it: %v", south)
	}
	for _, v := range south.GetVaults() {
		if v.GetName() == "shop" && (v.GetNewer() != 2 || !slices.Contains(v.GetNewerExamples(), "newer") || !slices.Contains(v.GetMissingExamples(), "missing")) ||
			v.GetName() == "" && v.GetMissing()+v.GetStranded() != 1 {
			t.Errorf("a vault: %v", v)
		}
	}
	if got, err := s.get(t.Context(), "west", "newer"); err != nil || got != "one" || !s.hasPolicy(t.Context(), "west", "extra") {
		t.Errorf("after the dry run west answers %q, %v", got, err)
	}

	s.takeOver("west", "east")
	s.put("west", "newer", "of west")
	s.wantAllMoved("west")
	if asked, unasked := s.opened("west", "south", true), s.opened("west", "south", false); asked < 5 || asked > 7 || unasked < 9 {
		t.Errorf("south was asked about %d secrets, and not about %d", asked, unasked)
	}
	if s.hasPolicy(t.Context(), "west", "extra") {
		t.Error("a policy that was deleted came back")
	}
	s.regions.Rejoin("east")
	s.wantReconciled(all...)
	for _, region := range all {
		s.wantValue(region, "newer", "of west")
		s.wantValue(region, "behind", "only in west")
		s.wantValue(region, "missing", "made late")
		s.wantValue(region, "purged", "made again")
		s.wantValueIn(region, "late")
		s.wantHome("west", []string{region}, "", "newer", "behind", "missing", "agreed-0")
		if found := s.conflicts(t.Context(), region); len(found) > 0 {
			t.Errorf("conflicts of %s: %v", region, found)
		}
	}
}

// A survivor that does not answer loses nothing: what it holds past the fork becomes a
// conflict there.
func TestASurvivorThatIsCutOffLosesNothing(t *testing.T) {
	s := startShop(t, lifeboattest.Options{}, "east", "west", "south")
	s.create("east", "db", "one")
	for _, region := range []string{"west", "south"} {
		s.wantState("east", "db", region, inSync)
	}
	s.wantSynchronised("east")
	s.regions.Link("east", "west").Cut()
	s.put("east", "db", "only in south")
	s.wantValue("south", "db", "only in south")
	s.regions.Isolate("east")
	s.regions.Isolate("south")
	south := s.dryRun("west", "east").GetCompared()[0]
	if south.GetCompared() != 0 || len(south.GetUncompared()) != 1 || south.GetUncompared()[0].GetReason() == "" {
		t.Errorf("south, which is cut off: %v", south)
	}
	s.takeOver("west", "east")
	s.put("west", "db", "of west")
	s.wantAllMoved("west")
	s.regions.Rejoin("east")
	s.regions.Rejoin("south")
	s.wantReconciled("east", "west")
	for _, region := range []string{"east", "south"} {
		s.wantValue(region, "db", "of west")
		if found := s.conflicts(t.Context(), region); len(found) != 1 || found[0].GetName() != "db" {
			t.Errorf("conflicts of %s: %v", region, found)
		}
	}
}
