package model

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/link"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// scenario is what one search explores.
type scenario struct {
	name    string
	targets uint8
	budget  budget
}

const both = 1<<west | 1<<south

// scenarios are sorted by how many states they have.
var scenarios = []scenario{
	{"a forgotten secret of which a message was lost", 1 << west, budget{mutations: 1, purges: 1, losses: 1, collections: 1, network: 2}},
	{"a release that is not understood yet", 1 << west, budget{mutations: 2, purges: 1, upgrades: 2, network: 2}},
	{"a restore from a backup of what is forgotten", 1 << west, budget{mutations: 1, purges: 1, backups: 1, restores: 1, collections: 1, network: 2}},
	{"a forgotten secret whose vault's targets change", 0, budget{purges: 1, vaults: 2, collections: 1, network: 2}},
	{"a forgotten secret whose targets change", 1 << west, budget{mutations: 1, purges: 1, retargets: 2, collections: 1, network: 2}},
	{"mutations and a record that hosts cannot apply", both, budget{mutations: 2, poisons: 1, network: 2, deliveries: 2}},
	{"deletion and another secret of the same name", 1 << west, budget{mutations: 1, purges: 2, creations: 1, network: 2, deliveries: 1}},
	{"a deleted secret that is forgotten", 1 << west, budget{mutations: 1, purges: 1, creations: 1, collections: 1, network: 2, deliveries: 1}},
	{"a target that is removed and added", both, budget{mutations: 1, retargets: 2, network: 2, deliveries: 1}},
	{"a restore from an old backup", 1 << west, budget{mutations: 3, backups: 1, restores: 1, network: 2, deliveries: 1}},
	{"a vault that gets a target and loses it", 0, budget{mutations: 1, vaults: 2, retargets: 1, network: 2, deliveries: 1}},
}

// node is a state that was reached, and how.
type node struct {
	state  state
	parent int32
	what   string
}

// search explores all that can follow from the start, breadth first, and returns
// how many states there are, and the shortest way to a broken guarantee.
func (r *rules) search(sc scenario) (states int, err error) {
	first := start(sc.budget, sc.targets)
	nodes := []node{{state: first, parent: -1}}
	seen := map[state]struct{}{first: {}}
	for at := 0; at < len(nodes); at++ {
		now := nodes[at].state
		r.next(&now, func(what string, n state, broken error) {
			if err != nil {
				return
			}
			if broken == nil {
				if _, known := seen[n]; known {
					return
				}
				seen[n] = struct{}{}
				broken = errors.Join(r.check(&n), r.checkQuiet(n))
			}
			nodes = append(nodes, node{n, int32(at), what})
			if broken != nil {
				err = fmt.Errorf("%w\n%s", broken, path(nodes, len(nodes)-1))
			}
		})
		if err != nil {
			return len(nodes), err
		}
	}
	return len(nodes), nil
}

// path tells how the nth node was reached.
func path(nodes []node, n int) string {
	var steps []string
	for ; nodes[n].parent >= 0; n = int(nodes[n].parent) {
		steps = append(steps, fmt.Sprintf("  %-60s %s", nodes[n].what, &nodes[n].state))
	}
	var b strings.Builder
	for i := len(steps) - 1; i >= 0; i-- {
		fmt.Fprintln(&b, steps[i])
	}
	return b.String()
}

func TestProtocol(t *testing.T) {
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) {
			r, began := production(), time.Now()
			n, err := r.search(sc)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d states, %.0f states/s", n, float64(n)/time.Since(began).Seconds())
		})
	}
}

// mutants are the rules without one of them.
var mutants = map[string]func(*rules){
	"orders do not decide": func(r *rules) { r.judge = func(_, _ secret.Ownership) secret.Verdict { return secret.Apply } },
	"an equal order is applied": func(r *rules) {
		r.judge = func(held, incoming secret.Ownership) secret.Verdict {
			if v := secret.Judge(held, incoming); v != secret.Keep {
				return v
			}
			return secret.Apply
		}
	},
	"an equal order is taken for equal content": func(r *rules) { r.keepsAnything = true },
	"what is not cleared leaves": func(r *rules) {
		r.depart = func(o secret.Ownership, from secret.RegionName, _ bool) secret.Departure {
			return secret.Depart(o, from, false)
		}
	},
	"what is not understood is applied":               func(r *rules) { r.understands = func(_, _ uint32) bool { return true } },
	"any life is admitted":                            func(r *rules) { r.admits = func(link.Pin, secret.Incarnation) bool { return true } },
	"replicas are mutated":                            func(r *rules) { r.mayMutate = func(secret.Ownership, secret.RegionName) bool { return true } },
	"a predecessor leaves uncleared":                  func(r *rules) { r.predecessorsAtAnyTime = true },
	"a name is taken while it is held":                func(r *rules) { r.takesNames = true },
	"a message that was put again is deleted":         func(r *rules) { r.doneBlindly = true },
	"a message is not put again":                      func(r *rules) { r.putsOnce = true },
	"clearing and enqueueing are two transactions":    func(r *rules) { r.enqueuesLater = true },
	"what hosts cannot apply is delivered":            func(r *rules) { r.deliversPoison = true },
	"an older delivery stands for a newer one":        func(r *rules) { r.trustsOlder = true },
	"a synchronisation passes over what is uncleared": func(r *rules) { r.finishesUncleared = true },
	"a state that came before its vault's stays away": func(r *rules) {
		r.comesBack = func(_, _ secret.Ownership, _ bool) bool { return false }
	},
	"secrets are synchronised before their vault": func(r *rules) { r.secretsFirst = true },
	"a released copy leaves no tombstone":         func(r *rules) { r.forgetsReleased = true },
	"a secret is collected before its holders confirm": func(r *rules) {
		r.collectable = func(g secret.Grave, _ []secret.RegionName) bool { return g.Collectable(later, g.Holders) }
	},
	"a secret is collected while something waits": func(r *rules) {
		r.collectable = func(g secret.Grave, confirmed []secret.RegionName) bool {
			g.Waiting = false
			return g.Collectable(later, confirmed)
		}
	},
	"a holder confirms what is live":     func(r *rules) { r.confirms = func(*secret.Ownership, bool) bool { return true } },
	"a target forgets before its home":   func(r *rules) { r.forgettable = func(_, _ bool) bool { return true } },
	"what was read long ago is applied":  func(r *rules) { r.mayBring = func(_, _ secret.Moment) bool { return true } },
	"copies are dropped without a trace": func(r *rules) { r.dropsQuietly = true },
	"any backup may return":              func(r *rules) { r.mayReturn = func(_, _ []secret.Moment, _ bool) bool { return true } },
}

func TestMutantsAreFound(t *testing.T) {
	for name, mutate := range mutants {
		t.Run(name, func(t *testing.T) {
			r := production()
			mutate(&r)
			for _, sc := range scenarios {
				if _, err := r.search(sc); err != nil {
					t.Logf("found in %q: %v", sc.name, err)
					return
				}
			}
			t.Error("no search finds that the rule is missing")
		})
	}
}

// BenchmarkSearch reports how many states are explored per second.
func BenchmarkSearch(b *testing.B) {
	states := 0
	for b.Loop() {
		r := production()
		n, err := r.search(scenarios[len(scenarios)-1])
		if err != nil {
			b.Fatal(err)
		}
		states += n
	}
	b.ReportMetric(float64(states)/b.Elapsed().Seconds(), "states/s")
}
