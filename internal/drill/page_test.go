package drill

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestThePageEscapesEverything(t *testing.T) {
	const script = "<script>alert(1)</script>"
	now := time.Now()
	r := &Report{
		ID: script, Outcome: Failed, StartedAt: now, EndedAt: now, Release: script, Principal: Identity{ID: script, Name: script, Account: script},
		Regions:   []RegionReport{{Name: script, Role: script, Incarnation: script, Release: script, Operator: &Identity{ID: script, Name: script}}},
		Vault:     VaultReport{ID: script, Name: script},
		Loss:      About{Summary: script, Exercised: []string{script}, Simulated: []string{script}},
		Promises:  []Promise{{Promise: script, Tested: true, Detail: script}},
		Steps:     []Step{{Title: script, Outcome: Outcome(script), Seen: []string{script}, Error: script}},
		Reads:     []ReadReport{{Through: script, FirstFailure: script}},
		Conflicts: []ConflictReport{{ID: script, Region: script, Secret: script}},
		Writes:    []*Write{{Secret: script, Version: script, Phase: BeforeLoss, LackedByHeir: true, End: script, Conflict: script, AdoptedAs: script, value: "the value"}},
	}
	var page bytes.Buffer
	if err := r.WritePage(&page); err != nil {
		t.Fatal(err)
	}
	text := page.String()
	if strings.Contains(text, "<script") || strings.Count(text, "&lt;script&gt;") < 25 {
		t.Errorf("something is not escaped, or not shown:\n%s", text)
	}
	for _, external := range []string{"http://", "https://", "src=", "@import", "url("} {
		if strings.Contains(text, external) {
			t.Errorf("the page needs something else: %s", external)
		}
	}
	if strings.Contains(text, "the value") {
		t.Error("the page holds a value")
	}
}

func TestSecondsAreShownAsPeopleCompareThem(t *testing.T) {
	for s, want := range map[float64]string{0: "0 ms", 0.0094: "9 ms", 0.9994: "999 ms", 1: "1.00 s", 75.456: "75.46 s"} {
		if got := seconds(s); got != want {
			t.Errorf("%v: %s; want %s", s, got, want)
		}
	}
}
