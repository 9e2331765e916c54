package store_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/store"
)

// follower runs a Feed and keeps what it delivers.
type follower struct {
	mu      sync.Mutex
	changed *sync.Cond
	batches []store.Batch
	ended   bool
	err     error
	cancel  context.CancelFunc
}

func follow(t testing.TB, s *store.Shard, after int64) *follower {
	ctx, cancel := context.WithCancel(context.Background())
	f := &follower{cancel: cancel}
	f.changed = sync.NewCond(&f.mu)
	go func() {
		err := s.Feed(ctx, after, func(b store.Batch) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.batches = append(f.batches, b)
			f.changed.Broadcast()
			return nil
		})
		f.mu.Lock()
		defer f.mu.Unlock()
		f.ended, f.err = true, err
		f.changed.Broadcast()
	}()
	t.Cleanup(func() { f.stop() })
	return f
}

func (f *follower) wait(until func() bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for !until() && !f.ended {
		f.changed.Wait()
	}
}

// stop ends the feed and returns its error.
func (f *follower) stop() error {
	f.cancel()
	return f.end()
}

// end waits for the feed to end by itself.
func (f *follower) end() error {
	f.wait(func() bool { return f.ended })
	return f.err
}

// reach waits until the feed vouches for revision and returns all changes so far.
func (f *follower) reach(t testing.TB, revision int64) []record.Change {
	t.Helper()
	f.wait(func() bool { return f.reached() >= revision })
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.reached() < revision {
		t.Fatalf("feed ended at %d before %d: %v", f.reached(), revision, f.err)
	}
	var all []record.Change
	last := int64(0)
	for _, b := range f.batches {
		if b.Revision < last {
			t.Fatalf("batch of revision %d after %d", b.Revision, last)
		}
		for _, c := range b.Changes {
			if c.Revision <= last && len(all) > 0 && all[len(all)-1].Revision != c.Revision || c.Revision > b.Revision {
				t.Fatalf("change of revision %d in the batch from %d to %d", c.Revision, last, b.Revision)
			}
		}
		if len(b.Changes) > 0 && b.Changes[0].Revision <= last {
			t.Fatalf("revision %d is split over two batches", last)
		}
		all = append(all, b.Changes...)
		last = b.Revision
	}
	return all
}

func (f *follower) reached() int64 {
	if len(f.batches) == 0 {
		return 0
	}
	return f.batches[len(f.batches)-1].Revision
}

// load commits writers×each transactions of three writes, one a deletion at
// times, and returns what each revision wrote, and the last revision.
func load(t testing.TB, s *store.Shard, writers, each int) (map[int64]map[record.Key]string, int64) {
	t.Helper()
	var mu sync.Mutex
	wrote := make(map[int64]map[record.Key]string)
	last := int64(0)
	var g errgroup.Group
	for w := range writers {
		g.Go(func() error {
			for i := range each {
				var txn record.Txn
				want := make(map[record.Key]string)
				for k := range 3 {
					key := record.Key(fmt.Sprintf("w%d/k%d", w, k))
					if k == 2 && i%5 == 4 {
						txn.Delete(key)
						want[key] = "deleted"
						continue
					}
					want[key] = fmt.Sprintf("%d.%d.%d", w, i, k)
					txn.Put(key, []byte(want[key]))
				}
				revision, err := s.Commit(context.Background(), txn)
				if err != nil {
					return err
				}
				mu.Lock()
				if wrote[revision] == nil {
					wrote[revision] = make(map[record.Key]string)
				}
				maps.Copy(wrote[revision], want) // several may share a revision
				last = max(last, revision)
				mu.Unlock()
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	return wrote, last
}

// checkHistory compares the changes of a feed with what was written.
func checkHistory(t testing.TB, changes []record.Change, wrote map[int64]map[record.Key]string, after int64) {
	t.Helper()
	got := make(map[int64]map[record.Key]string)
	for _, c := range changes {
		if got[c.Revision] == nil {
			got[c.Revision] = make(map[record.Key]string)
		}
		value := string(c.Value)
		if c.Deleted {
			value = "deleted"
		}
		got[c.Revision][c.Key] = value
	}
	for revision, want := range wrote {
		if revision > after && fmt.Sprint(got[revision]) != fmt.Sprint(want) {
			t.Fatalf("revision %d: got %v, want %v", revision, got[revision], want)
		}
	}
}

func TestFeedUnderConcurrentWriters(t *testing.T) {
	t.Parallel()
	s := open(t, start(t, store.EmbeddedOptions{}).Client())
	before, err := s.Revision(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	early := follow(t, s, before)
	wrote, last := load(t, s, 8, 60)
	checkHistory(t, early.reach(t, last), wrote, before)
	if err := early.stop(); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled feed returned %v", err)
	}
	late := follow(t, s, before) // catches up from history
	checkHistory(t, late.reach(t, last), wrote, before)
	middle := before + (last-before)/2
	resumed := follow(t, s, middle)
	changes := resumed.reach(t, last)
	checkHistory(t, changes, wrote, middle)
	if changes[0].Revision <= middle {
		t.Errorf("resumed after %d, got %d", middle, changes[0].Revision)
	}
}

func TestFeedOfIdleShardVouchesForItsRevision(t *testing.T) {
	t.Parallel()
	client := start(t, store.EmbeddedOptions{}).Client()
	s := open(t, client)
	revision := mustCommit(t, s, put("a", "1", 0))
	f := follow(t, s, revision)
	if changes := f.reach(t, revision); len(changes) != 0 {
		t.Fatalf("got %v", changes)
	}
	other := store.Open(store.Options{Client: client, Prefix: "lifeboat/other/"})
	revision = mustCommit(t, other, put("a", "1", 0))
	if changes := f.reach(t, revision); len(changes) != 0 {
		t.Fatalf("changes of another shard: %v", changes)
	}
	revision = mustCommit(t, s, put("b", "1", 0))
	if changes := f.reach(t, revision); len(changes) != 1 || changes[0].Key != "b" {
		t.Fatalf("got %v", changes)
	}
}

// Under changes that never cease the feed is never found idle; all the same it
// says regularly that it is up to date.
func TestFeedUnderLoadVouches(t *testing.T) {
	t.Parallel()
	s := open(t, start(t, store.EmbeddedOptions{}).Client())
	f := follow(t, s, mustCommit(t, s, put("a", "1", 0)))
	began := time.Now()
	ctx, cancel := context.WithCancel(context.Background())
	var g errgroup.Group
	for w := range 4 {
		g.Go(func() error {
			for ctx.Err() == nil {
				var txn record.Txn
				txn.Put(numbered(w), []byte("x"))
				revision, err := s.Commit(context.Background(), txn)
				if err != nil {
					return err
				}
				// Writers that outran the feed ever further would be a test of the machine.
				f.wait(func() bool { return ctx.Err() != nil || f.reached() > revision-50 })
			}
			return nil
		})
	}
	seen, vouched := 0, 0
	f.wait(func() bool {
		for ; seen < len(f.batches); seen++ {
			if b := f.batches[seen]; len(b.Changes) == 0 && b.Asked.After(began) {
				vouched++
			}
		}
		return vouched >= 5
	})
	cancel()
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	if err := f.stop(); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestFeedRefusals(t *testing.T) {
	t.Parallel()
	client := start(t, store.EmbeddedOptions{}).Client()
	s := open(t, client)
	var last int64
	for i := range 5 {
		last = mustCommit(t, s, put(numbered(i), "x", 0))
	}
	if _, err := client.Compact(context.Background(), last); err != nil {
		t.Fatal(err)
	}
	if err := follow(t, s, last-3).end(); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("feed from compacted history: %v", err)
	}
	if err := follow(t, s, last+1).end(); !errors.Is(err, store.ErrAhead) {
		t.Errorf("feed from the future: %v", err)
	}
	boom := errors.New("boom")
	err := s.Feed(context.Background(), last, func(store.Batch) error { return boom })
	if !errors.Is(err, boom) {
		t.Errorf("feed with a failing apply: %v", err)
	}
}

// A slow consumer must not be taken for a silent store.
func TestFeedWithSlowApply(t *testing.T) {
	t.Parallel()
	s := open(t, start(t, store.EmbeddedOptions{}).Client())
	before := mustCommit(t, s, put("first", "x", 0))
	release := make(chan struct{})
	seen := make(chan store.Batch)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- s.Feed(ctx, before-1, func(b store.Batch) error {
			<-release
			select {
			case seen <- b:
			case <-ctx.Done():
			}
			return nil
		})
	}()
	_, last := load(t, s, 4, 20)
	<-time.After(6 * heartbeat) // longer than a silent store is borne
	close(release)
	for reached := int64(0); reached < last; {
		select {
		case b := <-seen:
			reached = b.Revision
		case err := <-ended:
			t.Fatalf("feed ended at %d of %d: %v", reached, last, err)
		}
	}
	cancel()
	<-ended
}

// What arrives while apply is stuck is not kept: here the store has forgotten it
// by the time that it would be read again.
func TestFeedKeepsNothingForAStuckApply(t *testing.T) {
	t.Parallel()
	client := start(t, store.EmbeddedOptions{}).Client()
	s := open(t, client)
	first := mustCommit(t, s, put("first", "x", 0))
	stuck, release := make(chan struct{}), make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		ended <- s.Feed(context.Background(), first-1, func(b store.Batch) error {
			if len(b.Changes) == 0 {
				return nil
			}
			if b.Revision != first {
				return errors.New("delivers what arrived during the stall")
			}
			close(stuck)
			<-release
			return nil
		})
	}()
	<-stuck
	var last int64
	for i := range 5 {
		last = mustCommit(t, s, put(numbered(i), "x", 0))
	}
	<-time.After(20 * heartbeat) // longer than apply is waited for
	if _, err := client.Compact(context.Background(), last); err != nil {
		t.Fatal(err)
	}
	close(release)
	if err := <-ended; !errors.Is(err, store.ErrCompacted) {
		t.Errorf("feed ended with %v", err)
	}
}

func TestFeedEndsWithItsServer(t *testing.T) {
	t.Parallel()
	e := startUnowned(t, store.EmbeddedOptions{})
	s := open(t, e.Client())
	revision := mustCommit(t, s, put("a", "1", 0))
	f := follow(t, s, 0)
	f.reach(t, revision)
	closeServer(t, e)
	wantCode(t, f.end(), secret.CodeUnavailable)
	_, err := s.Commit(context.Background(), put("b", "1", 0))
	wantCode(t, err, secret.CodeUnavailable, secret.CodeOutcomeUnknown)
	_, _, err = s.View(context.Background()).Get("a")
	wantCode(t, err, secret.CodeUnavailable)
}
