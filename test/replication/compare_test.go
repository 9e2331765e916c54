package replication_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"connectrpc.com/connect"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/store"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

func remove(t testing.TB, shard *store.Shard, keys ...record.Key) {
	t.Helper()
	var txn record.Txn
	for _, key := range keys {
		stored, ok, err := shard.View(t.Context()).Get(key)
		must(t, err)
		if !ok {
			t.Fatalf("%s is not there", key)
		}
		txn.Require(key, stored.Revision)
		txn.Delete(key)
	}
	_, err := shard.Commit(t.Context(), txn)
	must(t, err)
}

// What is lost behind the protocol's back, a message, the message of a deletion, a
// record of a target, is found by comparing digests, and sent again.
func TestComparisonFindsAndHealsWhatWasLost(t *testing.T) {
	s := startShop(t, lifeboattest.Options{}, "east", "west")
	keys := make([]record.Key, 10)
	for i := range keys {
		s.create("east", fmt.Sprint("s", i), "v")
		described, err := s.at("east").DescribeSecret(t.Context(), connect.NewRequest(&lifeboatv1.DescribeSecretRequest{Vault: "shop", Secret: fmt.Sprint("s", i)}))
		must(t, err)
		keys[i] = record.SecretKey(secret.ID(described.Msg.GetSecret().GetId()))
	}
	for i := range keys {
		s.wantState("east", fmt.Sprint("s", i), "west", inSync)
	}
	s.wantSynchronised("east") // or what was lost would be sent without a comparison
	compare := func() *lifeboatv1.CompareVaultResponse {
		t.Helper()
		answer, err := s.at("east").CompareVault(t.Context(), connect.NewRequest(&lifeboatv1.CompareVaultRequest{Vault: "shop", Region: "west"}))
		must(t, err)
		return answer.Msg
	}
	if c := compare(); c.GetSecrets() != 10 || len(c.GetDiffering())+len(c.GetSurplus()) != 0 {
		t.Fatalf("equal copies: %v", c)
	}

	east, west := s.regions.Region("east").Shard(t), s.regions.Region("west").Shard(t)
	operator := s.regions.Region("east").Operator()
	_, err := operator.PauseQueue(t.Context(), connect.NewRequest(&lifeboatv1.PauseQueueRequest{Region: "west"}))
	must(t, err)
	s.put("east", "s0", "newer")
	_, err = s.at("east").DeleteSecret(t.Context(), connect.NewRequest(&lifeboatv1.DeleteSecretRequest{Vault: "shop", Secret: "s1", Immediate: true}))
	must(t, err)
	until(t, "both messages wait", func(ctx context.Context) (bool, any) {
		queues, err := operator.ListQueues(ctx, connect.NewRequest(&lifeboatv1.ListQueuesRequest{}))
		return err == nil && queues.Msg.GetQueues()[0].GetDepth() == 2, []any{queues, err}
	})
	remove(t, east, record.MessageKey("west", keys[0]), record.MessageKey("west", keys[1]))
	remove(t, west, keys[2])
	_, err = operator.ResumeQueue(t.Context(), connect.NewRequest(&lifeboatv1.ResumeQueueRequest{Region: "west"}))
	must(t, err)

	var found []string
	until(t, "all three are found", func(context.Context) (bool, any) {
		for _, id := range compare().GetDiffering() {
			if !slices.Contains(found, id) {
				found = append(found, id)
			}
		}
		return len(found) == 3, []any{found, "of", keys[:3]}
	})
	for _, key := range keys[:3] {
		if !slices.Contains(found, string(record.SecretIDOf(key))) {
			t.Errorf("%s was lost and is not among %v", key, found)
		}
	}
	s.wantIdentitiesHealed(west, compare)
	s.wantValue("west", "s0", "newer")
	s.wantCode("west", "s1", secret.CodeNotFound)
	s.wantValue("west", "s2", "v")
	until(t, "the copies are equal again", func(context.Context) (bool, any) {
		c := compare()
		return len(c.GetDiffering())+len(c.GetSurplus()) == 0, c
	})
}

// wantIdentitiesHealed loses a policy in west, behind the protocol's back, and wants a
// comparison to find it.
func (s *shop) wantIdentitiesHealed(west *store.Shard, compare func() *lifeboatv1.CompareVaultResponse) {
	s.t.Helper()
	account, err := s.at("east").GetAccount(s.t.Context(), connect.NewRequest(&lifeboatv1.GetAccountRequest{}))
	must(s.t, err)
	policy := record.PolicyKey(secret.AccountID(account.Msg.GetAccount().GetId()), "admin")
	remove(s.t, west, policy)
	until(s.t, "the policy is found", func(context.Context) (bool, any) {
		found := compare().GetDifferingIdentities()
		return slices.Equal(found, []string{string(policy)}), found
	})
	until(s.t, "the policy is there again", func(ctx context.Context) (bool, any) {
		_, ok, err := west.View(ctx).Get(policy)
		return ok, err
	})
}
