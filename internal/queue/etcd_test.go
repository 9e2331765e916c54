package queue_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/queue"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/replica"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/store"
)

// etcd is a real shard.
type etcd struct{ *store.Shard }

func (e etcd) CommitEach(ctx context.Context, txns []record.Txn) (committed []bool, err error) {
	results, _, err := e.Shard.CommitEach(ctx, txns)
	committed = make([]bool, len(results))
	for i, r := range results {
		committed[i] = r.Err == nil
	}
	return committed, err
}

func startEtcd(t *testing.T) etcd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	server, err := store.StartEmbedded(ctx, store.EmbeddedOptions{Name: "one", Dir: t.TempDir(), UnsafeNoFsync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	e := etcd{store.Open(store.Options{Client: server.Client(), Prefix: "lifeboat/base/", Timeout: 5 * time.Second, Heartbeat: 200 * time.Millisecond})}
	var txn record.Txn
	txn.Put(record.RegionKey, record.Regions.Encode(&recordpb.Region{Name: "east", Incarnation: "one", RestoreEpoch: 1}))
	if _, err := e.Commit(ctx, txn); err != nil {
		t.Fatal(err)
	}
	return e
}

// open returns a queue that follows the shard through a local store of its own.
func (e etcd) open(t *testing.T, o queue.Options) *queue.Queue {
	t.Helper()
	var q *queue.Queue
	ready := make(chan struct{})
	local, err := replica.Open(replica.Options{
		Path: filepath.Join(t.TempDir(), "local.db"), Source: e, NoSync: true,
		OnApply: func(changes []record.Change) { <-ready; q.Changed(changes) },
		OnResync: func() {
			if err := q.Load(); err != nil {
				t.Error(err)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	o.Store, o.Local = e, local
	q = queue.New(o)
	close(ready)
	must(t, q.Load())
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = local.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
		if err := local.Close(); err != nil {
			t.Error(err)
		}
	})
	return q
}

// A region with two control processes and a real store: one dies in the middle,
// the other goes on. Each record reaches each target in its last state.
func TestWithEtcd(t *testing.T) {
	e := startEtcd(t)
	processes := []*queue.Queue{e.open(t, queue.Options{}), e.open(t, queue.Options{})}
	targets := []secret.RegionName{west, "south"}
	const records, mutations = 50, 400

	var mutated [records]int64
	var delivered [2][records]atomic.Int64
	var lock [records]sync.Mutex
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()

	var writing, sending sync.WaitGroup
	for range 4 {
		writing.Go(func() {
			for range mutations / 4 {
				n := rand.IntN(records)
				lock[n].Lock()
				var txn record.Txn
				txn.Put(key(n), record.EncodeReference("state"))
				processes[rand.IntN(2)].Enqueue(&txn, targets, key(n), time.Now())
				revision, err := e.Commit(ctx, txn)
				mutated[n] = revision
				lock[n].Unlock()
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	work := func(ctx context.Context, p *queue.Queue, i int) {
		for p.Wait(ctx, targets[i]) == nil {
			messages := p.Take(targets[i], 1+rand.IntN(20))
			for _, m := range messages {
				e.deliver(t, &delivered[i], m)
			}
			var err error
			switch rand.IntN(10) {
			case 0:
				p.Release(targets[i], messages, 0)
			case 1:
				p.Unreachable(targets[i], messages)
			case 2:
				failures := make([]queue.Failure, len(messages))
				for j, m := range messages {
					failures[j] = queue.Failure{Message: m, Code: secret.CodeUnavailable, Reason: "test"}
				}
				err = p.Failed(ctx, targets[i], failures)
			default:
				err = p.Done(ctx, targets[i], messages)
			}
			if err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		}
	}
	first, kill := context.WithCancel(ctx)
	defer kill()
	for i := range targets {
		sending.Go(func() { work(first, processes[0], i) })
		sending.Go(func() { work(first, processes[1], i) })
	}
	writing.Wait()
	kill() // in the middle of what it does, and never gives back what it has taken
	sending.Wait()

	heir := e.open(t, queue.Options{})
	last, end := context.WithCancel(ctx)
	defer end()
	for i := range targets {
		sending.Go(func() { work(last, heir, i) })
		for n := range records {
			for delivered[i][n].Load() < mutated[n] || e.holds(t, record.MessageKey(targets[i], key(n))) {
				if ctx.Err() != nil {
					t.Fatalf("%s has record %d at %d of %d", targets[i], n, delivered[i][n].Load(), mutated[n])
				}
				must(t, heir.RetryAll(ctx, targets[i]))
				time.Sleep(20 * time.Millisecond)
			}
		}
	}
	end()
	sending.Wait()
}

// deliver has a target receive the present state of a record.
func (e etcd) deliver(t *testing.T, delivered *[50]atomic.Int64, m queue.Message) {
	for n := range delivered {
		if key(n) != m.Record {
			continue
		}
		stored, ok, err := e.View(context.Background()).Get(m.Record)
		if err != nil || !ok {
			t.Errorf("%s: %t, %v", m.Record, ok, err)
		}
		for old := delivered[n].Load(); old < stored.Revision && !delivered[n].CompareAndSwap(old, stored.Revision); {
			old = delivered[n].Load()
		}
	}
}

func (e etcd) holds(t *testing.T, key record.Key) bool {
	_, ok, err := e.View(t.Context()).Get(key)
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	return ok
}
