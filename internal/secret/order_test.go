package secret_test

import (
	"maps"
	"slices"
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

func TestContains(t *testing.T) {
	// east made 10 mutations of what west took over after the tenth; west handed it back.
	never := secret.Ownership{Home: "east", Order: order(1, "east", 10)}
	once := never.TakenBy("west")
	once.Order.Seq = 20
	twice := once.MovedTo("east")
	twice.Order.Seq = 30
	cases := []struct {
		name    string
		history secret.Ownership
		at      secret.Order
		want    bool
	}{
		{"never moved", never, order(1, "east", 9), true},
		{"itself", never, order(1, "east", 10), true},
		{"what comes later", never, order(1, "east", 11), false},
		{"before the fork", once, order(1, "east", 9), true},
		{"at the fork", once, order(1, "east", 10), true},
		{"past the fork", once, order(1, "east", 11), false},
		{"in the new epoch", once, order(3, "west", 11), true},
		{"in an epoch that lost the race", once, order(3, "south", 11), false},
		{"in a planned move that the takeover outranks", once, order(2, "east", 11), false},
		{"past the first of two forks", twice, order(1, "east", 11), false},
		{"past the first fork below the second's seq", twice, order(1, "east", 15), false},
		{"before the second fork", twice, order(3, "west", 20), true},
		{"past the second fork", twice, order(3, "west", 21), false},
		{"in the newest epoch", twice, order(4, "west", 21), true},
		{"in another one of that counter", twice, order(4, "east", 21), false},
		{"of a record that was created elsewhere", never, order(1, "alpha", 1), false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if err := c.history.Check(); err != nil {
				t.Error(err)
			}
			if got := c.history.Contains(c.at); got != c.want {
				t.Errorf("contains %s: %t, want %t", c.at, got, c.want)
			}
		})
	}
}

// south takes a record over from east, while east hands it to west, which hands it on to
// south: both histories are at their second move, and in the same region.
func TestTwoMovesBesideATakeover(t *testing.T) {
	base := secret.NewOwnership("east", "")
	move := func(o secret.Ownership) secret.Ownership { o.Advance(""); return o }
	taken := move(base.TakenBy("south"))
	written := move(taken)
	moved := move(move(move(base.MovedTo("west")).MovedTo("south")))
	for _, o := range []secret.Ownership{taken, written, moved} {
		if err := o.Check(); err != nil {
			t.Error(err)
		}
	}
	if taken.Home != moved.Home || taken.Order.Epoch.Counter != moved.Order.Epoch.Counter {
		t.Fatalf("%+v and %+v are no such histories", taken, moved)
	}
	for _, o := range []secret.Ownership{taken, written} {
		there, back := secret.Judge(o, moved), secret.Judge(moved, o)
		if there != secret.Diverge || back != secret.Refuse {
			t.Errorf("%s meets %s: %s there and %s back", o.Order, moved.Order, there, back)
		}
	}
}

// copyOf is what a region has of a record in a random history: what it is the end of,
// and all states that it goes through.
type copyOf struct {
	secret.Ownership
	through map[secret.Order]int
}

// In whatever way regions mutate a record, hand it over, take it over without asking and
// hear of each other: an order is that of one state, two histories of one epoch are
// parts of each other, and a history contains what it went through, and nothing else.
func TestOrdersAreUnique(t *testing.T) {
	regions := []secret.RegionName{"a", "b", "c"}
	rapid.Check(t, func(t *rapid.T) {
		first := secret.NewOwnership("a", "")
		made := map[secret.Order]int{first.Order: 0} // which event made the state
		copies := map[secret.RegionName]copyOf{}
		for _, r := range regions {
			copies[r] = copyOf{first, map[secret.Order]int{first.Order: 0}}
		}
		var sent []copyOf
		for event := range rapid.IntRange(1, 40).Draw(t, "events") {
			at := rapid.SampledFrom(regions).Draw(t, "at")
			own, next := copies[at], secret.Ownership{}
			switch kind := rapid.SampledFrom([]string{"mutate", "hand over", "take over", "hear", "hear"}).Draw(t, "kind"); {
			case kind == "mutate" && own.MayMutate(at):
				next = own.Ownership
			case kind == "hand over" && own.MayMutate(at):
				to := rapid.SampledFrom(regions).Filter(func(r secret.RegionName) bool { return r != at }).Draw(t, "to")
				next = own.MovedTo(to)
			case kind == "take over" && !own.MayMutate(at):
				next = own.TakenBy(at)
			case kind == "hear" && len(sent) > 0:
				heard := rapid.SampledFrom(sent).Draw(t, "state")
				if verdict := secret.Judge(own.Ownership, heard.Ownership); verdict == secret.Apply || verdict == secret.Diverge {
					copies[at] = heard
				}
				continue
			default:
				continue
			}
			next.Advance("")
			if other, ok := made[next.Order]; ok {
				t.Fatalf("event %d makes a state of the order %s, as event %d did", event+1, next.Order, other)
			}
			if err := next.Check(); err != nil {
				t.Fatal(err)
			}
			made[next.Order] = event + 1
			through := maps.Clone(own.through)
			through[next.Order] = event + 1
			copies[at] = copyOf{next, through}
			sent = append(sent, copies[at])
		}
		for _, state := range sent {
			for at, event := range made {
				if got, ok := state.through[at]; state.Contains(at) != (ok && got == event) {
					t.Fatalf("%s contains %s: %t; it goes through it: %t", state.Order, at, state.Contains(at), ok)
				}
			}
		}
	})
}

// What is not the ownership of any history is refused.
func TestCheckOwnership(t *testing.T) {
	moved := secret.NewOwnership("east", "").MovedTo("west")
	moved.Advance("")
	taken := moved.TakenBy("south")
	taken.Advance("")
	cases := map[string]func(o *secret.Ownership){
		"the home is another":          func(o *secret.Ownership) { o.Home = "west" },
		"the epoch is another":         func(o *secret.Ownership) { o.Order.Epoch.Counter++ },
		"the order is before the fork": func(o *secret.Ownership) { o.Order.Seq = 1 },
		"a third region began an epoch": func(o *secret.Ownership) {
			o.Lineage[0].Epoch.Region, o.Lineage[1].Began.Epoch.Region = "north", "north"
		},
		"an epoch builds on another":           func(o *secret.Ownership) { o.Lineage[1].Began.Epoch.Region = "west" },
		"an epoch goes back":                   func(o *secret.Ownership) { o.Lineage[1].Began.Seq = 1 },
		"an epoch is not later":                func(o *secret.Ownership) { o.Lineage[1].Epoch.Counter, o.Order.Epoch.Counter = 2, 2 },
		"there is no lineage":                  func(o *secret.Ownership) { o.Lineage, o.Home = nil, "west" },
		"the home of the last fork is another": func(o *secret.Ownership) { o.Lineage[1].Home = "west" },
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			o := taken
			o.Lineage = slices.Clone(taken.Lineage)
			if err := o.Check(); err != nil {
				t.Fatal(err)
			}
			change(&o)
			if err := o.Check(); !secret.HasCode(err, secret.CodeInvalid) {
				t.Errorf("%+v: %v", o, err)
			}
		})
	}
}

func TestWhereTheHomeWas(t *testing.T) {
	o := secret.NewOwnership("east", "").MovedTo("west").TakenBy("south")
	for region, was := range map[secret.RegionName]bool{"east": true, "west": true, "south": false} {
		if o.WasIn(region) != was {
			t.Errorf("was in %s: %t", region, !was)
		}
	}
	back := o.MovedTo("east")
	if !back.WasIn("south") || !back.WasIn("east") || secret.NewOwnership("east", "").WasIn("east") {
		t.Error("the home was where it was handed over")
	}
	for of, heir := range map[secret.Order]secret.RegionName{
		order(1, "east", 0): "west", order(2, "east", 0): "south", order(2, "west", 0): "south", order(4, "alpha", 0): "south", order(4, "south", 0): "east",
	} {
		if got := back.Successor(of.Epoch); got != heir {
			t.Errorf("%s went on in %s, not in %s", of, got, heir)
		}
	}
	for in, home := range map[secret.Order]secret.RegionName{
		order(1, "east", 0): "east", order(2, "east", 0): "west", order(4, "south", 0): "south", order(5, "south", 0): "east", order(3, "west", 0): "west",
	} {
		if got := back.HomeIn(in.Epoch); got != home {
			t.Errorf("in %s the home is %s, not %s", in, got, home)
		}
	}
	if got := secret.NewOwnership("west", "").Successor(order(1, "east", 0).Epoch); got != "west" {
		t.Errorf("a record that was created in west goes on in %s", got)
	}
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
