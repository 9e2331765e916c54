package secret_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func order(counter uint64, region secret.RegionName, seq uint64) secret.Order {
	return secret.Order{Epoch: secret.Epoch{Counter: counter, Region: region}, Seq: seq}
}

func TestOrderCompare(t *testing.T) {
	ascending := []secret.Order{
		{},
		order(1, "east", 0),
		order(1, "east", 9),
		order(1, "east", 10),
		order(1, "west", 1),
		order(2, "east", 1),
		order(2, "west", 1),
		order(10, "east", 0),
	}
	for i, a := range ascending {
		for j, b := range ascending {
			want := 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			if got := a.Compare(b); got != want {
				t.Errorf("%s against %s is %d, want %d", a, b, got, want)
			}
		}
	}
	if got := order(3, "west", 7).String(); got != "3:west:7" {
		t.Errorf("prints as %q", got)
	}
}

func TestOrderIsTotal(t *testing.T) {
	anyOrder := rapid.Custom(func(t *rapid.T) secret.Order {
		return order(rapid.Uint64Range(0, 3).Draw(t, "counter"),
			rapid.SampledFrom([]secret.RegionName{"", "east", "north", "west"}).Draw(t, "region"), rapid.Uint64Range(0, 3).Draw(t, "seq"))
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := anyOrder.Draw(t, "a"), anyOrder.Draw(t, "b"), anyOrder.Draw(t, "c")
		if a.Compare(b) != -b.Compare(a) {
			t.Fatalf("%s and %s are not antisymmetric", a, b)
		}
		if (a.Compare(b) == 0) != (a == b) {
			t.Fatalf("%s and %s: equal by comparison and by value differ", a, b)
		}
		if a.Compare(b) <= 0 && b.Compare(c) <= 0 && a.Compare(c) > 0 {
			t.Fatalf("%s, %s and %s are not transitive", a, b, c)
		}
		if a.Epoch.Compare(b.Epoch) < 0 && a.Compare(b) >= 0 {
			t.Fatalf("%s does not come before %s of a later epoch", a, b)
		}
	})
}

func TestPastFork(t *testing.T) {
	once := secret.Lineage{{Epoch: order(2, "west", 0).Epoch, Began: order(1, "east", 10)}}
	twice := append(once[:1:1], secret.Fork{Epoch: order(3, "east", 0).Epoch, Began: order(2, "west", 20)})
	skipped := secret.Lineage{
		{Epoch: order(2, "alpha", 0).Epoch, Began: order(1, "east", 10)},
		{Epoch: order(4, "zulu", 0).Epoch, Began: order(2, "alpha", 15)},
	}
	cases := []struct {
		name    string
		lineage secret.Lineage
		held    secret.Order
		past    bool
	}{
		{"never moved", nil, order(1, "east", 99), false},
		{"before the fork", once, order(1, "east", 9), false},
		{"at the fork", once, order(1, "east", 10), false},
		{"past the fork", once, order(1, "east", 11), true},
		{"in the new epoch", once, order(2, "west", 11), false},
		{"in an epoch that lost the race", once, order(2, "east", 11), true},
		{"before the first of two forks", twice, order(1, "east", 10), false},
		{"past the first of two forks", twice, order(1, "east", 11), true},
		{"past the first fork beyond the second's seq", twice, order(1, "east", 30), true},
		{"before the second fork", twice, order(2, "west", 20), false},
		{"past the second fork", twice, order(2, "west", 21), true},
		{"in the newest epoch", twice, order(3, "east", 21), false},
		{"lost the first race with a short history", twice, order(2, "east", 11), true},
		{"lost after two moves", twice, order(3, "alpha", 21), true},
		{"rival of a skipped counter", skipped, order(3, "bravo", 16), true},
		{"rival that won against the first fork only", skipped, order(2, "bravo", 12), true},
		{"on the line of a skipped counter", skipped, order(2, "alpha", 15), false},
		{"nothing held", twice, secret.Order{}, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := c.lineage.PastFork(c.held); got != c.past {
				t.Errorf("past fork is %t, want %t", got, c.past)
			}
		})
	}
}

// A history in which ownership moves, and whatever a region held of it: what is
// on the line is never past a fork, what was written after a fork always is.
func TestPastForkOfRandomHistories(t *testing.T) {
	regions := rapid.SampledFrom([]secret.RegionName{"a", "b", "c"})
	rapid.Check(t, func(t *rapid.T) {
		at := order(1, regions.Draw(t, "home"), 1)
		line := []secret.Order{at}
		var lost []secret.Order
		var lineage secret.Lineage
		for range rapid.IntRange(1, 4).Draw(t, "moves") {
			for range rapid.IntRange(0, 3).Draw(t, "mutations") {
				at.Seq++
				line = append(line, at)
			}
			// The old home goes on unseen, and the next epoch does not build on it.
			for seq := range rapid.Uint64Range(0, 3).Draw(t, "unseen") {
				lost = append(lost, order(at.Epoch.Counter, at.Epoch.Region, at.Seq+seq+1))
			}
			next := secret.Epoch{Counter: at.Epoch.Counter + 1, Region: regions.Draw(t, "heir")}
			lineage = append(lineage, secret.Fork{Epoch: next, Began: at})
			at = secret.Order{Epoch: next, Seq: at.Seq + 1}
			line = append(line, at)
		}
		for _, held := range line {
			if lineage.PastFork(held) {
				t.Fatalf("%s is on the line of %v", held, lineage)
			}
		}
		for _, held := range lost {
			if !lineage.PastFork(held) {
				t.Fatalf("%s is past a fork of %v", held, lineage)
			}
		}
	})
}

func TestOwnership(t *testing.T) {
	o := secret.NewOwnership("east", "i1")
	if o.Home != "east" || o.Incarnation != "i1" || o.Order != order(1, "east", 1) || o.Lineage != nil {
		t.Fatalf("new: %+v", o)
	}
	o.Advance("i2")
	if o.Home != "east" || o.Incarnation != "i2" || o.Order != order(1, "east", 2) {
		t.Fatalf("advanced: %+v", o)
	}
}
