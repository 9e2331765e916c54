package secret_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func TestJudge(t *testing.T) {
	// east made 5 mutations; west took over after the third of them.
	takeover := secret.Lineage{{Epoch: secret.Epoch{Counter: 3, Region: "west"}, Began: order(1, "east", 3), Home: "west"}}
	cases := []struct {
		name           string
		held, incoming secret.Ownership
		want           secret.Verdict
	}{
		{"next", secret.Ownership{Order: order(1, "east", 3)}, secret.Ownership{Order: order(1, "east", 4)}, secret.Apply},
		{"gap", secret.Ownership{Order: order(1, "east", 3)}, secret.Ownership{Order: order(1, "east", 9)}, secret.Apply},
		{"same", secret.Ownership{Order: order(1, "east", 3)}, secret.Ownership{Order: order(1, "east", 3)}, secret.Keep},
		{"zombie", secret.Ownership{Order: order(1, "east", 4)}, secret.Ownership{Order: order(1, "east", 3)}, secret.Refuse},
		{
			"old home after a takeover", secret.Ownership{Order: order(3, "west", 4), Lineage: takeover},
			secret.Ownership{Order: order(1, "east", 5)}, secret.Refuse,
		},
		{
			"takeover of what is held", secret.Ownership{Order: order(1, "east", 3)},
			secret.Ownership{Order: order(3, "west", 4), Lineage: takeover}, secret.Apply,
		},
		{
			"takeover from before what is held", secret.Ownership{Order: order(1, "east", 4)},
			secret.Ownership{Order: order(3, "west", 4), Lineage: takeover}, secret.Diverge,
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := secret.Judge(c.held, c.incoming); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// Whatever arrives, a copy that follows the verdicts never goes to a lower order.
func TestJudgeNeverGoesBack(t *testing.T) {
	orders := rapid.Custom(func(t *rapid.T) secret.Order {
		return order(rapid.Uint64Range(1, 3).Draw(t, "counter"), rapid.SampledFrom([]secret.RegionName{"east", "west"}).Draw(t, "region"), rapid.Uint64Range(1, 4).Draw(t, "seq"))
	})
	rapid.Check(t, func(t *rapid.T) {
		held, incoming := secret.Ownership{Order: orders.Draw(t, "held")}, secret.Ownership{Order: orders.Draw(t, "incoming")}
		verdict := secret.Judge(held, incoming)
		applied := verdict == secret.Apply || verdict == secret.Diverge
		if applied != (incoming.Order.Compare(held.Order) > 0) {
			t.Fatalf("%s over %s is %s", incoming.Order, held.Order, verdict)
		}
	})
}

func TestMaySend(t *testing.T) {
	handoff := secret.Ownership{
		Home: "west", Order: order(2, "east", 4),
		Lineage: secret.Lineage{{Epoch: secret.Epoch{Counter: 2, Region: "east"}, Began: order(1, "east", 3), Home: "west"}},
	}
	later := handoff
	later.Order.Seq = 5
	cases := []struct {
		name  string
		state secret.Ownership
		from  secret.RegionName
		want  bool
	}{
		{"home", secret.Ownership{Home: "east", Order: order(1, "east", 1)}, "east", true},
		{"another", secret.Ownership{Home: "east", Order: order(1, "east", 1)}, "west", false},
		{"the old home hands over", handoff, "east", true},
		{"a third region hands over", handoff, "south", false},
		{"the old home after the handoff", later, "east", false},
	}
	for _, c := range cases {
		if got := c.state.MaySend(c.from); got != c.want {
			t.Errorf("%s: %t, want %t", c.name, got, c.want)
		}
	}
}

func TestCheckTargets(t *testing.T) {
	of := func(names ...secret.RegionName) (targets []secret.Target) {
		for _, name := range names {
			targets = append(targets, secret.Target{Region: name})
		}
		return targets
	}
	many := of("a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k")
	cases := []struct {
		name    string
		targets []secret.Target
		allowed []secret.RegionName
		want    string
	}{
		{"none", nil, nil, ""},
		{"two", of("west", "south"), nil, ""},
		{"ten", many[:10], nil, ""},
		{"eleven", many, nil, "the limit is 10"},
		{"home", of("east"), nil, "home region"},
		{"twice", of("west", "west"), nil, "twice"},
		{"malformed", of("West"), nil, "targets"},
		{"not allowed", of("west", "south"), []secret.RegionName{"west"}, "allowed regions"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := secret.CheckTargets("targets", "east", c.targets, c.allowed)
			switch {
			case c.want == "" && err != nil, c.want != "" && err == nil:
				t.Fatalf("error %v, want %q", err, c.want)
			case err != nil && (!secret.HasCode(err, secret.CodeInvalid) || !strings.Contains(err.Error(), c.want)):
				t.Fatalf("error %v, want %q", err, c.want)
			case err == nil && !slices.IsSortedFunc(got, func(a, b secret.Target) int { return strings.Compare(string(a.Region), string(b.Region)) }):
				t.Fatalf("%v is not sorted", got)
			}
		})
	}
}
