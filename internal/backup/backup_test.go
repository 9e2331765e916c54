package backup_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lifeboat-secrets/lifeboat/internal/backup"
	"github.com/lifeboat-secrets/lifeboat/internal/keyring"
	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	keyfile "github.com/lifeboat-secrets/lifeboat/internal/kms/file"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
	"github.com/lifeboat-secrets/lifeboat/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const regionName = "east"

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t testing.TB, err error, codes ...secret.Code) {
	t.Helper()
	if !slices.Contains(codes, secret.CodeOf(err)) || err == nil {
		t.Fatalf("error %v (%s), want %s", err, secret.CodeOf(err), codes)
	}
}

// newShard starts an empty store.
func newShard(t testing.TB) *store.Shard {
	t.Helper()
	e, err := store.StartEmbedded(t.Context(), store.EmbeddedOptions{
		Name: "one", Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler), UnsafeNoFsync: true,
	})
	must(t, err)
	t.Cleanup(func() { must(t, e.Close()) })
	return store.Open(store.Options{Client: e.Client(), Prefix: "lifeboat/base/"})
}

// keys is a key service and its keyring.
type keys struct {
	kms.Wrapper
	ring *keyring.Keyring
}

func newKeys(t testing.TB) keys {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys")
	_, err := keyfile.Create(path)
	must(t, err)
	wrapper, err := keyfile.Open(path)
	must(t, err)
	k := keys{Wrapper: wrapper, ring: keyring.New(keyring.Options{Wrapper: wrapper})}
	t.Cleanup(func() { must(t, errors.Join(k.ring.Close(), wrapper.Close())) })
	return k
}

// newRegion makes a region with n more records, and some that backups leave out.
func newRegion(t testing.TB, k keys, n int) *store.Shard {
	t.Helper()
	s := newShard(t)
	_, err := service.Initialize(t.Context(), s, k.ring, regionName, time.Now())
	must(t, err)
	addNames(t, s, 0, n)
	var txn record.Txn
	txn.Put(record.HostKey("host-1"), record.Hosts.Encode(&recordpb.Host{Id: "host-1"}))
	txn.Put(record.OutboxKey("01J"), record.Events.Encode(&recordpb.Event{Id: "01J"}))
	txn.Put(record.QuarantineKey("secret/a"), record.Quarantines.Encode(&recordpb.Quarantine{Record: "secret/a"}))
	txn.Put(record.WorkKey("secret/a"), record.WorkItems.Encode(&recordpb.WorkItem{Record: "secret/a"}))
	_, err = s.Commit(t.Context(), txn)
	must(t, err)
	return s
}

func nameKey(i int) record.Key { return record.SecretNameKey("v", fmt.Sprintf("%07d", i)) }

func addNames(t testing.TB, s *store.Shard, from, to int) {
	t.Helper()
	for from < to {
		var txn record.Txn
		for ; from < to && len(txn.Writes) < 100; from++ {
			txn.Put(nameKey(from), record.EncodeReference(fmt.Sprintf("v.%07d", from)))
		}
		_, err := s.Commit(t.Context(), txn)
		must(t, err)
	}
}

// contents are all records of a store that backups keep, but the region's.
func contents(t testing.TB, s *store.Shard) map[record.Key]string {
	t.Helper()
	all := make(map[record.Key]string)
	must(t, s.View(t.Context()).Scan("", "", func(r record.Stored) bool {
		if !backup.LeftOut(r.Key) && r.Key != record.RegionKey {
			all[r.Key] = string(r.Value)
		}
		return true
	}))
	return all
}

func equal(t testing.TB, got, want map[record.Key]string) {
	t.Helper()
	for key, value := range want {
		if got[key] != value {
			t.Errorf("%s differs or is missing", key)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d records, want %d", len(got), len(want))
	}
}

func write(t testing.TB, s backup.Source, k kms.Wrapper) []byte {
	t.Helper()
	var b bytes.Buffer
	_, err := backup.Write(t.Context(), &b, backup.WriteOptions{Source: s, Keys: k, Release: "test", Now: clock})
	must(t, err)
	return b.Bytes()
}

func restore(t testing.TB, s backup.Store, k keys, data []byte) (backup.Report, error) {
	t.Helper()
	return backup.Restore(t.Context(), bytes.NewReader(data), backup.RestoreOptions{Store: s, Region: regionName, Keys: k, Keyring: k.ring})
}

func region(t testing.TB, s *store.Shard) *recordpb.Region {
	t.Helper()
	r, err := service.RegionRecord(s.View(t.Context()))
	must(t, err)
	return r
}

func TestRestoreBeginsANewLife(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	old := newRegion(t, k, 1000)
	path := filepath.Join(t.TempDir(), "backup")
	var last backup.Progress
	written, err := backup.WriteFile(t.Context(), path, backup.WriteOptions{
		Source: old, Keys: k, Release: "test", Progress: func(p backup.Progress) { last = p },
	})
	must(t, err)
	before := region(t, old)
	if last.Step != backup.Verifying || written.Records < last.Records || written.Kinds["secret-name"] != 1000 || written.Kinds["work"] != 1 || written.Kinds["host"] != 0 ||
		string(written.Incarnation) != before.GetIncarnation() || written.Release != "test" {
		t.Errorf("summary %+v after progress %v", written, last)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the file: %v, %v", info.Mode(), err)
	}
	if data, _ := os.ReadFile(path); bytes.Contains(data, []byte("secret-name/")) || bytes.Contains(data, []byte("operators")) {
		t.Error("the file shows names in the clear")
	}

	fresh := newShard(t)
	var txn record.Txn // a host of a region that is not initialised has registered
	txn.Put(record.HostKey("host-9"), record.Hosts.Encode(&recordpb.Host{Id: "host-9"}))
	_, err = fresh.Commit(t.Context(), txn)
	must(t, err)
	f, err := os.Open(path)
	must(t, err)
	defer func() { must(t, f.Close()) }()
	report, err := backup.Restore(t.Context(), f, backup.RestoreOptions{Store: fresh, Region: regionName, Keys: k, Keyring: k.ring})
	must(t, err)
	after := region(t, fresh)
	if after.GetIncarnation() == before.GetIncarnation() || after.GetRestoreEpoch() != 2 || after.GetRestoredAt() == 0 ||
		after.GetInitializedAt() != before.GetInitializedAt() || string(report.Incarnation) != after.GetIncarnation() || report.Resumed {
		t.Errorf("region %v, report %+v", after, report)
	}
	must(t, k.ring.Check(t.Context(), after))
	fence, _, err := record.Load(fresh.View(t.Context()), record.Fences, record.FenceKey)
	must(t, err)
	if fence.GetRole() != service.FenceServing || fence.GetIncarnation() != after.GetIncarnation() || fence.GetRestoreEpoch() != 2 {
		t.Errorf("fence %v", fence)
	}
	equal(t, contents(t, fresh), contents(t, old))
	if _, ok, _ := fresh.View(t.Context()).Get(record.HostKey("host-9")); !ok {
		t.Error("a registered host is gone")
	}

	again := newShard(t) // a second copy is yet another life
	twin, err := restore(t, again, k, write(t, fresh, k))
	must(t, err)
	if twin.RestoreEpoch != 3 || twin.Incarnation == report.Incarnation {
		t.Errorf("twin %+v", twin)
	}
}

// What is written while a backup runs is in it wholly or not at all.
func TestBackupIsOfOneRevision(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	s := newRegion(t, k, 2000)
	data := write(t, &meddling{Shard: s, t: t}, k)
	r, err := backup.NewReader(t.Context(), bytes.NewReader(data), k)
	must(t, err)
	for {
		stored, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		if stored.Key >= nameKey(2000) && stored.Key.HasPrefix(record.SecretNamePrefix) {
			t.Fatalf("%s was written after the backup began", stored.Key)
		}
	}
	if n := r.Summary().Kinds["secret-name"]; n != 2000 {
		t.Errorf("%d names, want 2000", n)
	}
}

// meddling changes the store between two pages.
type meddling struct {
	*store.Shard
	t testing.TB
	n int
}

func (m *meddling) PageAt(ctx context.Context, start, end record.Key, limit int, revision int64) (record.Page, error) {
	var txn record.Txn
	txn.Delete(nameKey(1999 - m.n))
	txn.Put(nameKey(2000+m.n), record.EncodeReference("v.x"))
	m.n++
	_, err := m.Commit(ctx, txn)
	must(m.t, err)
	return m.Shard.PageAt(ctx, start, end, limit, revision)
}

func TestNothingToBackUp(t *testing.T) {
	t.Parallel()
	_, err := backup.Write(t.Context(), io.Discard, backup.WriteOptions{Source: newShard(t), Keys: newKeys(t)})
	wantCode(t, err, secret.CodeUnavailable)
}

type compacted struct{ backup.Source }

func (compacted) PageAt(context.Context, record.Key, record.Key, int, int64) (record.Page, error) {
	return record.Page{}, fmt.Errorf("page: %w", store.ErrCompacted)
}

func TestCompactionOvertakes(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "backup")
	k := newKeys(t)
	_, err := backup.WriteFile(t.Context(), path, backup.WriteOptions{Source: compacted{newRegion(t, k, 0)}, Keys: k})
	wantCode(t, err, secret.CodeUnavailable)
	if !errors.Is(err, record.ErrCompacted) {
		t.Errorf("cause: %v", err)
	}
	mustHold(t, filepath.Dir(path))
}

// mustHold checks which files a directory has.
func mustHold(t testing.TB, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if !slices.Equal(got, want) {
		t.Errorf("the directory has %v, want %v", got, want)
	}
}
