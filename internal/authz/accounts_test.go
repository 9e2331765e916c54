package authz

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const permitAll = `permit (principal, action, resource);`

// TestFreshness runs commits, the feed's handler and decisions over views of any
// age in any order. A decision must be that of a state no older than what its
// view holds or what Changed was told, whichever is older; a state has as many
// policies as its number.
func TestFreshness(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := &freshness{m: newMemory(), sizes: map[int64]int{0: 0}}
		h.a = New(Options{CachedPolicies: rapid.SampledFrom([]int{1, 1000}).Draw(t, "limit")})
		h.views = []*memory{h.m.clone()}
		t.Repeat(map[string]func(*rapid.T){
			"commit":                    func(t *rapid.T) { h.pending = append(h.pending, h.commit(t)) },
			"change of another account": func(*rapid.T) { h.commitElsewhere() },
			"told before the commit":    h.tellBeforeCommit,
			"told after the commit": func(*rapid.T) {
				if len(h.pending) > 0 {
					h.tell(h.pending[0])
					h.pending = h.pending[1:]
				}
			},
			"open":                      func(*rapid.T) { h.views = append(h.views, h.m.clone()) },
			"decide":                    h.decide,
			"decide without a revision": h.decideWithoutRevision,
		})
	})
}

// freshness is an authorizer that is told of commits before or after they can be
// seen.
type freshness struct {
	a       *Authorizer
	m       *memory
	views   []*memory
	sizes   map[int64]int // policies at a revision
	pending []record.Change
	told    int64
}

func (h *freshness) tell(c record.Change) {
	h.a.Changed([]record.Change{c})
	h.told = c.Revision
}

func (h *freshness) commit(t *rapid.T) record.Change {
	if rapid.IntRange(0, 3).Draw(t, "remove") == 0 {
		c := h.m.remove(acme, "p")
		h.sizes[h.m.revision] = 0
		return c
	}
	n := int(h.m.revision) + 1
	c := h.m.put(acme, "p", strings.Repeat(permitAll, n))
	h.sizes[h.m.revision] = n
	return c
}

func (h *freshness) commitElsewhere() {
	before := h.sizes[h.m.revision]
	h.pending = append(h.pending, h.m.put(other, "p", permitAll))
	h.sizes[h.m.revision] = before
}

func (h *freshness) tellBeforeCommit(t *rapid.T) {
	if len(h.pending) > 0 {
		return
	}
	old := h.m.clone()
	h.tell(h.commit(t))
	h.views = append(h.views, old) // opened between the two
}

func (h *freshness) decide(t *rapid.T) {
	v := rapid.SampledFrom(h.views).Draw(t, "view")
	d, err := h.a.Decide(v, get(alice))
	if err != nil {
		t.Fatal(err)
	}
	for revision := min(v.revision, h.told); revision <= h.m.revision; revision++ {
		if h.sizes[revision] == len(d.Policies) {
			return
		}
	}
	t.Fatalf("decided by %d policies over revision %d, told %d, now %d", len(d.Policies), v.revision, h.told, h.m.revision)
}

func (h *freshness) decideWithoutRevision(t *rapid.T) {
	v := rapid.SampledFrom(h.views).Draw(t, "view")
	d, err := h.a.Decide(plain{v}, get(alice))
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Policies) != h.sizes[v.revision] {
		t.Fatalf("decided by %d policies over revision %d", len(d.Policies), v.revision)
	}
}

// TestOldViewDoesNotBringOldPoliciesBack is the race that caches of this kind
// lose: a view from before a change is used after it, when nothing is cached.
func TestOldViewDoesNotBringOldPoliciesBack(t *testing.T) {
	m := newMemory()
	m.put(acme, "p", permitAll)
	old := m.clone()
	a := New(Options{})
	a.Changed([]record.Change{m.remove(acme, "p")})
	if d := decide(t, a, old, get(alice)); !d.Allowed {
		t.Errorf("the old view: %+v", d)
	}
	if d := decide(t, a, m, get(alice)); d.Allowed {
		t.Errorf("the new view: %+v", d)
	}
}

func TestUnchangedPoliciesAreReadOnce(t *testing.T) {
	m := newMemory()
	m.put(acme, "p", permitAll)
	a := New(Options{})
	counted := &counting{memory: m}
	for range 5 {
		decide(t, a, counted, get(alice))
	}
	if n := counted.scans.Load(); n != 1 {
		t.Errorf("%d scans", n)
	}
	a.Changed([]record.Change{m.put(other, "q", permitAll)})
	decide(t, a, counted, get(alice))
	if n := counted.scans.Load(); n != 1 {
		t.Errorf("%d scans after a change of another account", n)
	}
	a.Changed([]record.Change{m.put(acme, "q", permitAll)})
	before := a.accounts.cached(acme).sources[0].policies[0]
	if d := decide(t, a, counted, get(alice)); len(d.Policies) != 2 {
		t.Errorf("decision %+v", d)
	}
	if a.accounts.cached(acme).sources[0].policies[0] != before {
		t.Error("an unchanged policy was parsed again")
	}
}

type counting struct {
	*memory
	scans atomic.Int64
}

func (c *counting) Scan(start, end record.Key, visit func(record.Stored) bool) error {
	c.scans.Add(1)
	return c.memory.Scan(start, end, visit)
}

func TestReset(t *testing.T) {
	m := newMemory()
	for range 10 {
		m.put(acme, "p", permitAll)
	}
	a := New(Options{})
	decide(t, a, m, get(alice))
	a.Changed([]record.Change{m.put(acme, "p", permitAll)})
	a.Reset()
	restored := newMemory() // its revisions begin anew
	counted := &counting{memory: restored}
	for range 3 {
		if d := decide(t, a, counted, get(alice)); d.Allowed {
			t.Errorf("decision %+v by policies of the replaced store", d)
		}
	}
	if n := counted.scans.Load(); n != 1 {
		t.Errorf("%d scans: nothing is cached after a reset", n)
	}
}

func TestCacheIsBounded(t *testing.T) {
	m := newMemory()
	a := New(Options{CachedPolicies: 10})
	for i := range 100 {
		account := secret.AccountID(fmt.Sprintf("ACCOUNT%d", i))
		m.put(account, "p", permitAll+permitAll)
		r := get(&secret.Principal{ID: "P", Account: account, Kind: secret.User})
		r.Resource.Account = account
		if d := decide(t, a, m, r); !d.Allowed {
			t.Fatalf("decision %+v", d)
		}
	}
	kept := 0
	a.accounts.sets.Range(func(_, s any) bool {
		kept += weight(s.(*set))
		return true
	})
	if kept != a.accounts.kept || kept > 10 || kept == 0 {
		t.Errorf("policies of weight %d are cached, %d by the books; the limit is 10", kept, a.accounts.kept)
	}
}

func TestUnreadablePolicyRefusesEverything(t *testing.T) {
	tests := map[string]struct {
		value []byte
		code  secret.Code
	}{
		"newer format":  {[]byte{99}, secret.CodeUnknownFormat},
		"garbage":       {[]byte{1, 0xff}, secret.CodeCorrupt},
		"newer grammar": {record.Policies.Encode(&secret.Policy{Account: acme, Name: "odd", Text: "permit maybe;"}), secret.CodeCorrupt},
		"misplaced":     {record.Policies.Encode(&secret.Policy{Account: other, Name: "odd", Text: permitAll}), secret.CodeCorrupt},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := newMemory()
			m.put(acme, "all", permitAll)
			key := record.PolicyKey(acme, "odd")
			m.revision++
			m.records[key] = record.Stored{Key: key, Value: tt.value, Revision: m.revision}
			a := New(Options{})
			for _, view := range []record.View{m, plain{m}} {
				d, err := a.Decide(view, get(alice))
				if !secret.HasCode(err, tt.code) || d.Allowed || !strings.Contains(err.Error(), "odd") {
					t.Errorf("decision %+v, error %v", d, err)
				}
			}
			c := m.remove(acme, "odd")
			a.Changed([]record.Change{c})
			if d := decide(t, a, m, get(alice)); !d.Allowed {
				t.Errorf("after its removal: %+v", d)
			}
		})
	}
}

type broken struct{ *memory }

var errBroken = errors.New("disk on fire")

func (broken) Scan(record.Key, record.Key, func(record.Stored) bool) error { return errBroken }

func TestViewError(t *testing.T) {
	for _, view := range []record.View{broken{newMemory()}, plain{broken{newMemory()}}} {
		if d, err := New(Options{}).Decide(view, get(alice)); !errors.Is(err, errBroken) || d.Allowed {
			t.Errorf("decision %+v, error %v", d, err)
		}
	}
}

// TestConcurrentDecisions toggles a policy while requests decide; each decision
// that begins after the handler has run must obey.
func TestConcurrentDecisions(t *testing.T) {
	a := New(Options{})
	var latest atomic.Pointer[memory]
	m := newMemory()
	latest.Store(m.clone())
	var wg sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				v := latest.Load()
				d, err := a.Decide(v, get(alice))
				// Later states have more policies.
				if err != nil || len(d.Policies) < int(v.revision)-1 {
					t.Errorf("over revision %d: %+v, %v", v.revision, d, err)
					return
				}
			}
		})
	}
	for range 60 {
		c := m.put(acme, "p", strings.Repeat(permitAll, int(m.revision)+1))
		latest.Store(m.clone())
		a.Changed([]record.Change{c})
		if d := decide(t, a, latest.Load(), get(alice)); len(d.Policies) != int(m.revision) {
			t.Errorf("decided by %d policies at revision %d", len(d.Policies), m.revision)
		}
	}
	close(done)
	wg.Wait()
}
