package replica_test

import (
	"context"
	"errors"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/replica"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// initialised is a store with a region record.
func initialised() *memory {
	m := newMemory()
	m.put(record.RegionKey, record.Regions.Encode(region("inc-1", 1)))
	return m
}

func (m *memory) inLife(epoch uint64) func(replica.Position) bool {
	return func(pos replica.Position) bool {
		return pos.RestoreEpoch == epoch && pos.Synced && !pos.Resyncing && pos.Applied == m.head()
	}
}

func TestRestoredStoreCounts(t *testing.T) {
	m := initialised()
	h := start(t, options(t, m))
	m.put(name(1), ref(1))
	backup := m.copyOf()
	for i := range 50 {
		m.put(name(1), ref(100+i))
		m.put(name(2), ref(2))
	}
	h.wait(m.head())
	h.end()
	m.restore(backup, region("inc-2", 2))
	h = start(t, h.opts)
	h.until("in the new life", m.inLife(2))
	h.mustHave(name(1), ref(1))
	h.mustLack(name(2))
	h.mustEqual(m)
	if p := h.Position(); p.Incarnation != "inc-2" {
		t.Errorf("position %+v", p)
	}
}

func TestNewLifeAnnouncedByTheFeed(t *testing.T) {
	m := initialised()
	h := start(t, options(t, m))
	h.wait(m.put(name(1), ref(1)))
	m.put(record.RegionKey, record.Regions.Encode(region("inc-1", 2)))
	m.put(name(1), ref(2))
	h.until("in the new life", m.inLife(2))
	h.mustEqual(m)
}

func TestServesTheOldLifeUntilTheNewOneIsHere(t *testing.T) {
	m := initialised()
	m.perPage = 1
	m.put(name(1), ref(1))
	m.put(name(2), ref(2))
	h := start(t, options(t, m))
	h.wait(m.head())
	h.end()
	paged, goOn := make(chan struct{}), make(chan struct{})
	m.restore(map[record.Key]record.Stored{
		name(1): {Key: name(1), Value: ref(7)}, name(3): {Key: name(3), Value: ref(3)},
	}, region("inc-2", 2))
	m.beforePage = func(start record.Key) {
		if start > name(1) {
			close(paged)
			<-goOn
			m.beforePage = nil
		}
	}
	h = start(t, h.opts)
	<-paged
	h.mustHave(name(1), ref(7))
	h.mustHave(name(2), ref(2))
	if p := h.Position(); p.Synced || !p.Resyncing || p.Applied != 0 || p.RestoreEpoch != 2 {
		t.Errorf("position %+v", p)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := h.WaitApplied(ctx, 1); !secret.HasCode(err, secret.CodeNotReached) {
		t.Errorf("a revision of the new life counts as reached: %v", err)
	}
	close(goOn)
	h.until("in the new life", m.inLife(2))
	h.mustEqual(m)
}

func TestStoreThatSilentlyWentBackIsNotFollowed(t *testing.T) {
	m := initialised()
	h := start(t, options(t, m))
	backup := m.copyOf()
	m.put(name(1), ref(1))
	h.wait(m.put(name(2), ref(2)))
	h.end()
	m.restore(backup, nil)
	h = start(t, h.opts)
	h.until("refusing", func(p replica.Position) bool { return secret.HasCode(p.Err, secret.CodeWrongState) })
	h.mustHave(name(1), ref(1))
	m.put(record.RegionKey, record.Regions.Encode(region("inc-1", 2)))
	h.until("in the new life", m.inLife(2))
	h.mustLack(name(1))
	h.mustEqual(m)
}

func TestEmptyStoreIsNotFollowed(t *testing.T) {
	m := initialised()
	h := start(t, options(t, m))
	h.wait(m.put(name(1), ref(1)))
	m.sever(errCut)
	m.restore(nil, nil)
	m.sever(nil)
	h.until("refusing", func(p replica.Position) bool { return secret.HasCode(p.Err, secret.CodeWrongState) })
	h.mustHave(name(1), ref(1))
}

func TestStoreWithoutARegionThatWentBackIsCopiedAnew(t *testing.T) {
	m := newMemory()
	h := start(t, options(t, m))
	m.put(name(1), ref(1))
	h.wait(m.put(name(2), ref(2)))
	h.end()
	m.restore(map[record.Key]record.Stored{name(2): {Key: name(2), Value: ref(9)}}, nil)
	h = start(t, h.opts)
	h.until("copied", func(p replica.Position) bool { return p.Applied == 1 && p.Synced && !p.Resyncing })
	h.mustEqual(m)
	m.put(record.RegionKey, record.Regions.Encode(region("inc-1", 1)))
	h.until("initialised", m.inLife(1))
	h.mustEqual(m)
}

func TestWaitApplied(t *testing.T) {
	m := newMemory()
	opts := options(t, m)
	told := make(chan int64, 100)
	opts.OnApply = func(changes []record.Change) { told <- changes[len(changes)-1].Revision }
	h := start(t, opts)
	h.wait(0)
	done := make(chan error)
	go func() { done <- h.WaitApplied(within(t), 2) }()
	m.put(name(1), ref(1))
	<-told
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := h.WaitApplied(ctx, 2); !secret.HasCode(err, secret.CodeNotReached) || !errors.Is(err, context.Canceled) {
		t.Errorf("too early: %v", err)
	}
	m.put(name(1), ref(2))
	if err := <-done; err != nil {
		t.Error(err)
	}
	select {
	case <-told:
	default:
		t.Error("waiters wake before OnApply is called")
	}
}
