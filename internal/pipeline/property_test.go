package pipeline_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/lifeboat-secrets/lifeboat/internal/pipeline"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
)

// liveFor is the pipeline's default.
const liveFor = 3 * time.Second

// model knows, apart from the pipeline, what may have been cleared by now.
type model struct {
	reports map[string]pipeline.Report
	// observed is the moment up to which cleared is known.
	observed time.Time
	// cleared is the highest revision that the rule allowed at any moment.
	cleared int64
}

// observe applies the rule to every moment since it was last called at which it
// may give another answer: now, and just after a host stopped counting as live.
func (m *model) observe() {
	now := time.Now()
	m.allow(now)
	for _, r := range m.reports {
		if silent := r.At.Add(liveFor + 1); silent.After(m.observed) && silent.Before(now) {
			m.allow(silent)
		}
	}
	m.observed = now
}

// allow applies the rule to one moment: at least one host registered, a majority
// of them live, and what all live ones have applied.
func (m *model) allow(at time.Time) {
	live, lowest := 0, int64(0)
	for _, r := range m.reports {
		if at.Sub(r.At) <= liveFor {
			if live == 0 || r.Applied < lowest {
				lowest = r.Applied
			}
			live++
		}
	}
	if 2*live > len(m.reports) && lowest > m.cleared {
		m.cleared = lowest
	}
}

// step is one thing that happens.
type step struct {
	what, host, record int
	// applied is what share of the revisions so far a host reports, in percent.
	applied int64
	fails   bool
	pause   time.Duration
}

func steps() *rapid.Generator[[]step] {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
		return step{
			what: rapid.IntRange(0, 6).Draw(t, "what"), host: rapid.IntRange(0, 2).Draw(t, "host"), record: rapid.IntRange(0, 2).Draw(t, "record"),
			applied: rapid.Int64Range(0, 100).Draw(t, "applied"), fails: rapid.IntRange(0, 5).Draw(t, "fails") == 0,
			pause: time.Duration(rapid.IntRange(1, 4000).Draw(t, "ms")) * time.Millisecond,
		}
	}), 5, 40)
}

// Whatever hosts report, lose and forget, and however long deliveries take, an item is
// delivered and finished only by the rule, and is finished in the end if the rule allows
// it.
func TestItemsAreClearedByTheRuleAlone(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		plan := steps().Draw(rt, "steps")
		var err error
		synctest.Test(t, func(t *testing.T) { err = run(t, plan) })
		if err != nil {
			rt.Fatal(err)
		}
	})
}

func run(t *testing.T, plan []step) error {
	m, p, c := startCourier(t)
	c.refuses = func(m pipeline.Mutation) bool { return m.Revision%4 == 0 }
	c.after = func(m pipeline.Mutation) time.Duration { return time.Duration(m.Revision%4-1) * time.Second }
	rule := &model{reports: map[string]pipeline.Report{}}
	for i, s := range plan {
		if err := do(t, m, p, rule, s); err != nil {
			return fmt.Errorf("step %d, %+v: %w", i, s, err)
		}
		if err := rule.check(m, c); err != nil {
			return fmt.Errorf("step %d, %+v: %w", i, s, err)
		}
	}
	if len(rule.reports) == 0 {
		return nil
	}
	for range 5 { // all hosts are well and have applied all
		for host, r := range rule.reports {
			r.Applied, r.Quarantined, r.At = m.latest(), nil, time.Now()
			if err := p.Report(t.Context(), r); err != nil {
				return err
			}
			rule.reports[host] = r
		}
		time.Sleep(1100 * time.Millisecond)
		if err := rule.check(m, c); err != nil {
			return err
		}
	}
	if s := p.Status(); s.Open != 0 || s.Failed != 0 {
		return fmt.Errorf("left open: %+v, %v", s, m.keys())
	}
	return nil
}

func do(t *testing.T, m *memory, p *pipeline.Pipeline, rule *model, s step) error {
	host, key := fmt.Sprint("h", s.host), record.Key(fmt.Sprint("secret/V/", s.record))
	rule.observe()
	switch s.what {
	case 0, 1:
		m.mutate(key)
	case 2, 3, 4:
		r := pipeline.Report{Host: host, Cell: "base", Address: "a", Applied: m.latest() * s.applied / 100, At: time.Now()}
		if s.fails {
			r.Quarantined = []pipeline.Quarantined{{Record: key, Revision: r.Applied}}
		}
		rule.reports[host] = r
		return p.Report(t.Context(), r)
	case 5:
		time.Sleep(s.pause)
	case 6:
		if _, ok := rule.reports[host]; ok {
			delete(rule.reports, host)
			return p.Forget(t.Context(), host)
		}
	}
	return nil
}

func (m *model) check(shard *memory, c *courier) error {
	synctest.Wait()
	m.observe()
	if offered := c.newest(); offered > m.cleared {
		return fmt.Errorf("the mutation of revision %d was delivered, the rule allows %d: %+v", offered, m.cleared, m.reports)
	}
	shard.mu.Lock()
	defer shard.mu.Unlock()
	for revision := range shard.cleared {
		if revision > m.cleared {
			return fmt.Errorf("the item of revision %d is cleared, the rule allows %d: %+v", revision, m.cleared, m.reports)
		}
	}
	return nil
}
