package replica_test

import (
	"context"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/replica"
	"github.com/lifeboat-secrets/lifeboat/internal/store"
)

// etcd is a real store.
type etcd struct {
	*store.Shard
	t      *testing.T
	server *store.Embedded
	close  func()
}

func startEtcd(t *testing.T) *etcd {
	server, err := store.StartEmbedded(within(t), store.EmbeddedOptions{Name: "one", Dir: t.TempDir(), UnsafeNoFsync: true})
	if err != nil {
		t.Fatal(err)
	}
	e := &etcd{t: t, server: server}
	e.Shard = store.Open(store.Options{Client: server.Client(), Prefix: "lifeboat/base/", Timeout: time.Second, Heartbeat: 200 * time.Millisecond})
	e.close = sync.OnceFunc(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(e.close)
	return e
}

func (e *etcd) write(writes ...record.Write) int64 {
	e.t.Helper()
	revision, err := e.Commit(within(e.t), record.Txn{Writes: writes})
	if err != nil {
		e.t.Fatal(err)
	}
	return revision
}

func (e *etcd) writeNames(from, to int) (revision int64) {
	for i := from; i < to; i += 50 {
		var writes []record.Write
		for j := i; j < min(i+50, to); j++ {
			writes = append(writes, record.Write{Key: name(j), Value: ref(j)})
		}
		revision = e.write(writes...)
	}
	return revision
}

func (e *etcd) compactAll(revision int64) {
	if _, err := e.server.Client().Compact(within(e.t), revision, clientv3.WithCompactPhysical()); err != nil {
		e.t.Fatal(err)
	}
}

// mustEqualStore compares the whole copy with the store.
func (h *host) mustEqualStore(e *etcd) {
	h.t.Helper()
	local, err := records(h.View)
	if err != nil {
		h.t.Fatal(err)
	}
	remote, err := records(func(fn func(record.View) error) error { return fn(e.Shard.View(within(h.t))) })
	if err != nil {
		h.t.Fatal(err)
	}
	for key, r := range remote {
		if l, ok := local[key]; !ok || string(l.Value) != string(r.Value) || l.Revision != r.Revision {
			h.t.Errorf("%s: local %v %d, store %d", key, ok, l.Revision, r.Revision)
		}
	}
	if len(local) != len(remote) {
		h.t.Errorf("%d local records, %d in the store", len(local), len(remote))
	}
}

func records(view func(func(record.View) error) error) (map[record.Key]record.Stored, error) {
	all := map[record.Key]record.Stored{}
	err := view(func(v record.View) error {
		return v.Scan("", "", func(s record.Stored) bool {
			s.Value = append([]byte(nil), s.Value...)
			all[s.Key] = s
			return true
		})
	})
	return all, err
}

func TestWithEtcd(t *testing.T) {
	e := startEtcd(t)
	e.write(record.Write{Key: record.RegionKey, Value: record.Regions.Encode(region("inc-1", 1))})
	last := e.writeNames(0, 2000)
	h := start(t, options(t, e.Shard))
	h.wait(last)
	h.wait(e.write(record.Write{Key: name(1), Value: ref(7)}, record.Write{Key: name(2)}))
	h.mustHave(name(1), ref(7))
	h.mustLack(name(2))
	h.mustEqualStore(e)

	// The host is down while the store deletes, writes and compacts.
	h.end()
	for i := 100; i < 200; i++ {
		e.write(record.Write{Key: name(i)})
	}
	last = e.writeNames(2000, 2500)
	e.compactAll(last)
	h = start(t, h.opts)
	stop := h.readAllTheTime()
	for i := range 200 { // while it resynchronises
		e.write(record.Write{Key: name(300 + i%7), Value: ref(i)}, record.Write{Key: name(5000 + i%5), Value: ref(i)})
		last = e.write(record.Write{Key: name(5000 + i%5)})
	}
	h.wait(last)
	stop()
	h.until("resynchronised", func(p replica.Position) bool { return !p.Resyncing && p.Resyncs == 1 })
	h.mustEqualStore(e)

	// The store goes away; reads go on, also after a restart.
	want, err := records(h.View)
	if err != nil {
		t.Fatal(err)
	}
	e.close()
	h.until("disconnected", func(p replica.Position) bool { return !p.Connected })
	h = h.reopen()
	got, err := records(h.View)
	if err != nil || len(got) != len(want) {
		t.Fatalf("%d records without the store, %d before: %v", len(got), len(want), err)
	}
	if p := h.Position(); !p.Synced || p.Incarnation != "inc-1" || p.Applied < last {
		t.Errorf("position %+v", p)
	}
}

// readAllTheTime reads records that are never deleted until stop is called.
func (h *host) readAllTheTime() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i = (i + 1) % 100 {
			if _, ok, err := h.get(name(400 + i)); err != nil || !ok {
				h.t.Errorf("%s: %v, %v", name(400+i), ok, err)
				return
			}
		}
	})
	return func() { cancel(); wg.Wait() }
}
