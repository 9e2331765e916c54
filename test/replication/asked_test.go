package replication_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

func (s *shop) restart(region string) {
	s.t.Helper()
	r := s.regions.Region(region)
	must(s.t, r.Control().Stop())
	must(s.t, r.Control().Start(s.t.Context()))
	must(s.t, r.WaitReady(s.t.Context()))
}

func (s *shop) tryPut(ctx context.Context, region, vault, value string) error {
	_, err := s.at(region).PutSecretVersion(ctx, connect.NewRequest(&lifeboatv1.PutSecretVersionRequest{Vault: vault, Secret: "db", Value: []byte(value)}))
	return err
}

// wantPeersAsked waits until a region remembers that a peer has answered. It does not
// ask the region, which would have it look.
func (s *shop) wantPeersAsked(region string) {
	s.t.Helper()
	until(s.t, region+" has asked its peers", func(context.Context) (bool, any) {
		log, err := os.ReadFile(s.regions.Region(region).Control().LogFile())
		return err == nil && strings.Contains(string(log), "the peers were asked"), err
	})
}

// A region that starts while no peer answers accepts mutations or refuses them, as it
// is configured; those of what no other region holds it accepts anyway.
func TestARegionThatStartsAloneServesOrRefuses(t *testing.T) {
	alone := config.Serve
	s := startShop(t, lifeboattest.Options{Configure: func(_ string, c *config.Config) {
		c.Replication.AskPeersFor, c.Replication.WhenNoPeerAnswers = 200*time.Millisecond, alone
	}}, "east", "west")
	_, err := s.at("east").CreateVault(t.Context(), connect.NewRequest(&lifeboatv1.CreateVaultRequest{Name: "local"}))
	must(t, err)
	for _, vault := range []string{"shop", "local"} {
		_, err := s.at("east").CreateSecret(t.Context(), connect.NewRequest(&lifeboatv1.CreateSecretRequest{Vault: vault, Name: "db", Value: []byte("one")}))
		must(t, err)
	}
	s.wantState("east", "db", "west", inSync)
	s.regions.Isolate("east")
	s.restart("east")
	must(t, s.tryPut(t.Context(), "east", "shop", "served alone"))

	alone = config.Refuse
	s.restart("east")
	if err := s.tryPut(t.Context(), "east", "shop", "refused"); codeOf(err) != secret.CodeUnavailable || !strings.Contains(err.Error(), "no peer has said") {
		t.Errorf("a mutation of a replicated secret while no peer answers: %v", err)
	}
	_, err = s.at("east").ReplicateVault(t.Context(), connect.NewRequest(&lifeboatv1.ReplicateVaultRequest{Vault: "shop", Targets: &lifeboatv1.ReplicateVaultRequest_Targets{}}))
	if codeOf(err) != secret.CodeUnavailable {
		t.Errorf("a replicated vault that is to stay alone while no peer answers: %v", err)
	}
	must(t, s.tryPut(t.Context(), "east", "local", "of east alone"))
	if got, err := s.get(t.Context(), "east", "db"); err != nil || got != "served alone" {
		t.Errorf("east answers %q, %v", got, err)
	}
	status, err := s.regions.Region("east").Operator().GetStatus(t.Context(), connect.NewRequest(&lifeboatv1.GetStatusRequest{}))
	must(t, err)
	if !strings.Contains(status.Msg.String(), "peers asked") {
		t.Errorf("the status does not say so: %v", status.Msg.GetChecks())
	}
	s.regions.Rejoin("east")
	until(t, "east accepts mutations when a peer has answered", func(ctx context.Context) (bool, any) {
		err := s.tryPut(ctx, "east", "shop", "after the answer")
		return err == nil, err
	})
	s.wantValue("west", "db", "after the answer")
}

// A region that was taken over and starts without having heard of it refuses what it
// would otherwise have to keep as a conflict.
func TestARegionThatWasTakenOverRefusesUntilItHasHeard(t *testing.T) {
	s := startShop(t, lifeboattest.Options{Configure: func(_ string, c *config.Config) {
		c.Replication.AskPeersFor, c.Replication.WhenNoPeerAnswers = 0, config.Refuse
	}}, "east", "west")
	s.create("east", "db", "one")
	s.wantState("east", "db", "west", inSync)
	s.wantSynchronised("east")
	s.wantPeersAsked("west") // or it would refuse as well
	s.regions.Isolate("east")
	s.wantMissed("west", "east")
	s.takeOver("west", "east")
	must(t, s.tryPut(t.Context(), "west", "shop", "of west"))
	s.restart("east")
	if err := s.tryPut(t.Context(), "east", "shop", "too late"); codeOf(err) != secret.CodeUnavailable {
		t.Errorf("a mutation before a peer has answered: %v", err)
	}
	s.regions.Rejoin("east")
	until(t, "east knows that it was taken over", func(ctx context.Context) (bool, any) {
		err := s.tryPut(ctx, "east", "shop", "too late")
		if err == nil {
			t.Fatal("east accepts a mutation although it was taken over")
		}
		return codeOf(err) == secret.CodeNotHome, err
	})
	s.wantReconciled("east", "west")
	s.wantValue("east", "db", "of west")
	if found := s.conflicts(t.Context(), "east"); len(found) > 0 {
		t.Errorf("conflicts: %v", found)
	}
}
