package store_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/store"
)

// maintained opens a shard whose history is short and runs its maintenance until
// the test ends.
func maintained(t *testing.T, e *store.Embedded, m store.Maintenance) *store.Shard {
	t.Helper()
	s := store.Open(store.Options{
		Client: e.Client(), Prefix: prefix, Timeout: 5 * time.Second, Heartbeat: heartbeat, Maintenance: m,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.RunMaintenance(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("maintenance returned %v", err)
		}
	})
	return s
}

func TestMaintenanceDropsOldHistory(t *testing.T) {
	t.Parallel()
	s := maintained(t, start(t, store.EmbeddedOptions{}), store.Maintenance{Keep: 2 * heartbeat, KeepRevisions: 10})
	wrote, last := load(t, s, 2, 20)
	for { // until the history before the last ten revisions is gone
		f := follow(t, s, last-15)
		f.wait(func() bool { return f.reached() >= last })
		if err := f.stop(); errors.Is(err, store.ErrCompacted) {
			break
		}
	}
	checkHistory(t, follow(t, s, last-10).reach(t, last), wrote, last-10)
}

// A full store refuses writes with a type of its own, goes on reading, and
// accepts writes again once there is room, without an operator.
func TestFullStoreRecoversByItself(t *testing.T) {
	t.Parallel()
	e := start(t, store.EmbeddedOptions{QuotaBytes: 4 << 20})
	s := open(t, e.Client())
	value := strings.Repeat("x", secret.MaxValueBytes)
	key := numbered(0)
	revision := int64(0)
	for n := 0; ; n++ { // new versions of one record: history fills the store
		at, err := s.Commit(context.Background(), put(key, value, revision))
		if err != nil {
			wantCode(t, err, secret.CodeStoreFull)
			break
		}
		revision = at
	}
	if r := mustGet(t, s, key); r.Revision != revision {
		t.Errorf("the refused write is at revision %d, the last accepted was %d", r.Revision, revision)
	}
	if h := s.Health(context.Background()); !h.NoSpace || h.Err != nil || h.Members[0].DatabaseBytes < h.Members[0].QuotaBytes/2 {
		t.Errorf("health of a full store: %+v", h)
	}
	results, _, err := s.CommitEach(context.Background(), []txn{put("a", "1", 0), put("b", "1", 0)})
	wantCode(t, err, secret.CodeStoreFull)
	wantCode(t, results[1].Err, secret.CodeStoreFull)

	maintained(t, e, store.Maintenance{Keep: heartbeat})
	for {
		at, err := s.Commit(context.Background(), put(key, value, revision))
		if err == nil {
			revision = at
			break
		}
		wantCode(t, err, secret.CodeStoreFull)
	}
	if h := s.Health(context.Background()); h.NoSpace || h.Err != nil {
		t.Errorf("health after recovery: %+v", h)
	}
	if r := mustGet(t, s, key); r.Revision != revision {
		t.Errorf("read revision %d after committing %d", r.Revision, revision)
	}
}

// A store full of live records stays full, and says so.
func TestStoreFullOfRecordsStaysFullUntilSomeAreDeleted(t *testing.T) {
	t.Parallel()
	e := start(t, store.EmbeddedOptions{QuotaBytes: 4 << 20})
	s := maintained(t, e, store.Maintenance{Keep: heartbeat})
	value := strings.Repeat("x", secret.MaxValueBytes)
	n := 0
	for ; ; n++ {
		if _, err := s.Commit(context.Background(), put(numbered(n), value, 0)); err != nil {
			wantCode(t, err, secret.CodeStoreFull)
			break
		}
	}
	for i := range n { // deletions are accepted by a full store
		var removal txn
		removal.Delete(numbered(i))
		mustCommit(t, s, removal)
	}
	for {
		_, err := s.Commit(context.Background(), put("a", value, 0))
		if err == nil {
			break
		}
		wantCode(t, err, secret.CodeStoreFull)
	}
}
