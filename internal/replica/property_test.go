package replica_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/replica"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// watcher follows every commit of a local store and reports what must not be:
// a record that goes back, or one that returns after its deletion.
type watcher struct {
	mu       sync.Mutex
	local    *replica.Local
	seen     map[record.Key]record.Change
	problems []string
}

func (w *watcher) applied(changes []record.Change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, ch := range changes {
		w.step(ch)
	}
	w.compare()
}

func (w *watcher) step(ch record.Change) {
	if ch.Key.HasPrefix(record.OutboxPrefix) {
		return
	}
	last, ok := w.seen[ch.Key]
	switch {
	case ok && ch.Revision <= last.Revision:
		w.problem("%s goes from revision %d (deleted %v) to %d", ch.Key, last.Revision, last.Deleted, ch.Revision)
	case ok && !last.Deleted && !ch.Deleted && order(ch).Compare(order(last)) < 0:
		w.problem("%s goes from order %s to %s", ch.Key, order(last), order(ch))
	}
	w.seen[ch.Key] = ch
}

// compare checks that the copy is what the commits so far have made it.
func (w *watcher) compare() {
	have := map[record.Key]int64{}
	err := w.local.View(func(v record.View) error {
		return v.Scan("", "", func(s record.Stored) bool {
			have[s.Key] = s.Revision
			return true
		})
	})
	if err != nil {
		w.problem("scan: %v", err)
	}
	for key, ch := range w.seen {
		if r, ok := have[key]; ok == ch.Deleted || ok && r != ch.Revision {
			w.problem("%s: at revision %d (%v), last change %d deleted %v", key, r, ok, ch.Revision, ch.Deleted)
		}
	}
}

func (w *watcher) problem(format string, args ...any) {
	w.problems = append(w.problems, fmt.Sprintf(format, args...))
}

// newLife forgets what was seen: revisions and orders start anew.
func (w *watcher) newLife() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.seen)
}

func order(ch record.Change) secret.Order {
	s, err := record.Secrets.Decode(ch.Value)
	if err != nil {
		return secret.Order{}
	}
	return s.Ownership.Order
}

// history is one random run.
type history struct {
	t     *rapid.T
	m     *memory
	h     *host
	w     *watcher
	opts  replica.Options
	epoch uint64
	saved map[record.Key]record.Stored

	writing sync.Mutex // orders rise with revisions
	seq     uint64

	mu     sync.Mutex
	queued []queued
}

// queued happens between two pages.
type queued struct {
	do   func()
	cuts bool // severs the source
}

func (r *history) mutation(label string) func() {
	n := rapid.IntRange(0, 19).Draw(r.t, label)
	kind := rapid.IntRange(0, 5).Draw(r.t, label+" kind")
	version := secret.VersionID(fmt.Sprint(rapid.IntRange(0, 2).Draw(r.t, label+" version")))
	return func() {
		r.writing.Lock()
		defer r.writing.Unlock()
		r.seq++
		key, value := secretRecord(n, r.seq)
		switch kind {
		case 0:
			r.m.delete(key)
		case 1:
			r.m.commit(record.Write{Key: key, Value: value}, record.Write{Key: name(n), Value: ref(n)},
				record.Write{Key: record.OutboxKey(fmt.Sprint(r.m.head())), Value: record.Events.Encode(&recordpb.Event{Id: "e"})})
		case 2:
			r.m.commit(record.Write{Key: key}, record.Write{Key: name(n)})
		case 3:
			r.m.commit(record.Write{Key: key, Value: value}, versionOf(n, version))
		case 4:
			r.m.delete(versionOf(n, version).Key)
		default:
			r.m.put(key, value)
		}
	}
}

// queue has f happen while the source is being paged.
func (r *history) queue(f func(), cuts bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queued = append(r.queued, queued{f, cuts})
}

// betweenPages makes what was queued happen while the source is being paged.
func (r *history) betweenPages(record.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queued) > 0 {
		r.queued[0].do()
		r.queued = r.queued[1:]
	}
}

func (r *history) open(t *testing.T) {
	l, err := replica.Open(r.opts)
	if err != nil {
		r.t.Fatal(err)
	}
	r.w.mu.Lock()
	r.w.local = l
	r.w.mu.Unlock()
	r.h = run(t, l, r.opts)
}

func (r *history) settled() {
	r.mu.Lock()
	r.queued = slices.DeleteFunc(r.queued, func(q queued) bool { return q.cuts })
	r.mu.Unlock()
	r.m.sever(nil)
	r.h.until("at the head of the source", func(p replica.Position) bool {
		return p.Applied == r.m.head() && p.Synced && !p.Resyncing && p.RestoreEpoch == r.epoch
	})
	r.h.mustEqual(r.m)
	r.ok()
}

func (r *history) ok() {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	if len(r.w.problems) > 0 {
		r.t.Fatalf("%q", r.w.problems)
	}
}

func (r *history) restore(t *testing.T) {
	r.m.sever(errCut)
	r.h.end()
	r.w.newLife()
	r.epoch++
	r.m.restore(r.saved, region("inc", r.epoch))
	r.open(t)
	r.m.sever(nil)
}

func TestNeverGoesBack(t *testing.T) {
	runs := 0
	dir := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		m := newMemory()
		m.perPage = rapid.IntRange(1, 5).Draw(rt, "records per page")
		m.perBatch = rapid.IntRange(1, 4).Draw(rt, "changes per batch")
		r := &history{t: rt, m: m, w: &watcher{seen: map[record.Key]record.Change{}}, epoch: 1}
		m.put(record.RegionKey, record.Regions.Encode(region("inc", 1)))
		m.beforePage = r.betweenPages
		r.saved = m.copyOf()
		r.opts = replica.Options{
			Path: filepath.Join(dir, fmt.Sprint(runs), "local.db"), Source: m, NoSync: true,
			RetryMin: time.Microsecond, RetryMax: time.Millisecond, OnApply: r.w.applied,
		}
		r.open(t)
		defer func() { r.h.end() }()
		r.random(t)
		r.settled()
	})
}

func (r *history) random(t *testing.T) {
	actions := slices.Concat(
		slices.Repeat([]string{"mutate"}, 8), slices.Repeat([]string{"queue"}, 6),
		[]string{"queue sever", "queue compact", "compact", "compact", "sever", "mend", "mend", "reopen", "settle", "save", "restore"},
	)
	for range rapid.IntRange(1, 40).Draw(r.t, "length") {
		switch rapid.SampledFrom(actions).Draw(r.t, "action") {
		case "mutate":
			r.mutation("secret")()
		case "queue":
			r.queue(r.mutation("secret between pages"), false)
		case "queue sever":
			r.queue(func() { r.m.sever(errCut) }, true)
		case "queue compact":
			r.queue(r.m.compact, false)
		case "compact":
			r.m.compact()
		case "sever":
			r.m.sever(errCut)
		case "mend":
			r.m.sever(nil)
		case "reopen":
			r.h.end()
			r.open(t)
		case "settle":
			r.settled()
		case "save":
			r.saved = r.m.copyOf()
		case "restore":
			r.restore(t)
		}
		r.ok()
	}
}
