package replica_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/replica"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// host is a local store that is being run.
type host struct {
	*replica.Local
	t    testing.TB
	opts replica.Options
	end  func()
}

func options(t testing.TB, source replica.Source) replica.Options {
	return replica.Options{
		Path: filepath.Join(t.TempDir(), "host", "local.db"), Source: source, NoSync: true,
		RetryMin: time.Millisecond, RetryMax: 5 * time.Millisecond,
	}
}

func start(t testing.TB, opts replica.Options) *host {
	t.Helper()
	l, err := replica.Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	return run(t, l, opts)
}

func run(t testing.TB, l *replica.Local, opts replica.Options) *host {
	h := &host{Local: l, t: t, opts: opts}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := l.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	h.end = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(h.end)
	return h
}

// reopen stops the host and starts it again on the same file.
func (h *host) reopen() *host {
	h.end()
	return start(h.t, h.opts)
}

func (h *host) wait(revision int64) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := h.WaitApplied(ctx, revision); err != nil {
		h.t.Fatalf("waiting for revision %d: %v; position %+v", revision, err, h.Position())
	}
}

// until waits for a condition on the position.
func (h *host) until(what string, cond func(replica.Position) bool) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for !cond(h.Position()) {
		select {
		case <-poll.C:
		case <-ctx.Done():
			h.t.Fatalf("never %s: %+v", what, h.Position())
		}
	}
}

func (h *host) get(key record.Key) (value string, ok bool, err error) {
	err = h.View(func(v record.View) error {
		s, found, err := v.Get(key)
		value, ok = string(s.Value), found
		return err
	})
	return value, ok, err
}

func (h *host) mustHave(key record.Key, want []byte) {
	h.t.Helper()
	if got, ok, err := h.get(key); err != nil || !ok || got != string(want) {
		h.t.Fatalf("%s: got %q, %v, %v; want %q", key, got, ok, err, want)
	}
}

func (h *host) mustLack(key record.Key) {
	h.t.Helper()
	if got, ok, err := h.get(key); err != nil || ok {
		h.t.Fatalf("%s: got %q, %v, %v; want none", key, got, ok, err)
	}
}

// mustEqual compares the whole copy with the source.
func (h *host) mustEqual(m *memory) {
	h.t.Helper()
	want := m.copyOf()
	for k := range want {
		if k.HasPrefix(record.OutboxPrefix) {
			delete(want, k)
		}
	}
	n := int64(len(want))
	last := record.Key("")
	err := h.View(func(v record.View) error {
		return v.Scan("", "", func(s record.Stored) bool {
			if s.Key <= last {
				h.t.Errorf("%s comes after %s", s.Key, last)
			}
			last = s.Key
			w, ok := want[s.Key]
			if !ok || string(w.Value) != string(s.Value) || w.Revision != s.Revision {
				h.t.Errorf("%s: local %d %q, source %v %d %q", s.Key, s.Revision, s.Value, ok, w.Revision, w.Value)
			}
			delete(want, s.Key)
			return true
		})
	})
	if err != nil {
		h.t.Fatal(err)
	}
	for k := range want {
		h.t.Errorf("%s is missing locally", k)
	}
	if got := h.Position().Records; got != n {
		h.t.Errorf("counts %d records, the source has %d", got, n)
	}
}

var errCut = errors.New("connection lost")

// secretRecord returns an encoded secret record of that seq.
func secretRecord(n int, seq uint64) (record.Key, []byte) {
	s := &secret.Secret{ID: secret.ID(fmt.Sprintf("v.%06d", n)), Name: "name", Ownership: secret.NewOwnership("east", "inc")}
	s.Ownership.Order.Seq = seq
	return record.SecretKey(s.ID), record.Secrets.Encode(s)
}

// versionOf is a version of the secret of secretRecord.
func versionOf(n int, id secret.VersionID) record.Write {
	v := &secret.Version{Secret: secret.ID(fmt.Sprintf("v.%06d", n)), ID: id, Value: secret.Sealed("sealed " + id)}
	return record.Write{Key: record.VersionKey(v.Secret, id), Value: record.Versions.Encode(v)}
}

func region(incarnation string, epoch uint64) *recordpb.Region {
	return &recordpb.Region{Name: "east", Incarnation: incarnation, RestoreEpoch: epoch}
}

func name(n int) record.Key { return record.SecretNameKey("v", fmt.Sprintf("n%05d", n)) }

func ref(n int) []byte { return record.EncodeReference(fmt.Sprintf("v.%d", n)) }

func TestFollowsTheStore(t *testing.T) {
	m := newMemory()
	m.put(record.RegionKey, record.Regions.Encode(region("inc-1", 1)))
	m.put(name(1), ref(1))
	h := start(t, options(t, m))
	h.wait(m.put(name(2), ref(2)))
	h.mustHave(name(1), ref(1))
	h.mustHave(name(2), ref(2))
	h.wait(m.delete(name(1)))
	h.mustLack(name(1))
	h.mustEqual(m)
	p := h.Position()
	if !p.Synced || !p.Connected || p.Incarnation != "inc-1" || p.RestoreEpoch != 1 || p.Age != 0 {
		t.Errorf("position %+v", p)
	}
}

func TestServesWithoutTheStore(t *testing.T) {
	m := newMemory()
	h := start(t, options(t, m))
	h.wait(m.put(name(1), ref(1)))
	m.sever(errCut)
	h.until("disconnected", func(p replica.Position) bool { return !p.Connected })
	h.mustHave(name(1), ref(1))
	h = h.reopen()
	h.mustHave(name(1), ref(1))
	if p := h.Position(); !p.Synced || p.Connected || p.Applied != 1 || p.LastContact.IsZero() {
		t.Errorf("position %+v", p)
	}
	m.put(name(2), ref(2))
	m.sever(nil)
	h.wait(2)
	h.mustEqual(m)
}

func TestResynchronisesAfterCompaction(t *testing.T) {
	m := newMemory()
	h := start(t, options(t, m))
	for i := range 1000 {
		m.put(name(i), ref(i))
	}
	h.wait(m.head())
	h.end()
	for i := 0; i < 1000; i += 3 {
		m.delete(name(i))
	}
	m.put(name(1), ref(5))
	m.put(name(2000), ref(2000))
	m.compact()
	h = h.reopen()
	h.wait(m.head())
	h.mustEqual(m)
	if p := h.Position(); p.Resyncs != 1 {
		t.Errorf("position %+v", p)
	}
}

// TestReadsInAnyOrder reads secrets and their versions, which lie beside each other, one
// after the other in one view.
func TestReadsInAnyOrder(t *testing.T) {
	m := newMemory()
	var keys []record.Key
	for n := range 30 {
		key, value := secretRecord(n, 1)
		writes := []record.Write{{Key: name(n), Value: ref(n)}, {Key: key, Value: value}}
		for i := range n % 4 {
			writes = append(writes, versionOf(n, secret.VersionID(fmt.Sprint(i))))
		}
		m.commit(writes...)
		for i := range 4 { // also those that are not there
			keys = append(keys, versionOf(n, secret.VersionID(fmt.Sprint(i))).Key)
		}
		keys = append(keys, name(n), key, key, "secret/v/"+record.Key(fmt.Sprintf("%06d/0", n)))
	}
	h := start(t, options(t, m))
	h.wait(m.head())
	want := m.copyOf()
	rapid.Check(t, func(rt *rapid.T) {
		err := h.View(func(v record.View) error {
			for _, key := range rapid.SliceOfN(rapid.SampledFrom(keys), 1, 20).Draw(rt, "keys") {
				got, ok, err := v.Get(key)
				if w, there := want[key]; err != nil || ok != there || string(got.Value) != string(w.Value) || got.Revision != w.Revision {
					rt.Fatalf("%s is %q, %t, %v, wanted %q, %t", key, got.Value, ok, err, w.Value, there)
				}
			}
			return nil
		})
		if err != nil {
			rt.Fatal(err)
		}
	})
}
