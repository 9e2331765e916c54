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
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	r := &rush{t: t, etcd: e, targets: []secret.RegionName{west, "south"}}

	var writing, sending sync.WaitGroup
	for range 4 {
		writing.Go(func() { r.mutate(ctx, processes, rushMutations/4) })
	}
	first, kill := context.WithCancel(ctx)
	defer kill()
	for i := range r.targets {
		sending.Go(func() { r.send(first, processes[0], i) })
		sending.Go(func() { r.send(first, processes[1], i) })
	}
	writing.Wait()
	kill() // in the middle of what it does, and never gives back what it has taken
	sending.Wait()

	heir := e.open(t, queue.Options{})
	last, end := context.WithCancel(ctx)
	defer end()
	for i := range r.targets {
		sending.Go(func() { r.send(last, heir, i) })
		r.wantDelivered(ctx, heir, i)
	}
	end()
	sending.Wait()
}

const rushRecords, rushMutations = 50, 400

// rush is many mutations of a few records, delivered to two targets by senders that
// fail now and then.
type rush struct {
	t         *testing.T
	etcd      etcd
	targets   []secret.RegionName
	mutated   [rushRecords]int64
	delivered [2][rushRecords]atomic.Int64
	lock      [rushRecords]sync.Mutex
}

func (r *rush) mutate(ctx context.Context, processes []*queue.Queue, times int) {
	for range times {
		n := rand.IntN(rushRecords)
		r.lock[n].Lock()
		var txn record.Txn
		txn.Put(key(n), record.EncodeReference("state"))
		processes[rand.IntN(2)].Enqueue(&txn, r.targets, key(n), time.Now())
		revision, err := r.etcd.Commit(ctx, txn)
		r.mutated[n] = revision
		r.lock[n].Unlock()
		if err != nil {
			r.t.Error(err)
			return
		}
	}
}

// send takes and delivers the messages of a target until ctx is done.
func (r *rush) send(ctx context.Context, p *queue.Queue, i int) {
	for p.Wait(ctx, r.targets[i]) == nil {
		messages := p.Take(r.targets[i], 1+rand.IntN(20))
		for _, m := range messages {
			r.etcd.deliver(r.t, &r.delivered[i], m)
		}
		var err error
		switch rand.IntN(10) {
		case 0:
			p.Release(r.targets[i], messages, 0)
		case 1:
			p.Unreachable(r.targets[i], messages)
		case 2:
			failures := make([]queue.Failure, len(messages))
			for j, m := range messages {
				failures[j] = queue.Failure{Message: m, Code: secret.CodeUnavailable, Reason: "test"}
			}
			err = p.Failed(ctx, r.targets[i], failures)
		default:
			err = p.Done(ctx, r.targets[i], messages)
		}
		if err != nil && ctx.Err() == nil {
			r.t.Error(err)
		}
	}
}

// wantDelivered waits until a target has the last mutation of every record.
func (r *rush) wantDelivered(ctx context.Context, p *queue.Queue, i int) {
	r.t.Helper()
	for n := range rushRecords {
		for r.delivered[i][n].Load() < r.mutated[n] || r.etcd.holds(r.t, record.MessageKey(r.targets[i], key(n))) {
			if ctx.Err() != nil {
				r.t.Fatalf("%s has record %d at %d of %d", r.targets[i], n, r.delivered[i][n].Load(), r.mutated[n])
			}
			must(r.t, p.RetryAll(ctx, r.targets[i]))
			time.Sleep(20 * time.Millisecond)
		}
	}
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
