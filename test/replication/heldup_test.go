package replication_test

import (
	"context"
	"strings"
	"testing"

	"connectrpc.com/connect"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

func (s *shop) takeovers(ctx context.Context, region string) (*lifeboatv1.ListTakeoversResponse, error) {
	answer, err := s.regions.Region(region).Operator().ListTakeovers(ctx, connect.NewRequest(&lifeboatv1.ListTakeoversRequest{}))
	if err != nil {
		return nil, err
	}
	return answer.Msg, nil
}

func (s *shop) wantFailure(from, at string) {
	s.t.Helper()
	until(s.t, at+" refuses something of "+from, func(ctx context.Context) (bool, any) {
		answer, err := s.regions.Region(from).Operator().ListFailures(ctx, connect.NewRequest(&lifeboatv1.ListFailuresRequest{Region: at}))
		if err != nil {
			return false, err
		}
		for _, f := range answer.Msg.GetFailures() {
			if f.GetCode() == string(secret.CodeExists) && strings.Contains(f.GetReason(), "--force-overwrite") {
				return true, nil
			}
		}
		return false, answer.Msg
	})
}

// A secret of the same name that was made on both sides of a cut is listed as refused on
// both, holds up nothing else, and can be settled.
func TestASameNameMadeOnBothSidesHoldsUpNothingElse(t *testing.T) {
	s := startShop(t, lifeboattest.Options{}, "east", "west")
	s.create("east", "db", "one")
	s.wantState("east", "db", "west", inSync)
	s.wantSynchronised("east")
	s.regions.Isolate("east")
	s.create("east", "twice", "of east")
	s.takeOver("west", "east")
	s.create("west", "twice", "of west")
	s.put("west", "db", "two")
	s.regions.Rejoin("east")
	s.wantValue("east", "db", "two")
	s.wantFailure("west", "east")
	s.wantFailure("east", "west")
	until(t, "east is back but for the secret that it refuses", func(ctx context.Context) (bool, any) {
		answer, err := s.takeovers(ctx, "west")
		return err == nil && len(answer.GetTakeovers()) == 1 && len(answer.GetTakeovers()[0].GetHeldUpRecords()) == 1, []any{answer, err}
	})
	// It is a home again, and can be taken over again.
	_, err := s.at("west").MoveVault(t.Context(), connect.NewRequest(&lifeboatv1.MoveVaultRequest{Vault: "shop", To: "east"}))
	must(t, err)
	until(t, "east accepts mutations", func(ctx context.Context) (bool, any) {
		_, err := s.at("east").PutSecretVersion(ctx, connect.NewRequest(&lifeboatv1.PutSecretVersionRequest{Vault: "shop", Secret: "db", Value: []byte("three")}))
		return err == nil, err
	})
	s.wantValue("west", "db", "three")
	s.put("east", "twice", "of east again")

	// The vault's home is east now: it has west put its own secret of the name aside.
	_, err = s.at("east").ReplicateVault(t.Context(), connect.NewRequest(&lifeboatv1.ReplicateVaultRequest{
		Vault: "shop", Targets: &lifeboatv1.ReplicateVaultRequest_Targets{Targets: []*lifeboatv1.Target{{Region: "west", ForceOverwrite: true}}},
	}))
	must(t, err)
	s.wantValue("west", "twice", "of east again")
	s.wantReconciled("east", "west")
	s.wantValue("east", "twice", "of east again")
	for _, region := range []string{"east", "west"} {
		until(t, region+" has the one that was put aside", func(ctx context.Context) (bool, any) {
			answer, err := s.at(region).ListSecrets(ctx, connect.NewRequest(&lifeboatv1.ListSecretsRequest{Vault: "shop", NamePrefix: "twice!", States: []lifeboatv1.State{lifeboatv1.State_STATE_PENDING_DELETION}}))
			return err == nil && len(answer.Msg.GetSecrets()) == 1, []any{answer, err}
		})
	}
}
