package replication_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

// moveRegion asks for the move of all of a region, but for what cannot be moved: the
// region's own account and vault.
func (s *shop) moveRegion(from, to string) error {
	_, err := s.regions.Region(from).Operator().MoveRegion(s.t.Context(), connect.NewRequest(&lifeboatv1.MoveRegionRequest{
		Region: from, To: to, LeaveBehind: true,
	}))
	return err
}

// regionMove returns the move of all of a region.
func (s *shop) regionMove(ctx context.Context, from string) (*lifeboatv1.Move, error) {
	answer, err := s.regions.Region(from).Operator().ListMoves(ctx, connect.NewRequest(&lifeboatv1.ListMovesRequest{}))
	if err != nil {
		return nil, err
	}
	for _, m := range answer.Msg.GetMoves() {
		if m.GetKind() == "REGION" {
			return m, nil
		}
	}
	return nil, nil
}

func (s *shop) wantMove(from string, what string, holds func(*lifeboatv1.Move) bool) {
	s.t.Helper()
	until(s.t, "the move of "+from+" "+what, func(ctx context.Context) (bool, any) {
		m, err := s.regionMove(ctx, from)
		return err == nil && holds(m), []any{m, err}
	})
}

func (s *shop) wantMoved(from string) {
	s.t.Helper()
	s.wantMove(from, "is done", func(m *lifeboatv1.Move) bool { return m.GetState() == "DONE" })
}

// createMany makes secrets with the value "one".
func (s *shop) createMany(region string, n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("secret-%03d", i))
		s.create(region, names[i], "one")
	}
	return names
}

// policy puts a policy with a description in the shop's account.
func (s *shop) policy(region, name, description string) error {
	_, err := s.at(region).PutPolicy(s.t.Context(), connect.NewRequest(&lifeboatv1.PutPolicyRequest{
		Name: name, Text: `permit(principal, action, resource);`, Description: description,
	}))
	return err
}

func TestARegionMovesWithItsAccountsAndBack(t *testing.T) {
	all := []string{"east", "west", "south"}
	s := startShop(t, lifeboattest.Options{}, all...)
	names := s.createMany("east", 3)
	must(t, s.policy("east", "extra", "of east"))
	s.wantSynchronised("east")
	east := s.regions.Region("east")

	// What cannot be moved is named before anything starts.
	_, err := east.NewAccount(t.Context(), "idle")
	must(t, err)
	_, err = east.Operator().MoveRegion(t.Context(), connect.NewRequest(&lifeboatv1.MoveRegionRequest{Region: "east", To: "west"}))
	if codeOf(err) != secret.CodeWrongState || !strings.Contains(err.Error(), "west does not hold its vault") {
		t.Fatalf("a move that leaves something behind: %v", err)
	}
	dry, err := east.Operator().MoveRegion(t.Context(), connect.NewRequest(&lifeboatv1.MoveRegionRequest{Region: "east", To: "west", DryRun: true}))
	must(t, err)
	scope, stays := dry.Msg.GetScope(), map[string]string{}
	for _, u := range scope.GetFirstUnmovable() {
		stays[u.GetKind()+" "+u.GetName()] = u.GetReason()
	}
	if scope.GetUnmovable() != 4 || stays["ACCOUNT idle"] == "" || stays["ACCOUNT test"] == "" || stays["VAULT test"] == "" || stays["VAULT idle"] == "" ||
		scope.GetSecrets() != 3 || scope.GetVaults() != 1 || scope.GetAccounts() != 1 || dry.Msg.GetBlocked() == "" {
		t.Errorf("the dry run says %v", dry.Msg)
	}
	for to, code := range map[string]secret.Code{"mars": secret.CodeNotFound, "east": secret.CodeInvalid} {
		if err := s.moveRegion("east", to); codeOf(err) != code {
			t.Errorf("a move to %s: %v", to, err)
		}
	}
	_, err = s.regions.Region("west").Operator().MoveRegion(t.Context(), connect.NewRequest(&lifeboatv1.MoveRegionRequest{Region: "east", To: "west"}))
	if codeOf(err) != secret.CodeNotHome {
		t.Errorf("west is asked to move east: %v", err)
	}

	must(t, s.moveRegion("east", "west"))
	s.wantMoved("east")
	s.wantHome("west", all, append([]string{""}, names...)...)
	must(t, s.policy("west", "extra", "of west"))
	must(t, s.policy("west", "new", "of west"))
	s.put("west", names[0], "of west")
	s.wantValue("south", names[0], "of west")

	must(t, s.moveRegion("west", "east"))
	s.wantMoved("west")
	s.wantHome("east", all, append([]string{""}, names...)...)
	must(t, s.policy("east", "new", "of east again"))
	s.put("east", names[0], "of east again")
	for _, region := range all {
		s.wantValue(region, names[0], "of east again")
		until(t, region+" has the policy of the account", func(ctx context.Context) (bool, any) {
			p, err := s.at(region).GetPolicy(ctx, connect.NewRequest(&lifeboatv1.GetPolicyRequest{Name: "new"}))
			if err != nil {
				return false, err
			}
			return p.Msg.GetPolicy().GetDescription() == "of east again", p.Msg
		})
		if found := s.conflicts(t.Context(), region); len(found) > 0 {
			t.Errorf("conflicts of %s: %v", region, found)
		}
	}
}

func TestAMoveWaitsForATargetThatIsCutOffAndGoesOn(t *testing.T) {
	s := startShop(t, lifeboattest.Options{}, "east", "west")
	names := s.createMany("east", 70)
	s.wantSynchronised("east")
	s.regions.Link("east", "west").Delay(50e6)
	must(t, s.moveRegion("east", "west"))
	s.wantMove("east", "has begun", func(m *lifeboatv1.Move) bool { return m.GetMoved() > 0 })
	s.regions.Isolate("west")
	s.wantMove("east", "waits", func(m *lifeboatv1.Move) bool { return m.GetState() == "DONE" || m.GetWaiting() != "" })
	m, err := s.regionMove(t.Context(), "east")
	must(t, err)
	if m.GetState() != "MOVING" {
		t.Fatalf("the move was over before the target was cut off: %v", m)
	}
	// What was not handed over yet can be changed here all the while.
	last := names[len(names)-1]
	s.put("east", last, "while west is cut off")
	must(t, s.regions.Region("east").Control().Restart(t.Context()))
	s.regions.Rejoin("west")
	s.wantMoved("east")
	s.wantHome("west", []string{"east", "west"}, names[0], last)
	s.wantValue("west", last, "while west is cut off")
	s.put("west", last, "of west")
}

func TestAMoveIsAbortedAndPreempted(t *testing.T) {
	s := startShop(t, lifeboattest.Options{}, "east", "west")
	names := s.createMany("east", 70)
	s.wantSynchronised("east")
	operator := s.regions.Region("east").Operator()
	abort := func() error {
		_, err := operator.AbortMove(t.Context(), connect.NewRequest(&lifeboatv1.AbortMoveRequest{Region: "east"}))
		return err
	}
	if err := abort(); codeOf(err) != secret.CodeNotFound {
		t.Errorf("a move that is none was aborted: %v", err)
	}
	s.regions.Link("east", "west").Delay(50e6)
	must(t, s.moveRegion("east", "west"))
	if err := s.moveRegion("east", "west"); codeOf(err) != secret.CodeExists {
		t.Errorf("a second move: %v", err)
	}
	_, err := s.at("east").MoveVault(t.Context(), connect.NewRequest(&lifeboatv1.MoveVaultRequest{Vault: "shop", To: "west"}))
	if codeOf(err) != secret.CodeExists && codeOf(err) != secret.CodeNotHome {
		t.Errorf("the move of a vault beside it: %v", err)
	}
	must(t, abort())
	s.wantMove("east", "is aborted", func(m *lifeboatv1.Move) bool { return m.GetState() == "ABORTED" })
	s.put("east", names[len(names)-1], "still of east")

	// What was left moves with the next one, until that is pre-empted.
	must(t, s.moveRegion("east", "west"))
	s.wantMove("east", "has begun", func(m *lifeboatv1.Move) bool { return m.GetMoved() > 0 })
	s.regions.Isolate("west")
	s.takeOver("east", "west")
	s.wantMove("east", "is pre-empted", func(m *lifeboatv1.Move) bool { return m.GetState() == "PRE_EMPTED" })
	some := []string{names[0], names[len(names)/2], names[len(names)-1]}
	for _, name := range some {
		s.put("east", name, "of east")
	}
	s.regions.Rejoin("west")
	s.regions.Link("east", "west").Delay(0)
	s.wantReconciled("east", "west")
	s.wantHome("east", []string{"east", "west"}, some...)
	for _, name := range some {
		s.wantValue("west", name, "of east")
	}
}

// writer puts values into a secret of east, one after the other.
type writer struct {
	name   string
	values []string // acknowledged
	errs   []error
	pauses []time.Duration
}

func (s *shop) write(ctx context.Context, name string) *writer {
	w := &writer{name: name}
	client := s.at("east")
	for i := 0; ctx.Err() == nil; i++ {
		value, began := fmt.Sprintf("%s %d", name, i), time.Now()
		_, err := client.PutSecretVersion(context.WithoutCancel(ctx), connect.NewRequest(&lifeboatv1.PutSecretVersionRequest{Vault: "shop", Secret: name, Value: []byte(value)}))
		w.pauses = append(w.pauses, time.Since(began))
		if err != nil {
			w.errs = append(w.errs, err)
			continue
		}
		w.values = append(w.values, value)
	}
	return w
}

// writeDuring has a writer of each secret go on while something happens, and a little
// longer.
func (s *shop) writeDuring(names []string, what func()) (all []*writer) {
	ctx, stop := context.WithCancel(s.t.Context())
	var running sync.WaitGroup
	var mu sync.Mutex
	for _, name := range names {
		running.Go(func() {
			w := s.write(ctx, name)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, w)
		})
	}
	what()
	stop()
	running.Wait()
	return all
}

func TestWritersAtTheFormerHomeNoticeNothingOfAMove(t *testing.T) {
	s := startShop(t, lifeboattest.Options{}, "east", "west")
	names := s.createMany("east", 4)
	s.wantSynchronised("east")
	s.regions.RoundTrip(40 * time.Millisecond)
	all := s.writeDuring(names, func() {
		_, err := s.at("east").MoveVault(t.Context(), connect.NewRequest(&lifeboatv1.MoveVaultRequest{Vault: "shop", To: "west"}))
		must(t, err)
		s.wantHome("west", []string{"east", "west"}, names...)
	})
	for _, w := range all {
		if len(w.errs) > 0 {
			t.Errorf("%d of the writes of %s failed: %v", len(w.errs), w.name, w.errs[0])
		}
		s.wantValue("west", w.name, w.values[len(w.values)-1])
	}
	// It goes on: east passes on what west is the home of now.
	s.put("east", names[0], "by way of east")
	s.create("east", "made-by-way-of-east", "one")
	s.wantValue("west", names[0], "by way of east")
	s.wantHome("west", []string{"west"}, "made-by-way-of-east")
	s.wantBothAudited()
	s.wantCounted("east", `lifeboat_handed_over_requests_total{outcome="passed_on"}`)

	// Who may not write is refused, and if west is away the answer names the home.
	stranger := s.regions.Region("east").Client(s.regions.Region("east").Control(), "lbt_unknown")
	_, err := stranger.PutSecretVersion(t.Context(), connect.NewRequest(&lifeboatv1.PutSecretVersionRequest{Vault: "shop", Secret: names[0], Value: []byte("x")}))
	if codeOf(err) != secret.CodeUnauthenticated {
		t.Errorf("a stranger: %v", err)
	}
	s.regions.Isolate("west")
	until(t, "east answers that the home is west", func(ctx context.Context) (bool, any) {
		_, err := s.at("east").PutSecretVersion(ctx, connect.NewRequest(&lifeboatv1.PutSecretVersionRequest{Vault: "shop", Secret: names[0], Value: []byte("x")}))
		return codeOf(err) == secret.CodeNotHome, err
	})
	s.wantCounted("east", `lifeboat_handed_over_requests_total{outcome="unavailable"}`)
}

// wantBothAudited looks for a mutation that east has passed on in the audit logs of both
// regions.
func (s *shop) wantBothAudited() {
	s.t.Helper()
	refused := map[string]bool{}
	east, err := s.regions.Region("east").AuditLines()
	must(s.t, err)
	for _, line := range east {
		if line.Outcome == string(secret.CodeNotHome) {
			refused[line.Request] = true
		}
	}
	west, err := s.regions.Region("west").AuditLines()
	must(s.t, err)
	for _, line := range west {
		if refused[line.Request] && line.ForwardedFor != "" && line.Outcome == "ok" {
			return
		}
	}
	s.t.Errorf("no mutation that east passed on is in both audit logs; east refused %d", len(refused))
}
