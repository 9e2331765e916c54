package store_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/lifeboat-secrets/lifeboat/internal/localregion"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/store"
)

const (
	prefix    = "lifeboat/base/"
	heartbeat = 200 * time.Millisecond
)

// start runs an embedded server until the test ends.
func start(t testing.TB, o store.EmbeddedOptions) *store.Embedded {
	t.Helper()
	e := startUnowned(t, o)
	t.Cleanup(func() { closeServer(t, e) })
	return e
}

func startUnowned(t testing.TB, o store.EmbeddedOptions) *store.Embedded {
	t.Helper()
	if o.Name == "" {
		o.Name = "one"
	}
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	o.UnsafeNoFsync = true
	o.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	e, err := store.StartEmbedded(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func closeServer(t testing.TB, e *store.Embedded) {
	t.Helper()
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// open returns a shard with a short heartbeat.
func open(t testing.TB, client *clientv3.Client) *store.Shard {
	return store.Open(store.Options{
		Client: client, Prefix: prefix, Timeout: 2 * time.Second, Heartbeat: heartbeat,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
}

// freeAddress returns a loopback address that nothing else gets, also while a server is
// restarted.
func freeAddress(t testing.TB) string {
	t.Helper()
	address, err := localregion.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// txn shortens the literals of tests.
type txn = record.Txn

func put(key record.Key, value string, revision int64) record.Txn {
	var txn record.Txn
	txn.Require(key, revision)
	txn.Put(key, []byte(value))
	return txn
}

func mustCommit(t testing.TB, s *store.Shard, txn record.Txn) int64 {
	t.Helper()
	revision, err := s.Commit(context.Background(), txn)
	if err != nil {
		t.Fatal(err)
	}
	return revision
}

func mustGet(t testing.TB, s *store.Shard, key record.Key) record.Stored {
	t.Helper()
	r, ok, err := s.View(context.Background()).Get(key)
	if err != nil || !ok {
		t.Fatalf("get %s: %v, %v", key, ok, err)
	}
	return r
}

func wantCode(t testing.TB, err error, codes ...secret.Code) {
	t.Helper()
	for _, c := range codes {
		if secret.HasCode(err, c) {
			return
		}
	}
	t.Fatalf("error %v has code %q, want one of %q", err, secret.CodeOf(err), codes)
}

func scanKeys(t testing.TB, s *store.Shard, start, end record.Key) []record.Key {
	t.Helper()
	var keys []record.Key
	err := s.View(context.Background()).Scan(start, end, func(r record.Stored) bool {
		keys = append(keys, r.Key)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func numbered(n int) record.Key { return record.Key(fmt.Sprintf("secret/%05d", n)) }
