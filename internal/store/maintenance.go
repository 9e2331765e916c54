package store

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const (
	defaultKeep = 5 * time.Minute
	// checksPerKeep is how often in the kept time the history is looked at, so
	// that at most a fifth more is kept than asked for.
	checksPerKeep = 5
	// leastCheckInterval is etcd's own interval between commits to disk.
	leastCheckInterval = 100 * time.Millisecond
	// mostCheckInterval bounds how long a full store waits to be looked at.
	mostCheckInterval = time.Minute
	// defragTimeout bounds the rewriting of one member's database; it takes
	// about 10 s for each GB.
	defragTimeout = 10 * time.Minute
	// mostRecounts is enough for the page counts to settle after a compaction.
	mostRecounts = 10
)

// Maintenance says how much history a store keeps for feeds that resume. What is
// older than Keep and not among the last KeepRevisions revisions is dropped.
type Maintenance struct {
	// Keep is a time; 0 means 5 minutes.
	Keep time.Duration
	// KeepRevisions is a number of revisions to keep however old they are.
	KeepRevisions int64
}

func (m Maintenance) withDefaults() Maintenance {
	if m.Keep <= 0 {
		m.Keep = defaultKeep
	}
	return m
}

// MaintenanceStats say what RunMaintenance of this process did.
type MaintenanceStats struct {
	// CompactedRevision is the one that it last dropped history up to; 0 if it has
	// dropped none.
	CompactedRevision int64
	// Compactions and Defragmentations are those done, Failures the rounds that
	// failed in part.
	Compactions, Defragmentations, Failures uint64
}

// upkeep counts for MaintenanceStats.
type upkeep struct {
	compacted                               atomic.Int64
	compactions, defragmentations, failures atomic.Uint64
}

// MaintenanceStats returns what was counted so far.
func (s *Shard) MaintenanceStats() MaintenanceStats {
	u := &s.upkeep
	return MaintenanceStats{
		CompactedRevision: u.compacted.Load(), Compactions: u.compactions.Load(),
		Defragmentations: u.defragmentations.Load(), Failures: u.failures.Load(),
	}
}

// RunMaintenance drops old history and, when the store is full, makes room and
// clears the alarm as soon as there is some, until ctx ends; it returns ctx's
// error. Run it in every process that embeds a member and in one that dials;
// several at once do no harm. Do not make it depend on a role (Hold): a full store
// grants none. What fails is logged and tried again. The history is that of the
// whole etcd cluster, so if it holds several shards the shortest Keep counts.
//
// A member's database is rewritten (defragmented), which blocks that member,
// only while the store is full and so refuses writes anyway.
func (s *Shard) RunMaintenance(ctx context.Context) error {
	var h history
	interval := max(leastCheckInterval, min(s.maintenance.Keep/checksPerKeep, mostCheckInterval))
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	failure := ""
	for {
		err := s.maintain(ctx, &h, time.Now())
		if err != nil && ctx.Err() == nil {
			s.upkeep.failures.Add(1)
		}
		if err != nil && err.Error() != failure && ctx.Err() == nil {
			s.log.WarnContext(ctx, "store maintenance failed and will be tried again", "prefix", s.prefix, "error", err)
		}
		failure = fmt.Sprint(err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// maintain does one round. A failure to drop history does not keep it from
// making room.
func (s *Shard) maintain(ctx context.Context, h *history, now time.Time) error {
	return errors.Join(s.compact(ctx, h, now), s.makeRoom(ctx, h))
}

func (s *Shard) compact(ctx context.Context, h *history, now time.Time) error {
	revision, err := s.Revision(ctx)
	if err != nil {
		return err
	}
	h.add(now, revision)
	target := min(h.before(now.Add(-s.maintenance.Keep)), revision-s.maintenance.KeepRevisions)
	if target <= h.compacted {
		return nil
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	_, err = s.client.Compact(ctx, target)
	if err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
		return readError(ctx, err)
	}
	h.compacted, h.recounts = target, 0
	s.upkeep.compacted.Store(target)
	s.upkeep.compactions.Add(1)
	return nil
}

// history remembers which revision the store had when.
type history struct {
	samples []sample
	// compacted is the revision that history was last dropped up to, recounts how
	// often members were made to count their free pages since.
	compacted int64
	recounts  int
}

type sample struct {
	at       time.Time
	revision int64
}

// add notes a sample. A revision lower than before means that the store was
// restored; what was known of it is forgotten.
func (h *history) add(at time.Time, revision int64) {
	if n := len(h.samples); n > 0 && revision < h.samples[n-1].revision {
		*h = history{}
	}
	h.samples = append(h.samples, sample{at, revision})
}

// before returns the highest revision known to be older than t, 0 if none is,
// and forgets the samples that are older still.
func (h *history) before(t time.Time) int64 {
	newest := -1
	for i, s := range h.samples {
		if s.at.After(t) {
			break
		}
		newest = i
	}
	if newest < 0 {
		return 0
	}
	h.samples = h.samples[newest:]
	return h.samples[0].revision
}

// makeRoom defragments the members that are full of free pages, and clears the
// "no space" alarm once all are below their quota.
func (s *Shard) makeRoom(ctx context.Context, h *history) error {
	alarms, full, err := s.fullness(ctx)
	if err != nil || !full {
		return err
	}
	room := true
	for _, endpoint := range s.endpoints() {
		ok, err := s.shrink(ctx, endpoint)
		if err != nil {
			return err
		}
		room = room && ok
	}
	switch {
	case room:
		s.log.InfoContext(ctx, "the store has room again and accepts writes", "prefix", s.prefix)
		return s.disarm(ctx, alarms)
	case h.recounts < mostRecounts:
		// A member counts the pages that a compaction has freed only when something
		// is written after it. Clearing the alarm writes, and lets nothing in: each
		// write is still checked against the quota, and raises the alarm again.
		h.recounts++
		return s.disarm(ctx, alarms)
	default:
		return secret.Errorf(secret.CodeStoreFull, "the store is full").WithHint("raise its quota, or add a shard and move vaults to it")
	}
}

// fullness returns the "no space" alarms, and whether there are any or a member
// has reached its quota without having noticed.
func (s *Shard) fullness(ctx context.Context) (noSpace []*clientv3.AlarmMember, full bool, err error) {
	alarms, err := s.alarms(ctx)
	if err != nil {
		return nil, false, err
	}
	for _, a := range alarms {
		if a.Alarm == etcdserverpb.AlarmType_NOSPACE {
			noSpace = append(noSpace, a)
		}
	}
	full = len(noSpace) > 0
	for _, endpoint := range s.endpoints() {
		m := s.member(ctx, endpoint)
		full = full || m.full()
	}
	return noSpace, full, nil
}

// shrink makes a member's file small enough and reports whether it is.
func (s *Shard) shrink(ctx context.Context, endpoint string) (bool, error) {
	m := s.member(ctx, endpoint)
	if m.Err != nil {
		return false, m.Err
	}
	if hasRoom(m.DatabaseBytes, m) {
		return true, nil
	}
	if !hasRoom(m.InUseBytes, m) {
		return false, nil
	}
	s.log.InfoContext(ctx, "the store is full: rewriting a member's database to free its unused pages",
		"prefix", s.prefix, "endpoint", endpoint, "bytes", m.DatabaseBytes, "inUse", m.InUseBytes)
	limit, cancel := context.WithTimeout(ctx, defragTimeout)
	defer cancel()
	if _, err := s.client.Defragment(limit, endpoint); err != nil {
		return false, readError(limit, err)
	}
	s.upkeep.defragmentations.Add(1)
	m = s.member(ctx, endpoint)
	return m.Err == nil && hasRoom(m.DatabaseBytes, m), m.Err
}

// hasRoom reports whether a file of that size leaves a tenth of the quota free;
// with less the alarm would soon be back. Members before etcd 3.6 do not tell
// their quota; there a file that is mostly in use is taken for full.
func hasRoom(size int64, m MemberHealth) bool {
	limit := m.QuotaBytes
	if limit == 0 {
		limit = m.DatabaseBytes
	}
	return size <= limit-limit/10
}

func (s *Shard) disarm(ctx context.Context, alarms []*clientv3.AlarmMember) error {
	for _, a := range alarms {
		limit, cancel := s.bounded(ctx)
		_, err := s.client.AlarmDisarm(limit, a)
		cancel()
		if err != nil {
			return readError(limit, err)
		}
	}
	return nil
}
