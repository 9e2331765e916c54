package ownership

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// scenario is what one search explores.
type scenario struct {
	name string
	// lost are the regions that may be taken over, by bit.
	lost   uint8
	budget budget
}

// scenarios are sorted by how many states they have.
var scenarios = []scenario{
	{"a promotion beside a planned move", 0, budget{writes: 1, moves: 1, promotions: 1, network: 1}},
	{"a planned move and one back", 0, budget{writes: 2, moves: 2, network: 1}},
	{"a promotion beside a takeover", 1 << south, budget{writes: 1, takeovers: 1, promotions: 1, network: 1}},
	{"a takeover beside a planned move, or before one back", 1 << south, budget{writes: 1, takeovers: 1, moves: 1, network: 1}},
	{"a takeover, and a return in any phase", 1 << south, budget{writes: 2, takeovers: 1, restarts: 1, network: 1}},
	{"two survivors take over at once", 1 << south, budget{writes: 2, takeovers: 2, network: 1}},
	{"a takeover beside two planned moves", 1 << south, budget{writes: 1, takeovers: 1, moves: 2, network: 1}},
}

// node is a state that was reached, and how.
type node struct {
	state  state
	parent int32
	what   event
}

// search explores all that can follow from the start, breadth first, and returns how
// many states there are, and the shortest way to a broken guarantee.
func search(r rules, sc scenario) (states int, err error) {
	h := newHistories(r)
	h.budget, h.lost = sc.budget, sc.lost
	first := start(sc.budget)
	nodes := []node{{state: first, parent: -1}}
	seen := map[state]struct{}{first: {}}
	for at := 0; at < len(nodes); at++ {
		now := nodes[at].state
		h.next(&now, func(what event, n state, broken error) {
			if err != nil {
				return
			}
			if broken == nil {
				if _, known := seen[n]; known {
					return
				}
				seen[n] = struct{}{}
				if broken = h.check(&n); broken == nil {
					broken = h.checkQuiet(n)
				}
			}
			nodes = append(nodes, node{n, int32(at), what})
			if broken != nil {
				err = fmt.Errorf("%w\n%s", broken, h.path(nodes, len(nodes)-1))
			}
		})
		if err != nil {
			return len(nodes), err
		}
	}
	return len(nodes), nil
}

// path tells how the nth node was reached.
func (h *histories) path(nodes []node, n int) string {
	var steps []string
	for ; nodes[n].parent >= 0; n = int(nodes[n].parent) {
		steps = append(steps, fmt.Sprintf("  %-60s %s", h.tell(nodes[n].what), h.describe(&nodes[n].state)))
	}
	var b strings.Builder
	for i := len(steps) - 1; i >= 0; i-- {
		fmt.Fprintln(&b, steps[i])
	}
	return b.String()
}

func TestMovesOfHomes(t *testing.T) {
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			n, err := search(production(), sc)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d states, %.0f states/s", n, float64(n)/time.Since(began).Seconds())
		})
	}
}

// mutants are the rules without one of them.
var mutants = map[string]func(*rules){
	"the epoch is not compared": func(r *rules) {
		seqs := func(judge func(held, incoming secret.Ownership) secret.Verdict) func(held, incoming secret.Ownership) secret.Verdict {
			return func(held, incoming secret.Ownership) secret.Verdict {
				held.Order.Epoch, incoming.Order.Epoch, held.Lineage, incoming.Lineage = secret.Epoch{}, secret.Epoch{}, nil, nil
				return judge(held, incoming)
			}
		}
		r.judge = seqs(r.judge)
	},
	"the lineage is ignored": func(r *rules) {
		applied := func(v secret.Verdict) secret.Verdict {
			if v == secret.Diverge {
				return secret.Apply
			}
			return v
		}
		judge, inherit := r.judge, r.inherit
		r.judge = func(held, incoming secret.Ownership) secret.Verdict { return applied(judge(held, incoming)) }
		r.inherit = func(held, incoming secret.Ownership, heir secret.RegionName) secret.Verdict {
			return applied(inherit(held, incoming, heir))
		}
	},
	"versions are told apart by their numbers": func(r *rules) {
		r.missing = func(held, incoming *secret.Secret) []secret.VersionID {
			byNumber := func(s *secret.Secret) *secret.Secret {
				c := &secret.Secret{}
				for _, v := range s.Versions {
					c.Versions = append(c.Versions, secret.VersionInfo{ID: secret.VersionID(fmt.Sprint(v.Number))})
				}
				return c
			}
			var missing []secret.VersionID
			for _, number := range secret.Missing(byNumber(held), byNumber(incoming)) {
				for _, v := range held.Versions {
					if fmt.Sprint(v.Number) == string(number) {
						missing = append(missing, v.ID)
					}
				}
			}
			return missing
		}
	},
	"an epoch names the region that it moves to": func(r *rules) {
		r.movedTo = func(o secret.Ownership, to secret.RegionName) secret.Ownership { return named(o.MovedTo(to), to) }
		r.maySend = func(o secret.Ownership, from secret.RegionName) bool {
			n := len(o.Lineage)
			return o.Home == from || n > 0 && o.Lineage[n-1].Began.Epoch.Region == from && o.Order.Seq == o.Lineage[n-1].Began.Seq+1
		}
	},
	"a takeover does not outrank a planned move": func(r *rules) {
		r.takenBy = func(o secret.Ownership, heir secret.RegionName) secret.Ownership {
			return named(o.MovedTo(heir), heir)
		}
	},
	"a record that differs is opened without asking": func(r *rules) { r.ahead = func(_, _ secret.Order) bool { return false } },
	"a region that knows it was taken over goes on":  func(r *rules) { r.goesOn = true },
	"a region that returns asks nobody":              func(r *rules) { r.asksNobody = true },
	"a takeover ends before the lost region knows":   func(r *rules) { r.endsEarly = true },
	"a takeover ends before anything has moved":      func(r *rules) { r.movesNothing = true },
	"what was taken over moves on before the lost region knows": func(r *rules) {
		r.mayMoveTo = func(secret.Ownership, secret.RegionName, []secret.RegionName) bool { return true }
	},
	"what was promoted is a replica as before": func(r *rules) {
		r.sameSecret = func(_, _ *secret.Secret) bool { return true }
	},
	"what is on its way to its new home is promoted": func(r *rules) {
		r.mayPromote = func(o secret.Ownership, in secret.RegionName, _ bool) bool { return !o.MayMutate(in) }
	},
	"nobody takes note of a promotion": func(r *rules) {
		r.notePromoted = func(*secret.Secret, secret.Mutation, secret.RegionName, secret.RegionName) bool { return false }
	},
	"replicas are mutated": func(r *rules) { r.mayMutate = func(secret.Ownership, secret.RegionName) bool { return true } },
	"who hands a record over may not say so": func(r *rules) {
		r.maySend = func(o secret.Ownership, from secret.RegionName) bool { return o.Home == from }
	},
}

// named is an ownership whose epoch names another region.
func named(o secret.Ownership, region secret.RegionName) secret.Ownership {
	o.Order.Epoch.Region = region
	o.Lineage[len(o.Lineage)-1].Epoch.Region = region
	return o
}

func TestMutantsAreFound(t *testing.T) {
	for name, mutate := range mutants {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := production()
			mutate(&r)
			for _, sc := range scenarios {
				if _, err := search(r, sc); err != nil {
					t.Logf("found in %q: %v", sc.name, err)
					return
				}
			}
			t.Error("no search finds that the rule is missing")
		})
	}
}
