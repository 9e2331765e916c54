package behaviour_test

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func TestVersionsStagesAndLabels(t *testing.T) {
	a := account(t, shared)
	c, v := a.Client(shared.Host(0)), a.Vault
	create(t, c, v, "a", "one")
	second := put(t, c, v, "a", "two")
	pending := do(t, c.PutSecretVersion, &lifeboatv1.PutSecretVersionRequest{
		Vault: v, Secret: "a", Value: []byte("three"), Stages: []string{"PENDING", "blue"}, VersionId: "mine",
		Wait: lifeboatv1.Wait_WAIT_CLEARED,
	})
	if n := pending.GetVersion(); n.GetId() != "mine" || n.GetNumber() != 3 || !slices.Contains(n.GetStages(), "LATEST") {
		t.Errorf("the new version is %v", n)
	}
	want := func(request *lifeboatv1.GetSecretValueRequest, value string) {
		t.Helper()
		request.Vault, request.Secret = v, "a"
		for _, p := range shared.Processes() {
			if got := do(t, a.Client(p).GetSecretValue, request); string(got.GetValue()) != value {
				t.Errorf("%s: %v answers %q, want %q", p.ID, request, got.GetValue(), value)
			}
		}
	}
	want(&lifeboatv1.GetSecretValueRequest{}, "two")
	want(&lifeboatv1.GetSecretValueRequest{Stage: "PREVIOUS"}, "one")
	want(&lifeboatv1.GetSecretValueRequest{Stage: "PENDING"}, "three")
	want(&lifeboatv1.GetSecretValueRequest{Stage: "LATEST"}, "three")
	want(&lifeboatv1.GetSecretValueRequest{Stage: "blue"}, "three")
	want(&lifeboatv1.GetSecretValueRequest{VersionNumber: 1}, "one")
	want(&lifeboatv1.GetSecretValueRequest{VersionId: second.GetVersion().GetId()}, "two")
	fails(t, c.MoveStage, &lifeboatv1.MoveStageRequest{Vault: v, Secret: "a", Stage: "CURRENT", ToVersionId: "mine", FromVersionId: "mine"}, secret.CodeStale)
	do(t, c.MoveStage, &lifeboatv1.MoveStageRequest{
		Vault: v, Secret: "a", Stage: "CURRENT", ToVersionId: "mine", FromVersionId: second.GetVersion().GetId(), Wait: lifeboatv1.Wait_WAIT_CLEARED,
	})
	want(&lifeboatv1.GetSecretValueRequest{}, "three")
	want(&lifeboatv1.GetSecretValueRequest{Stage: "PREVIOUS"}, "two")
	fails(t, c.GetSecretValue, &lifeboatv1.GetSecretValueRequest{Vault: v, Secret: "a", Stage: "PENDING"}, secret.CodeNotFound)
	before := describe(t, c, v, "a")
	do(t, c.MoveStage, &lifeboatv1.MoveStageRequest{Vault: v, Secret: "a", Stage: "CURRENT", ToVersionId: "mine"})
	if after := describe(t, c, v, "a"); after.GetOwnership().GetOrder().GetSeq() != before.GetOwnership().GetOrder().GetSeq() {
		t.Error("moving a stage to where it is counts as a mutation")
	}
	do(t, c.MoveStage, &lifeboatv1.MoveStageRequest{Vault: v, Secret: "a", Stage: "blue", Wait: lifeboatv1.Wait_WAIT_CLEARED})
	fails(t, c.GetSecretValue, &lifeboatv1.GetSecretValueRequest{Vault: v, Secret: "a", Stage: "blue"}, secret.CodeNotFound)
}

func TestDescriptionMetadataAndTags(t *testing.T) {
	a := account(t, shared)
	c, v := a.Client(shared.Host(1)), a.Vault
	made := do(t, c.CreateSecret, &lifeboatv1.CreateSecretRequest{
		Vault: v, Name: "a", Description: "what it is", ContentType: "text/plain",
		Tags: map[string]string{"env": "test"}, Metadata: map[string]string{"owner": "me"}, Wait: lifeboatv1.Wait_WAIT_CLEARED,
	})
	if made.GetSecret().GetDescription() != "" || made.GetSecret().GetMetadata() != nil {
		t.Error("a mutation answers what its caller might not be permitted to read")
	}
	// A secret may be without a version.
	fails(t, c.GetSecretValue, reads(v, "a"), secret.CodeNotFound)
	d := describe(t, c, v, "a")
	if d.GetDescription() != "what it is" || d.GetMetadata()["owner"] != "me" || d.GetTags()["env"] != "test" || len(d.GetVersions()) != 0 {
		t.Errorf("described as %v", d)
	}
	text := "something else"
	do(t, c.UpdateSecret, &lifeboatv1.UpdateSecretRequest{
		Vault: v, Secret: d.GetId(), Description: &text, SetTags: map[string]string{"b": "c"}, RemoveTags: []string{"env"},
		SetMetadata: true, Wait: lifeboatv1.Wait_WAIT_CLEARED,
	})
	d = describe(t, c, "", d.GetId())
	if d.GetDescription() != text || len(d.GetMetadata()) != 0 || len(d.GetTags()) != 1 || d.GetTags()["b"] != "c" || d.GetContentType() != "text/plain" {
		t.Errorf("described as %v", d)
	}
}

func TestDeletionAndRestoration(t *testing.T) {
	a := account(t, shared)
	c, v := a.Client(shared.Host(0)), a.Vault
	id := create(t, c, v, "a", "one").GetSecret().GetId()
	deleted := do(t, c.DeleteSecret, &lifeboatv1.DeleteSecretRequest{
		Vault: v, Secret: "a", RecoveryWindow: durationpb.New(7 * day), Wait: lifeboatv1.Wait_WAIT_CLEARED,
	}).GetSecret()
	if at := time.Until(deleted.GetDeleteAt().AsTime()); deleted.GetState() != lifeboatv1.State_STATE_PENDING_DELETION || at > 7*day || at < 7*day-time.Hour {
		t.Errorf("deleted: %v", deleted)
	}
	for _, call := range []func() *lifeboatv1.ErrorInfo{
		func() *lifeboatv1.ErrorInfo { return fails(t, c.GetSecretValue, reads(v, "a"), secret.CodeWrongState) },
		func() *lifeboatv1.ErrorInfo {
			return fails(t, c.PutSecretVersion, &lifeboatv1.PutSecretVersionRequest{Vault: v, Secret: "a", Value: []byte("x")}, secret.CodeWrongState)
		},
		func() *lifeboatv1.ErrorInfo {
			return fails(t, c.UpdateSecret, &lifeboatv1.UpdateSecretRequest{Vault: v, Secret: "a"}, secret.CodeWrongState)
		},
		func() *lifeboatv1.ErrorInfo {
			return fails(t, c.MoveStage, &lifeboatv1.MoveStageRequest{Vault: v, Secret: "a", Stage: "x"}, secret.CodeWrongState)
		},
		func() *lifeboatv1.ErrorInfo {
			return fails(t, c.DeleteSecret, &lifeboatv1.DeleteSecretRequest{Vault: v, Secret: "a"}, secret.CodeWrongState)
		},
		func() *lifeboatv1.ErrorInfo {
			return fails(t, c.CreateSecret, &lifeboatv1.CreateSecretRequest{Vault: v, Name: "a", Value: []byte("x")}, secret.CodeWrongState)
		},
	} {
		if info := call(); info.GetHint() == "" {
			t.Errorf("no hint says what to do: %v", info)
		}
	}
	describe(t, c, v, "a")
	restore := &lifeboatv1.RestoreSecretRequest{Vault: v, Secret: "a", Wait: lifeboatv1.Wait_WAIT_CLEARED}
	if got := do(t, c.RestoreSecret, restore).GetSecret(); got.GetDeleteAt() != nil {
		t.Errorf("restored: %v", got)
	}
	do(t, c.RestoreSecret, restore)
	if got := get(t, c, v, "a"); string(got.GetValue()) != "one" || got.GetSecretId() != id {
		t.Errorf("after the restoration: %v", got)
	}
}

func TestImmediateDeletionFreesTheName(t *testing.T) {
	a := account(t, shared)
	c, v := a.Client(shared.Host(0)), a.Vault
	first := create(t, c, v, "a", "one")
	purge := &lifeboatv1.DeleteSecretRequest{Vault: v, Secret: "a", Immediate: true, Wait: lifeboatv1.Wait_WAIT_CLEARED}
	do(t, c.DeleteSecret, purge)
	fails(t, c.DeleteSecret, purge, secret.CodeNotFound)
	for _, p := range shared.Processes() {
		fails(t, a.Client(p).GetSecretValue, reads(v, "a"), secret.CodeNotFound)
		fails(t, a.Client(p).DescribeSecret, &lifeboatv1.DescribeSecretRequest{Vault: v, Secret: first.GetSecret().GetId()}, secret.CodeNotFound)
	}
	fails(t, c.RestoreSecret, &lifeboatv1.RestoreSecretRequest{Vault: v, Secret: first.GetSecret().GetId()}, secret.CodeNotFound)
	second := create(t, c, v, "a", "two")
	if second.GetSecret().GetId() == first.GetSecret().GetId() {
		t.Error("a secret that was created again has the old one's ID")
	}
	// A token of the one that is gone says nothing of the one that has its name.
	fails(t, c.GetSecretValue, &lifeboatv1.GetSecretValueRequest{Vault: v, Secret: "a", RevisionToken: first.GetRevisionToken()}, secret.CodeInvalid)
}

func TestRetentionKeepsSoManyVersionsAndTheNamed(t *testing.T) {
	a := account(t, shared)
	c, v := a.Client(shared.Host(0)), a.Vault
	do(t, c.CreateSecret, &lifeboatv1.CreateSecretRequest{
		Vault: v, Name: "a", Value: []byte("1"), Retention: &lifeboatv1.Retention{MaxVersions: 3}, VersionId: "first",
	})
	do(t, c.MoveStage, &lifeboatv1.MoveStageRequest{Vault: v, Secret: "a", Stage: "keep", ToVersionId: "first"})
	for i := range 6 {
		put(t, c, v, "a", strconv.Itoa(i+2))
	}
	var numbers []uint64
	for _, version := range describe(t, c, v, "a").GetVersions() {
		numbers = append(numbers, version.GetNumber())
	}
	if !slices.Equal(numbers, []uint64{1, 6, 7}) {
		t.Errorf("the versions %v are left", numbers)
	}
	fails(t, c.GetSecretValue, &lifeboatv1.GetSecretValueRequest{Vault: v, Secret: "a", VersionNumber: 4}, secret.CodeNotFound)
	if got := do(t, c.GetSecretValue, &lifeboatv1.GetSecretValueRequest{Vault: v, Secret: "a", Stage: "keep"}); string(got.GetValue()) != "1" {
		t.Errorf("the kept version is %q", got.GetValue())
	}
}

func TestRules(t *testing.T) {
	a := account(t, shared)
	c, v := a.Client(shared.Host(0)), a.Vault
	do(t, c.CreateSecret, &lifeboatv1.CreateSecretRequest{
		Vault: v, Name: "no-reuse", Value: []byte("1"), Rules: &lifeboatv1.Rules{ForbidReuse: true}, Retention: &lifeboatv1.Retention{MaxVersions: 1},
	})
	for i := range 4 {
		put(t, c, v, "no-reuse", strconv.Itoa(i+2))
	}
	info := fails(t, c.PutSecretVersion, &lifeboatv1.PutSecretVersionRequest{Vault: v, Secret: "no-reuse", Value: []byte("1")}, secret.CodeInvalid)
	if info.GetField() != "value" {
		t.Errorf("reuse is refused for the field %q", info.GetField())
	}
	soon := timestamppb.New(time.Now().Add(300 * time.Millisecond))
	do(t, c.CreateSecret, &lifeboatv1.CreateSecretRequest{
		Vault: v, Name: "expires", Value: []byte("v"), Rules: &lifeboatv1.Rules{ExpiresAt: soon}, Wait: lifeboatv1.Wait_WAIT_CLEARED,
	})
	create(t, c, v, "version", "1")
	do(t, c.PutSecretVersion, &lifeboatv1.PutSecretVersionRequest{
		Vault: v, Secret: "version", Value: []byte("2"), ExpiresAt: soon, Wait: lifeboatv1.Wait_WAIT_CLEARED,
	})
	for _, name := range []string{"expires", "version"} {
		eventually(t, name, func() bool {
			_, err := c.GetSecretValue(t.Context(), ask(reads(v, name)))
			if err != nil && codeOf(err) != secret.CodeExpired {
				t.Fatal(err)
			}
			return err != nil
		})
		describe(t, c, v, name)
	}
	if got := do(t, c.GetSecretValue, &lifeboatv1.GetSecretValueRequest{Vault: v, Secret: "version", Stage: "PREVIOUS"}); string(got.GetValue()) != "1" {
		t.Errorf("PREVIOUS is %q", got.GetValue())
	}
}

func TestExpectations(t *testing.T) {
	a := account(t, shared)
	c, v := a.Client(shared.Host(0)), a.Vault
	created := create(t, c, v, "a", "1").GetSecret()
	old := created.GetOwnership().GetOrder()
	second := put(t, c, v, "a", "2")
	for _, call := range []func() *lifeboatv1.ErrorInfo{
		func() *lifeboatv1.ErrorInfo {
			return fails(t, c.PutSecretVersion, &lifeboatv1.PutSecretVersionRequest{Vault: v, Secret: "a", Value: []byte("x"), ExpectedOrder: old}, secret.CodeStale)
		},
		func() *lifeboatv1.ErrorInfo {
			return fails(t, c.UpdateSecret, &lifeboatv1.UpdateSecretRequest{Vault: v, Secret: "a", ExpectedOrder: old}, secret.CodeStale)
		},
		func() *lifeboatv1.ErrorInfo {
			return fails(t, c.MoveStage, &lifeboatv1.MoveStageRequest{Vault: v, Secret: "a", Stage: "x", ToVersionId: second.GetVersion().GetId(), ExpectedOrder: old}, secret.CodeStale)
		},
		func() *lifeboatv1.ErrorInfo {
			return fails(t, c.DeleteSecret, &lifeboatv1.DeleteSecretRequest{Vault: v, Secret: "a", ExpectedOrder: old}, secret.CodeStale)
		},
	} {
		if info := call(); info.GetField() != "expected_order" {
			t.Errorf("refused for the field %q", info.GetField())
		}
	}
	fails(t, c.PutSecretVersion, &lifeboatv1.PutSecretVersionRequest{Vault: v, Secret: "a", Value: []byte("x"), ExpectedCurrentVersionId: "other"}, secret.CodeStale)
	now := second.GetSecret().GetOwnership().GetOrder()
	third := do(t, c.PutSecretVersion, &lifeboatv1.PutSecretVersionRequest{
		Vault: v, Secret: "a", Value: []byte("3"), ExpectedOrder: now, ExpectedCurrentVersionId: second.GetVersion().GetId(),
	})
	if got := third.GetSecret(); got.GetOwnership().GetOrder().GetSeq() != now.GetSeq()+1 {
		t.Errorf("the secret is at %v", got.GetOwnership())
	}
}

func TestRequestTokens(t *testing.T) {
	a := account(t, shared)
	c, v := a.Client(shared.Host(0)), a.Vault
	one := &lifeboatv1.CreateSecretRequest{Vault: v, Name: "a", Value: []byte("1"), RequestToken: "t1", Tags: map[string]string{"a": "b", "c": "d"}}
	first, again := do(t, c.CreateSecret, one), do(t, c.CreateSecret, one)
	if !again.GetReplayed() || again.GetSecret().GetId() != first.GetSecret().GetId() || again.GetRevisionToken() != first.GetRevisionToken() {
		t.Errorf("the replay answers %v, first was %v", again, first)
	}
	other := &lifeboatv1.CreateSecretRequest{Vault: v, Name: "a", Value: []byte("2"), RequestToken: "t1"}
	fails(t, c.CreateSecret, other, secret.CodeTokenReused)
	two := &lifeboatv1.PutSecretVersionRequest{Vault: v, Secret: "a", Value: []byte("2"), RequestToken: "t2"}
	version, replay := do(t, c.PutSecretVersion, two), do(t, c.PutSecretVersion, two)
	if !replay.GetReplayed() || replay.GetVersion().GetId() != version.GetVersion().GetId() {
		t.Errorf("the replay answers %v", replay)
	}
	fails(t, c.PutSecretVersion, &lifeboatv1.PutSecretVersionRequest{Vault: v, Secret: "a", Value: []byte("3"), RequestToken: "t2"}, secret.CodeTokenReused)
	d := do(t, c.DescribeSecret, &lifeboatv1.DescribeSecretRequest{Vault: v, Secret: "a", RevisionToken: version.GetRevisionToken()})
	if n := len(d.GetSecret().GetVersions()); n != 2 {
		t.Errorf("%d versions", n)
	}

	vault := &lifeboatv1.CreateVaultRequest{Name: a.Name + "-2", RequestToken: "t3", Description: "x"}
	oneVault, sameVault := do(t, c.CreateVault, vault), do(t, c.CreateVault, vault)
	if oneVault.GetVault().GetId() != sameVault.GetVault().GetId() {
		t.Error("the replay answers another vault")
	}
	fails(t, c.CreateVault, &lifeboatv1.CreateVaultRequest{Name: vault.GetName(), RequestToken: "t3"}, secret.CodeTokenReused)
	fails(t, c.CreateVault, &lifeboatv1.CreateVaultRequest{Name: vault.GetName(), RequestToken: "t4"}, secret.CodeExists)

	p := &lifeboatv1.CreatePrincipalRequest{Name: "p", Kind: lifeboatv1.PrincipalKind_PRINCIPAL_KIND_USER, RequestToken: "t5", Roles: []string{"r"}}
	onePrincipal, samePrincipal := do(t, c.CreatePrincipal, p), do(t, c.CreatePrincipal, p)
	if onePrincipal.GetPrincipal().GetId() != samePrincipal.GetPrincipal().GetId() {
		t.Error("the replay answers another principal")
	}
	fails(t, c.CreatePrincipal, &lifeboatv1.CreatePrincipalRequest{Name: "p", Kind: lifeboatv1.PrincipalKind_PRINCIPAL_KIND_WORKLOAD, RequestToken: "t5"}, secret.CodeTokenReused)

	operator := shared.Operator()
	m := &lifeboatv1.CreateAccountRequest{Name: a.Name + "-2", RequestToken: "t6"}
	made, replayed := do(t, operator.CreateAccount, m), do(t, operator.CreateAccount, m)
	if made.GetAccount().GetId() != replayed.GetAccount().GetId() || replayed.GetToken() == made.GetToken() {
		t.Error("the replay answers another account, or its token again")
	}
	// The first token may have been lost: the replay's replaces it.
	fails(t, shared.Client(shared.Control(), made.GetToken()).WhoAmI, &lifeboatv1.WhoAmIRequest{}, secret.CodeUnauthenticated)
	do(t, shared.Client(shared.Control(), replayed.GetToken()).WhoAmI, &lifeboatv1.WhoAmIRequest{})
	fails(t, operator.CreateAccount, &lifeboatv1.CreateAccountRequest{Name: a.Name + "-2", RequestToken: "t7"}, secret.CodeExists)
}

func TestSixteenWritersLoseNoIncrement(t *testing.T) {
	a := account(t, shared)
	v := a.Vault
	create(t, a.Client(shared.Control()), v, "n", "0")
	const writers, each = 16, 2
	var running sync.WaitGroup
	for w := range writers {
		c := a.Client(shared.Processes()[w%len(shared.Processes())])
		running.Go(func() {
			for done := 0; done < each; {
				d, err := c.DescribeSecret(t.Context(), ask(&lifeboatv1.DescribeSecretRequest{Vault: v, Secret: "n"}))
				if err != nil {
					t.Error(err)
					return
				}
				got, err := c.GetSecretValue(t.Context(), ask(&lifeboatv1.GetSecretValueRequest{Vault: v, Secret: "n", RevisionToken: d.Msg.GetRevisionToken()}))
				if err != nil {
					t.Error(err)
					return
				}
				n, _ := strconv.Atoi(string(got.Msg.GetValue()))
				_, err = c.PutSecretVersion(t.Context(), ask(&lifeboatv1.PutSecretVersionRequest{
					Vault: v, Secret: "n", Value: []byte(strconv.Itoa(n + 1)), ExpectedOrder: d.Msg.GetSecret().GetOwnership().GetOrder(),
					ExpectedCurrentVersionId: got.Msg.GetVersionId(),
				}))
				switch codeOf(err) {
				case "":
					done++
				case secret.CodeStale:
				default:
					t.Error(err)
					return
				}
			}
		})
	}
	running.Wait()
	eventually(t, "all mutations show", func() bool {
		return describe(t, a.Client(shared.Control()), v, "n").GetOwnership().GetOrder().GetSeq() == writers*each+1
	})
	if got := get(t, a.Client(shared.Control()), v, "n"); string(got.GetValue()) != fmt.Sprint(writers*each) {
		t.Errorf("counted to %s", got.GetValue())
	}
}

func TestWritersWithoutExpectationsAllSucceed(t *testing.T) {
	a := account(t, shared)
	create(t, a.Client(shared.Control()), a.Vault, "n", "0")
	var running sync.WaitGroup
	for w := range 8 {
		c := a.Client(shared.Processes()[w%len(shared.Processes())])
		running.Go(func() {
			for i := range 3 {
				if _, err := c.PutSecretVersion(t.Context(), ask(&lifeboatv1.PutSecretVersionRequest{
					Vault: a.Vault, Secret: "n", Value: fmt.Append(nil, w, i),
				})); err != nil {
					t.Error(err)
				}
			}
		})
	}
	running.Wait()
	eventually(t, "all 25 mutations show", func() bool {
		return describe(t, a.Client(shared.Control()), a.Vault, "n").GetOwnership().GetOrder().GetSeq() == 25
	})
}
