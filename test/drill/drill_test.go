// Package drill_test runs drills against whole regions, each in one process.
package drill_test

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
	"github.com/lifeboat-secrets/lifeboat/internal/drill"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var names = []string{"east", "west", "south"}

// stage is three regions with an account that is in all of them.
type stage struct {
	regions *lifeboattest.Regions
	drill.Options
	cut *drill.VaultCut
}

func open(t *testing.T) *stage {
	t.Helper()
	s := &stage{regions: lifeboattest.StartRegions(t, lifeboattest.Options{}, names...)}
	account, err := s.regions.Region("east").NewAccount(t.Context(), "shop")
	must(t, err)
	for i, to := range []*drill.Region{&s.Home, &s.Heir, &s.Third} {
		r := s.regions.Region(names[i])
		to.Name = names[i]
		to.Client, to.Operator = s.client(t, r, account.Token), s.client(t, r, r.OperatorToken())
	}
	s.cut = &drill.VaultCut{Home: s.Home, Heir: s.Heir, Lasts: time.Minute, NoticeAfter: 100 * time.Millisecond}
	s.Loss, s.WriteFor = s.cut, 200*time.Millisecond
	s.RecoverWithin = time.Minute // how fast the machine is is not tested
	return s
}

func (s *stage) client(t *testing.T, r *lifeboattest.Region, token string) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{Address: r.Control().URL(), Token: client.NewValue(token), CAFile: r.CAFile()})
	must(t, err)
	t.Cleanup(c.Close)
	return c
}

// wantNothingLeft fails if a vault of a drill, a cut or a takeover is left.
func (s *stage) wantNothingLeft(t *testing.T) {
	t.Helper()
	for _, r := range []drill.Region{s.Home, s.Heir, s.Third} {
		for vault, err := range r.Client.ListVaults(t.Context(), &lifeboatv1.ListVaultsRequest{}) {
			if err != nil {
				t.Fatalf("%s: %v", r.Name, err)
			}
			if strings.HasPrefix(vault.GetName(), secret.DrillVaultPrefix) {
				t.Errorf("%s still has %s", r.Name, vault.GetName())
			}
		}
		for ctx := t.Context(); ; {
			answer, err := r.Operator.ListTakeovers(ctx, &lifeboatv1.ListTakeoversRequest{})
			must(t, err)
			if len(answer.GetTakeovers()) == 0 {
				break
			}
		}
	}
}

func step(t *testing.T, r *drill.Report, name string) drill.Step {
	t.Helper()
	at := slices.IndexFunc(r.Steps, func(s drill.Step) bool { return s.Name == name })
	if at < 0 {
		t.Fatalf("there is no step %s: %+v", name, r.Steps)
	}
	return r.Steps[at]
}

// replicateSomethingElse keeps the account in all regions, and is not to be touched.
func (s *stage) replicateSomethingElse(t *testing.T) {
	t.Helper()
	request := &lifeboatv1.ReplicateVaultRequest{Vault: "shop", Targets: &lifeboatv1.ReplicateVaultRequest_Targets{}}
	for _, target := range names[1:] {
		request.Targets.Targets = append(request.Targets.Targets, &lifeboatv1.Target{Region: target})
	}
	_, err := s.Home.Client.ReplicateVault(t.Context(), request)
	must(t, err)
}

func TestADrillPassesAndReports(t *testing.T) {
	s := open(t)
	s.replicateSomethingElse(t)
	before, err := s.Home.Client.GetVault(t.Context(), &lifeboatv1.GetVaultRequest{Vault: "shop"})
	must(t, err)
	r, err := drill.Run(t.Context(), s.Options)
	if err != nil || r.Outcome != drill.Passed || len(r.Broken()) > 0 {
		t.Fatalf("%s, %v: %+v", r.Outcome, err, r.Promises)
	}
	for _, p := range r.Promises {
		if !p.Tested {
			t.Errorf("not tested: %s", p.Promise)
		}
	}
	if p := r.RecoveryPoint; p.LackedFromAfter == 0 || p.KeptAsConflict == 0 || p.ArrivedLater == 0 || p.LostSilently != 0 {
		t.Errorf("recovery point: %+v", p)
	}
	if len(r.Conflicts) < 2 || !r.Vault.Removed || r.Principal.Account != "shop" || r.Regions[0].Operator == nil {
		t.Errorf("the report lacks something: %d conflicts, %+v, %+v, %+v", len(r.Conflicts), r.Vault, r.Principal, r.Regions)
	}
	for _, w := range r.Writes {
		if w.Version == "" || w.End == drill.EndUnknown || w.End == drill.EndConflict {
			t.Errorf("a write without an end: %+v", w)
		}
	}
	s.wantNothingLeft(t)
	after, err := s.Home.Client.GetVault(t.Context(), &lifeboatv1.GetVaultRequest{Vault: "shop"})
	must(t, err)
	if a, b := after.GetVault().GetOwnership(), before.GetVault().GetOwnership(); a.String() != b.String() {
		t.Errorf("another vault was touched: %v, was %v", a, b)
	}
	wantReadable(t, r)
	lines, err := s.regions.Region("west").AuditLines()
	must(t, err)
	if !slices.ContainsFunc(lines, func(l lifeboattest.AuditLine) bool { return l.Action == "RunDrill" && l.Outcome == "ok" }) {
		t.Error("the takeover of the drill's vault is not in the audit log of west")
	}
}

// wantReadable fails if a report cannot be read by programs or people, or says a value.
func wantReadable(t *testing.T, r *drill.Report) {
	t.Helper()
	var asJSON, page bytes.Buffer
	must(t, r.WriteJSON(&asJSON))
	must(t, r.WritePage(&page))
	var again drill.Report
	must(t, json.Unmarshal(asJSON.Bytes(), &again))
	if again.SchemaVersion != drill.SchemaVersion || len(again.Writes) != len(r.Writes) || again.Loss.Kind != drill.KindVaultCut {
		t.Errorf("the JSON says something else: %+v", again)
	}
	for _, want := range []string{r.ID, "The cut was of the drill&#39;s vault only", "Simulated", r.Conflicts[0].ID} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for what, text := range map[string]string{"JSON": asJSON.String(), "page": page.String()} {
		if strings.Contains(text, "drill secret-") {
			t.Errorf("the %s holds a value", what)
		}
	}
}

// forgetful discards conflicts before anybody sees them, as a region that loses
// acknowledged writes would.
type forgetful struct {
	*drill.VaultCut
	forgotten int
}

func (f *forgetful) Over(ctx context.Context, v drill.Vault) (bool, error) {
	over, err := f.VaultCut.Over(ctx, v)
	if !over || err != nil {
		return over, err
	}
	found, err := f.Home.Client.ListConflicts(ctx, &lifeboatv1.ListConflictsRequest{Vault: v.ID})
	for _, c := range found.GetConflicts() {
		if err == nil {
			_, err = f.Home.Client.DiscardConflict(ctx, &lifeboatv1.DiscardConflictRequest{Id: c.GetId()})
			f.forgotten += len(c.GetVersions())
		}
	}
	return true, err
}

func TestADrillFindsWritesThatAreLost(t *testing.T) {
	s := open(t)
	loss := &forgetful{VaultCut: s.cut}
	s.Loss = loss
	r, err := drill.Run(t.Context(), s.Options)
	must(t, err)
	if r.Outcome != drill.Failed || r.RecoveryPoint.LostSilently < 2 || r.RecoveryPoint.LostSilently > loss.forgotten {
		t.Errorf("%s, %d lost of %d", r.Outcome, r.RecoveryPoint.LostSilently, loss.forgotten)
	}
	if broken := r.Broken(); len(broken) != 2 || broken[0].Promise != "No acknowledged write is lost silently" {
		t.Errorf("broken: %+v", broken)
	}
	var page bytes.Buffer
	must(t, r.WritePage(&page))
	if !strings.Contains(page.String(), "✗ broken") {
		t.Error("the page does not say what is broken")
	}
}

func TestAnInterruptedDrillLeavesNothing(t *testing.T) {
	s := open(t)
	s.replicateSomethingElse(t)
	for _, at := range []string{"lose", "takeover"} {
		ctx, cancel := context.WithCancel(t.Context())
		o := s.Options
		o.Told = func(step drill.Step) {
			if step.Name == at && step.Outcome == drill.Passed {
				cancel()
			}
		}
		r, err := drill.Run(ctx, o)
		cancel()
		if err == nil || r.Outcome != drill.Interrupted || !r.Vault.Removed {
			t.Errorf("interrupted in %s: %s, %v; last step: %+v", at, r.Outcome, err, step(t, r, "clean"))
		}
		s.wantNothingLeft(t)
	}
}

func TestCleanRemovesWhatADrillHasLeft(t *testing.T) {
	s := open(t)
	s.replicateSomethingElse(t)
	s.Keep = true
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s.Told = func(step drill.Step) {
		if step.Name == "write_on" {
			cancel()
		}
	}
	r, _ := drill.Run(ctx, s.Options)
	// As if nobody had ended the cut: the process was killed.
	_, err := s.regions.Region("east").Operator().CutDrillVault(t.Context(), connect.NewRequest(&lifeboatv1.CutDrillVaultRequest{Vault: r.Vault.ID}))
	must(t, err)
	must(t, s.cut.Cut(t.Context(), drill.Vault{ID: r.Vault.ID}))
	removed, err := drill.Clean(t.Context(), []drill.Region{s.Home, s.Heir, s.Third})
	if err != nil || len(removed) != 1 || removed[0] != r.Vault.Name {
		t.Errorf("removed %v, %v; want %s", removed, err, r.Vault.Name)
	}
	s.wantNothingLeft(t)
}

func TestADrillBeginsWithRegionsThatAreWell(t *testing.T) {
	s := open(t)
	s.Third.Name = "mars"
	r, err := drill.Run(t.Context(), s.Options)
	if err == nil || !strings.Contains(err.Error(), "mars is no peer of west") || r.Vault.ID != "" {
		t.Errorf("%v, %+v", err, r.Vault)
	}
}
