package replication_test

import (
	"context"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

const drillVault = secret.DrillVaultPrefix + "test"

// makeDrillVault makes a vault for drills with the secret db in the first region, and
// replicates it to the others.
func (s *shop) makeDrillVault(home string, targets ...string) (id string) {
	s.t.Helper()
	made, err := s.at(home).CreateVault(s.t.Context(), connect.NewRequest(&lifeboatv1.CreateVaultRequest{Name: drillVault}))
	must(s.t, err)
	request := &lifeboatv1.ReplicateVaultRequest{Vault: drillVault, Targets: &lifeboatv1.ReplicateVaultRequest_Targets{}}
	for _, target := range targets {
		request.Targets.Targets = append(request.Targets.Targets, &lifeboatv1.Target{Region: target})
	}
	_, err = s.at(home).ReplicateVault(s.t.Context(), connect.NewRequest(request))
	must(s.t, err)
	_, err = s.at(home).CreateSecret(s.t.Context(), connect.NewRequest(&lifeboatv1.CreateSecretRequest{Vault: drillVault, Name: "db", Value: []byte("one")}))
	must(s.t, err)
	for _, target := range targets {
		s.wantDrillValue(target, "one")
	}
	return made.Msg.GetVault().GetId()
}

func (s *shop) putDrill(region, value string) error {
	_, err := s.at(region).PutSecretVersion(s.t.Context(), connect.NewRequest(&lifeboatv1.PutSecretVersionRequest{Vault: drillVault, Secret: "db", Value: []byte(value)}))
	return err
}

func (s *shop) wantDrillValue(region, value string) {
	s.t.Helper()
	until(s.t, region+" answers the value of the drill's secret", func(ctx context.Context) (bool, any) {
		got, err := s.drillValue(ctx, region)
		return err == nil && got == value, []any{got, err}
	})
}

func (s *shop) drillValue(ctx context.Context, region string) (string, error) {
	got, err := s.at(region).GetSecretValue(ctx, connect.NewRequest(&lifeboatv1.GetSecretValueRequest{Vault: drillVault, Secret: "db"}))
	if err != nil {
		return "", err
	}
	return string(got.Msg.GetValue()), nil
}

func (s *shop) cutDrill(client *lifeboattest.Client, vault string, lasts time.Duration) error {
	_, err := client.CutDrillVault(s.t.Context(), connect.NewRequest(&lifeboatv1.CutDrillVaultRequest{Vault: vault, Lasts: durationpb.New(lasts)}))
	return err
}

func (s *shop) takeOverDrill(client *lifeboattest.Client, vault string) error {
	_, err := client.TakeOverRegion(s.t.Context(), connect.NewRequest(&lifeboatv1.TakeOverRegionRequest{Region: "east", DrillVault: vault}))
	return err
}

func TestADrillTouchesItsVaultAlone(t *testing.T) {
	s := startShop(t, lifeboattest.Options{}, "east", "west", "south")
	vault := s.makeDrillVault("east", "west", "south")
	s.create("east", "real", "one")
	s.wantValue("west", "real", "one")
	east, west := s.regions.Region("east").Operator(), s.regions.Region("west").Operator()

	must(t, s.cutDrill(east, vault, time.Minute))
	must(t, s.putDrill("east", "lost in east"))
	s.put("east", "real", "two")
	s.wantValue("west", "real", "two")
	s.wantValue("south", "real", "two")
	must(t, s.takeOverDrill(west, vault))
	if err := s.takeOverDrill(west, vault); codeOf(err) != secret.CodeExists && codeOf(err) != secret.CodeWrongState {
		t.Errorf("a second takeover: %v", err)
	}
	must(t, s.putDrill("west", "of west"))
	s.wantDrillValue("south", "of west")
	if got, err := s.drillValue(t.Context(), "east"); got != "lost in east" {
		t.Errorf("east, cut off, answers %q, %v", got, err)
	}
	_, err := s.at("west").PutSecretVersion(t.Context(), connect.NewRequest(&lifeboatv1.PutSecretVersionRequest{Vault: "shop", Secret: "real", Value: []byte("x")}))
	if codeOf(err) != secret.CodeNotHome {
		t.Errorf("a mutation in west of what no drill is about: %v", err)
	}

	must(t, s.cutDrill(east, vault, 0))
	s.wantDrillValue("east", "of west")
	s.wantReconciled("east", "west")
	answer, err := s.at("east").ListConflicts(t.Context(), connect.NewRequest(&lifeboatv1.ListConflictsRequest{Vault: drillVault}))
	must(t, err)
	if found := answer.Msg.GetConflicts(); len(found) != 1 || len(found[0].GetVersions()) != 1 {
		t.Errorf("conflicts: %v", found)
	}
	s.wantHome("east", []string{"east", "west", "south"}, "", "real")
	if found := s.conflicts(t.Context(), "east"); len(found) > 0 {
		t.Errorf("conflicts in another vault: %v", found)
	}
}

func TestADrillsCutEndsByItself(t *testing.T) {
	s := startShop(t, lifeboattest.Options{}, "east", "west")
	vault := s.makeDrillVault("east", "west")
	must(t, s.cutDrill(s.regions.Region("east").Operator(), vault, time.Second))
	must(t, s.putDrill("east", "two"))
	s.wantDrillValue("west", "two")
}

func TestDrillsAreForOperatorsAndForVaultsMadeForThem(t *testing.T) {
	s := startShop(t, lifeboattest.Options{}, "east", "west")
	drill := s.makeDrillVault("east", "west")
	answer, err := s.at("east").GetVault(t.Context(), connect.NewRequest(&lifeboatv1.GetVaultRequest{Vault: "shop"}))
	must(t, err)
	shop := answer.Msg.GetVault().GetId()
	east, west := s.regions.Region("east").Operator(), s.regions.Region("west").Operator()
	for _, test := range []struct {
		what string
		err  error
		want secret.Code
	}{
		{"cut of another vault", s.cutDrill(east, shop, time.Minute), secret.CodeWrongState},
		{"takeover of another vault", s.takeOverDrill(west, shop), secret.CodeWrongState},
		{"takeover at home", s.takeOverDrill(east, drill), secret.CodeNotFound},
		{"cut by the account's admin", s.cutDrill(s.at("east"), drill, time.Minute), secret.CodeDenied},
		{"takeover by the account's admin", s.takeOverDrill(s.at("west"), drill), secret.CodeDenied},
		{"cut that is too long", s.cutDrill(east, drill, 2*time.Hour), secret.CodeInvalid},
		{"cut of no vault", s.cutDrill(east, "01ARZ3NDEKTSV4RRFFQ69G5FAV", time.Minute), secret.CodeNotFound},
	} {
		if codeOf(test.err) != test.want {
			t.Errorf("%s: %v; want %s", test.what, test.err, test.want)
		}
	}
}
