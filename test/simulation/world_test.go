package simulation

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// world is three regions with links between them.
type world struct {
	t       *testing.T
	regions []*region
	closers []func()
	// late are deliveries that come once more.
	late deliveries

	mu    sync.Mutex
	links map[[2]secret.RegionName]quality
	// cleared are the orders that each home has cleared, by record.
	cleared map[record.Key]map[secret.Order]bool
	// highest is the highest order of each record that each region ever had, also when
	// it has forgotten it since.
	highest map[secret.RegionName]map[record.Key]secret.Order
	// broken is what went wrong first.
	broken error
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, links: map[[2]secret.RegionName]quality{}, cleared: map[record.Key]map[secret.Order]bool{}, highest: map[secret.RegionName]map[record.Key]secret.Order{}}
	for _, name := range names {
		w.regions = append(w.regions, nil)
		w.highest[name] = map[record.Key]secret.Order{}
		w.regions[len(w.regions)-1] = w.startRegion(name)
	}
	w.meet()
	return w
}

// meet has the regions accept each other.
func (w *world) meet() {
	for _, r := range w.regions {
		for _, peer := range w.regions {
			made, err := service.RegionRecord(peer.shard.snapshot())
			must(w.t, err)
			if peer != r {
				must(w.t, r.service.PinPeer(w.t.Context(), peer.name, secret.Incarnation(made.GetIncarnation())))
			}
		}
	}
}

func (w *world) close() {
	for _, r := range w.regions {
		r.crash()
	}
	w.late.wait()
	for _, end := range w.closers {
		end()
	}
}

func (w *world) onClose(end func()) { w.closers = append(w.closers, end) }

func (w *world) region(name secret.RegionName) *region {
	return w.regions[slices.Index(names, name)]
}

func (w *world) quality(from, to secret.RegionName) quality {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.links[[2]secret.RegionName{from, to}]
}

func (w *world) setLink(from, to secret.RegionName, q quality) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.links[[2]secret.RegionName{from, to}] = q
}

func (w *world) fail(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken == nil {
		w.broken = fmt.Errorf(format, args...)
	}
}

func (w *world) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.broken
}

// ownerIn returns whose a record or its tombstone is in a view.
func ownerIn(v view, key record.Key) (o secret.Ownership, ok bool) {
	if stored, there := v.records[key]; there {
		owner, err := record.OwnerOf(key, stored.Value)
		return owner.Ownership, err == nil
	}
	grave, _, err := record.Load(v, record.Tombstones, record.TombstoneKey(key))
	if err != nil {
		return o, false
	}
	return grave.Ownership, true
}

// noteApplied takes note of what a region's only host can apply: all but one record. It
// is what the pipeline may clear once the host has reported it.
func (w *world) noteApplied(r *region, applied view, bad record.Key) {
	for key := range applied.records {
		if !key.HasPrefix(record.WorkPrefix) || key == record.WorkKey(bad) {
			continue
		}
		key = key[len(record.WorkPrefix):]
		if o, ok := ownerIn(applied, key); ok && o.MaySend(r.name) {
			w.noteCleared(key, o.Order)
		}
	}
}

// observe checks each commit of a region.
func (w *world) observe(r *region, before view, txn record.Txn) {
	for _, write := range txn.Writes {
		key := write.Key
		if write.Value == nil {
			continue
		}
		var o secret.Ownership
		if key.HasPrefix(record.TombstonePrefix) {
			grave, err := record.Tombstones.Decode(write.Value)
			must(w.t, err)
			key, o = key[len(record.TombstonePrefix):], grave.Ownership
		} else if owner, err := record.OwnerOf(key, write.Value); err == nil {
			o = owner.Ownership
		} else {
			continue
		}
		if o.Home != r.name && !handsOver(before, o) {
			w.checkReceived(r, before, key, o)
		}
	}
}

// handsOver reports whether a region whose store was as before has moved a record to
// another one itself.
func handsOver(before view, o secret.Ownership) bool {
	region, err := service.RegionRecord(before)
	return err == nil && region.GetIncarnation() == string(o.Incarnation)
}

func (w *world) noteCleared(key record.Key, o secret.Order) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cleared[key] == nil {
		w.cleared[key] = map[secret.Order]bool{}
	}
	w.cleared[key][o] = true
}

func (w *world) checkReceived(r *region, before view, key record.Key, o secret.Ownership) {
	w.mu.Lock()
	cleared, highest := w.cleared[key][o.Order], w.highest[r.name][key]
	if o.Order.Compare(highest) > 0 {
		w.highest[r.name][key] = o.Order
	}
	w.mu.Unlock()
	if o.Order.Compare(highest) < 0 {
		w.fail("G3: %s, which had order %s of %s, goes back to %s", r.name, highest, key, o.Order)
	}
	if !cleared {
		w.fail("G5: %s has %s of %s, which %s has not cleared", r.name, o.Order, key, o.Home)
	}
	if held, ok := ownerIn(before, key); ok && o.Order.Compare(held.Order) < 0 {
		w.fail("G3: %s goes back from %s to %s of %s", r.name, held.Order, o.Order, key)
	}
}

// heal makes everything well, for good.
func (w *world) heal() {
	for _, from := range names {
		for _, to := range names {
			w.setLink(from, to, good)
		}
	}
	for _, r := range w.regions {
		r.mu.Lock()
		r.bad, r.silent = "", false
		r.shard.slow.Store(0)
		r.mu.Unlock()
	}
	w.late.wait()
}

// rest waits, in simulated time, until all copies are equal, and reports what
// differs if they are not in the end.
func (w *world) rest() (err error) {
	for range 60 {
		time.Sleep(10 * time.Second)
		for _, r := range w.regions {
			for _, target := range names {
				if err := r.process.queue.RetryAll(w.t.Context(), target); err != nil {
					return err
				}
			}
		}
		if err = w.compare(); err == nil || w.failure() != nil {
			break
		}
	}
	return err
}
