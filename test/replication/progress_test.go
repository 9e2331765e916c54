package replication_test

import (
	"context"
	"fmt"
	"testing"

	"connectrpc.com/connect"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

func TestTheStatusSaysHowFarTheFirstSynchronisationIs(t *testing.T) {
	s := startShop(t, lifeboattest.Options{}, "east", "west")
	s.replicate("east")
	const secrets = 7
	for i := range secrets {
		s.create("east", fmt.Sprint("s", i), "v")
	}
	status := func(ctx context.Context) (*lifeboatv1.VaultTargetStatus, error) {
		answer, err := s.at("east").GetVaultReplication(ctx, connect.NewRequest(&lifeboatv1.GetVaultReplicationRequest{Vault: "shop"}))
		if err != nil || len(answer.Msg.GetTargets()) == 0 {
			return nil, err
		}
		return answer.Msg.GetTargets()[0], nil
	}
	s.regions.Isolate("west")
	s.replicate("east", "west")
	until(t, "it is known how much there is to do", func(ctx context.Context) (bool, any) {
		now, err := status(ctx)
		return now.GetSynchronising() && now.GetToSynchronise() == secrets && now.GetSynchronised() == 0, []any{now, err}
	})
	s.regions.Rejoin("west")
	until(t, "it is over", func(ctx context.Context) (bool, any) {
		now, err := status(ctx)
		return err == nil && now != nil && !now.GetSynchronising() && now.GetState() == lifeboatv1.ReplicationState_REPLICATION_STATE_RECEIVED, []any{now, err}
	})
	s.wantValue("west", "s6", "v")
}
