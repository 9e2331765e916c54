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

const (
	pending  = lifeboatv1.ReplicationState_REPLICATION_STATE_PENDING
	inSync   = lifeboatv1.ReplicationState_REPLICATION_STATE_IN_SYNC
	failed   = lifeboatv1.ReplicationState_REPLICATION_STATE_FAILED
	isPaused = lifeboatv1.ReplicationState_REPLICATION_STATE_PAUSED
)

func TestSecretsAppearInEveryRegionTheyAreMeantFor(t *testing.T) {
	s := startShop(t, lifeboattest.Options{}, "east", "west", "south")
	s.create("east", "db", "one")
	for _, region := range []string{"west", "south"} {
		s.wantValue(region, "db", "one")
		s.wantState("east", "db", region, inSync)
	}
	for i := range 5 {
		s.put("east", "db", fmt.Sprint(i))
	}
	s.wantValue("west", "db", "4")
	s.wantValue("south", "db", "4")

	// A replica is shown as one and refuses mutation.
	described, err := s.at("west").DescribeSecret(t.Context(), connect.NewRequest(&lifeboatv1.DescribeSecretRequest{Vault: "shop", Secret: "db"}))
	must(t, err)
	if home := described.Msg.GetSecret().GetOwnership().GetHomeRegion(); home != "east" {
		t.Errorf("the replica's home is %q", home)
	}
	_, err = s.at("west").PutSecretVersion(t.Context(), connect.NewRequest(&lifeboatv1.PutSecretVersionRequest{Vault: "shop", Secret: "db", Value: []byte("x")}))
	if codeOf(err) != secret.CodeNotHome {
		t.Errorf("a mutation of a replica: %v", err)
	}

	// Deletion and restore travel.
	ref := &lifeboatv1.DeleteSecretRequest{Vault: "shop", Secret: "db"}
	_, err = s.at("east").DeleteSecret(t.Context(), connect.NewRequest(ref))
	must(t, err)
	s.wantCode("west", "db", secret.CodeWrongState)
	_, err = s.at("east").RestoreSecret(t.Context(), connect.NewRequest(&lifeboatv1.RestoreSecretRequest{Vault: "shop", Secret: "db"}))
	must(t, err)
	s.wantValue("west", "db", "4")
	ref.Immediate = true
	_, err = s.at("east").DeleteSecret(t.Context(), connect.NewRequest(ref))
	must(t, err)
	s.wantCode("west", "db", secret.CodeNotFound)
	s.create("east", "db", "anew")
	s.wantValue("west", "db", "anew")
	s.wantValue("south", "db", "anew")
}

func TestATargetThatIsCutOffHoldsUpNobodyAndCatchesUp(t *testing.T) {
	s := startShop(t, lifeboattest.Options{}, "east", "west", "south")
	s.create("east", "db", "one")
	s.wantValue("west", "db", "one")
	s.regions.Isolate("west")
	for i := range 20 {
		s.create("east", fmt.Sprint("s", i), "v")
		s.put("east", "db", fmt.Sprint(i))
	}
	s.wantValue("south", "db", "19")
	s.wantValue("south", "s19", "v")
	if state := s.wantState("east", "db", "west", pending); state.GetLagSeconds() <= 0 {
		t.Errorf("no lag shows: %v", state)
	}
	if got, err := s.get(t.Context(), "west", "db"); err != nil || got != "one" {
		t.Errorf("west, cut off, answers %q, %v", got, err)
	}
	s.regions.Rejoin("west")
	s.wantValue("west", "db", "19")
	for i := range 20 {
		s.wantValue("west", fmt.Sprint("s", i), "v")
	}
	s.wantState("east", "db", "west", inSync)
}

func TestTargetsAreChangedInPlace(t *testing.T) {
	s := startShop(t, lifeboattest.Options{}, "east", "west", "south")
	for i := range 30 {
		s.create("east", fmt.Sprint("s", i), "v")
	}
	s.wantValue("west", "s29", "v")
	s.replicate("east", "south")
	s.wantCode("west", "s0", secret.CodeUnauthenticated) // the account is gone there too
	s.put("east", "s0", "second")
	s.wantValue("south", "s0", "second")
	s.replicate("east", "south", "west")
	for i := range 30 {
		value := "v"
		if i == 0 {
			value = "second"
		}
		s.wantValue("west", fmt.Sprint("s", i), value)
	}
}

// wantToken waits until a region accepts a token, or refuses it.
func (s *shop) wantToken(region, token string, accepted bool) {
	s.t.Helper()
	r := s.regions.Region(region)
	until(s.t, fmt.Sprintf("%s accepts the token: %t", region, accepted), func(ctx context.Context) (bool, any) {
		_, err := r.Client(r.Control(), token).WhoAmI(ctx, connect.NewRequest(&lifeboatv1.WhoAmIRequest{}))
		return accepted && err == nil || !accepted && err != nil && codeOf(err) == secret.CodeUnauthenticated, err
	})
}

func TestRevocationReachesEveryRegion(t *testing.T) {
	s := startShop(t, lifeboattest.Options{}, "east", "west")
	s.create("east", "db", "one")
	s.wantValue("west", "db", "one")
	token, err := s.at("east").CreateToken(t.Context(), connect.NewRequest(&lifeboatv1.CreateTokenRequest{}))
	must(t, err)
	s.wantToken("west", token.Msg.GetToken(), true)
	_, err = s.at("east").RevokeCredential(t.Context(), connect.NewRequest(&lifeboatv1.RevokeCredentialRequest{CredentialId: token.Msg.GetCredential().GetId()}))
	must(t, err)
	s.wantToken("west", token.Msg.GetToken(), false)
}

// wantCleared waits until no mutation is under way in a region.
func (s *shop) wantCleared(region string) {
	s.t.Helper()
	until(s.t, region+" has cleared everything", func(ctx context.Context) (bool, any) {
		status, err := s.regions.Region(region).Operator().GetStatus(ctx, connect.NewRequest(&lifeboatv1.GetStatusRequest{}))
		if err == nil {
			err = lifeboattest.Cleared(status.Msg)
		}
		return err == nil, err
	})
}

func TestADeletionReachesATargetThatWasNoneMeanwhile(t *testing.T) {
	s := startShop(t, lifeboattest.Options{}, "east", "west")
	_, err := s.at("east").CreatePrincipal(t.Context(), connect.NewRequest(&lifeboatv1.CreatePrincipalRequest{Name: "till", Kind: lifeboatv1.PrincipalKind_PRINCIPAL_KIND_WORKLOAD}))
	must(t, err)
	token, err := s.at("east").CreateToken(t.Context(), connect.NewRequest(&lifeboatv1.CreateTokenRequest{Principal: "till"}))
	must(t, err)
	s.wantToken("west", token.Msg.GetToken(), true)
	s.regions.Link("east", "west").Cut() // west does not hear that it is no target
	s.replicate("east")
	_, err = s.at("east").DeletePrincipal(t.Context(), connect.NewRequest(&lifeboatv1.DeletePrincipalRequest{Principal: "till"}))
	must(t, err)
	s.wantCleared("east")
	s.replicate("east", "west")
	s.regions.Link("east", "west").Heal()
	s.wantToken("west", token.Msg.GetToken(), false)
}

func TestPauseResumeAndFailures(t *testing.T) {
	s := startShop(t, lifeboattest.Options{}, "east", "west")
	s.create("east", "db", "one")
	s.wantValue("west", "db", "one")
	operator := s.regions.Region("east").Operator()
	_, err := operator.PauseQueue(t.Context(), connect.NewRequest(&lifeboatv1.PauseQueueRequest{Region: "west", Reason: "maintenance"}))
	must(t, err)
	s.put("east", "db", "two")
	s.wantState("east", "db", "west", isPaused)
	queues, err := operator.ListQueues(t.Context(), connect.NewRequest(&lifeboatv1.ListQueuesRequest{}))
	must(t, err)
	if q := queues.Msg.GetQueues()[0]; !q.GetPaused() || q.GetPauseReason() != "maintenance" || q.GetDepth() != 1 {
		t.Errorf("the queue is %v", q)
	}
	_, err = operator.ResumeQueue(t.Context(), connect.NewRequest(&lifeboatv1.ResumeQueueRequest{Region: "west"}))
	must(t, err)
	s.wantValue("west", "db", "two")
	_, err = operator.PauseQueue(t.Context(), connect.NewRequest(&lifeboatv1.PauseQueueRequest{Region: "mars"}))
	if codeOf(err) != secret.CodeNotFound {
		t.Errorf("a region that is no peer: %v", err)
	}

	// The account of that name in west is another one: nothing is overwritten, and
	// the reason shows.
	other, err := s.regions.Region("east").NewAccount(t.Context(), "taken")
	must(t, err)
	_, err = s.regions.Region("west").NewAccount(t.Context(), "taken")
	must(t, err)
	east := s.regions.Region("east")
	theirs := east.Client(east.Control(), other.Token)
	_, err = theirs.ReplicateVault(t.Context(), connect.NewRequest(&lifeboatv1.ReplicateVaultRequest{
		Vault: "taken", Targets: &lifeboatv1.ReplicateVaultRequest_Targets{Targets: []*lifeboatv1.Target{{Region: "west"}}},
	}))
	must(t, err)
	until(t, "the failure is listed", func(ctx context.Context) (bool, any) {
		failures, err := operator.ListFailures(ctx, connect.NewRequest(&lifeboatv1.ListFailuresRequest{Region: "west"}))
		return err == nil && len(failures.Msg.GetFailures()) > 0, []any{failures, err}
	})
	s.put("east", "db", "three")
	s.wantValue("west", "db", "three")
}

func TestAWriteCanAskForTargets(t *testing.T) {
	s := startShop(t, lifeboattest.Options{}, "east", "west", "south")
	s.create("east", "db", "one")
	s.wantValue("west", "db", "one")
	put := func(n uint32) *lifeboatv1.Replicated {
		answer, err := s.at("east").PutSecretVersion(t.Context(), connect.NewRequest(&lifeboatv1.PutSecretVersionRequest{
			Vault: "shop", Secret: "db", Value: []byte(fmt.Sprint(n)), AckTargets: n,
		}))
		must(t, err)
		return answer.Msg.GetReplicated()
	}
	if r := put(2); !r.GetSatisfied() || len(r.GetReceived()) != 2 {
		t.Errorf("both targets were asked for: %v", r)
	}
	s.regions.Isolate("south")
	if r := put(1); !r.GetSatisfied() || len(r.GetReceived()) != 1 || len(r.GetOutstanding()) != 1 || r.GetOutstanding()[0] != "south" {
		t.Errorf("with south cut off: %v", r)
	}
	_, err := s.at("east").PutSecretVersion(t.Context(), connect.NewRequest(&lifeboatv1.PutSecretVersionRequest{
		Vault: "shop", Secret: "db", Value: []byte("x"), AckTargets: 3,
	}))
	if codeOf(err) != secret.CodeInvalid {
		t.Errorf("more targets than there are: %v", err)
	}
}

// A token of one region is understood in another: it answers that state or a newer
// one, or says that it has not got so far.
func TestRevisionTokensAreUnderstoodInOtherRegions(t *testing.T) {
	s := startShop(t, lifeboattest.Options{}, "east", "west")
	s.create("east", "db", "one")
	s.wantValue("west", "db", "one")
	read := func(token string) (*lifeboatv1.GetSecretValueResponse, error) {
		answer, err := s.at("west").GetSecretValue(t.Context(), connect.NewRequest(&lifeboatv1.GetSecretValueRequest{
			Vault: "shop", Secret: "db", RevisionToken: token,
		}))
		if err != nil {
			return nil, err
		}
		return answer.Msg, nil
	}
	s.regions.Isolate("west")
	token := s.put("east", "db", "two").GetRevisionToken()
	if _, err := read(token); codeOf(err) != secret.CodeNotReached {
		t.Errorf("west, cut off, answers a token that it has not reached: %v", err)
	}
	s.regions.Rejoin("west")
	until(t, "west reaches the token", func(context.Context) (bool, any) {
		got, err := read(token)
		return err == nil && string(got.GetValue()) == "two", err
	})
	back, err := s.at("east").GetSecretValue(t.Context(), connect.NewRequest(&lifeboatv1.GetSecretValueRequest{
		Vault: "shop", Secret: "db", RevisionToken: func() string { got, err := read(token); must(t, err); return got.GetRevisionToken() }(),
	}))
	must(t, err)
	if string(back.Msg.GetValue()) != "two" {
		t.Errorf("east answers west's token with %q", back.Msg.GetValue())
	}
}
