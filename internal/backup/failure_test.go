package backup_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"github.com/lifeboat-secrets/lifeboat/internal/backup"
	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
	"github.com/lifeboat-secrets/lifeboat/internal/store"
)

// Whatever is done to a file, it is refused and the store stays empty.
func TestChangedFilesAreRefused(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	s := newRegion(t, k, 0)
	for i := range 20 { // several frames
		var txn record.Txn
		for j := range 50 {
			txn.Put(nameKey(50*i+j), record.EncodeReference(strings.Repeat("x", 1000)))
		}
		_, err := s.Commit(t.Context(), txn)
		must(t, err)
	}
	data := write(t, s, k)
	other := write(t, s, k)
	fresh := newShard(t)
	refused := func(t interface{ Fatalf(string, ...any) }, data []byte) {
		_, err := backup.Restore(context.Background(), bytes.NewReader(data), backup.RestoreOptions{Store: fresh, Region: regionName, Keys: k, Keyring: k.ring})
		switch secret.CodeOf(err) {
		case secret.CodeCorrupt, secret.CodeTampered, secret.CodeUnknownFormat:
		default:
			t.Fatalf("error %v (%s)", err, secret.CodeOf(err))
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		changed := bytes.Clone(data)
		switch rapid.SampledFrom([]string{"byte", "header byte", "cut", "longer"}).Draw(t, "change") {
		case "byte":
			changed[rapid.IntRange(0, len(data)-1).Draw(t, "at")] ^= byte(rapid.IntRange(1, 255).Draw(t, "bits"))
		case "header byte":
			changed[rapid.IntRange(0, 500).Draw(t, "at")] ^= byte(rapid.IntRange(1, 255).Draw(t, "bits"))
		case "cut":
			changed = changed[:rapid.IntRange(0, len(data)-1).Draw(t, "at")]
		case "longer":
			changed = append(changed, rapid.SliceOfN(rapid.Byte(), 1, 100).Draw(t, "more")...)
		}
		refused(t, changed)
	})
	frames, others := framesOf(t, data), framesOf(t, other)
	if len(frames) < 5 {
		t.Fatalf("%d parts; the test needs several frames", len(frames))
	}
	for name, parts := range map[string][][]byte{
		"two frames swapped":        {frames[0], frames[2], frames[1], bytes.Join(frames[3:], nil)},
		"a frame left out":          {frames[0], frames[1], bytes.Join(frames[3:], nil)},
		"a frame twice":             {frames[0], frames[1], frames[1], bytes.Join(frames[2:], nil)},
		"only the trailer":          {frames[0], frames[len(frames)-1]},
		"a frame of another file":   {frames[0], others[1], bytes.Join(frames[2:], nil)},
		"the header of another one": {others[0], bytes.Join(frames[1:], nil)},
		"without the trailer":       {bytes.Join(frames[:len(frames)-1], nil)},
	} {
		t.Run(name, func(t *testing.T) { refused(t, bytes.Join(parts, nil)) })
	}
	if left := contents(t, fresh); len(left) != 0 {
		t.Errorf("the store holds %d records", len(left))
	}
	if _, ok, _ := fresh.View(t.Context()).Get(record.FenceKey); ok {
		t.Error("the store has a fence")
	}
	_, err := restore(t, fresh, k, data)
	must(t, err)
}

// framesOf splits a file into its header and its frames.
func framesOf(t testing.TB, data []byte) (parts [][]byte) {
	t.Helper()
	n := 16 + 4 + int(binary.BigEndian.Uint32(data[16:])) + 4
	for ; len(data) > 0; n = 9 + int(binary.BigEndian.Uint32(data[1:])) {
		parts = append(parts, data[:n])
		if data = data[n:]; len(data) == 0 {
			break
		}
	}
	return parts
}

func TestNewerFormatIsRefused(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	data := write(t, newRegion(t, k, 0), k)
	data[15]++
	_, err := backup.Verify(t.Context(), bytes.NewReader(data), k, nil)
	wantCode(t, err, secret.CodeUnknownFormat)
}

// A store with a record that this release cannot read is not backed up as if it
// could be restored.
func TestUnreadableRecord(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	s := newRegion(t, k, 0)
	var txn record.Txn
	txn.Put(record.SecretKey("v.01J"), []byte{9, 9})
	_, err := s.Commit(t.Context(), txn)
	must(t, err)
	dir := t.TempDir()
	_, err = backup.WriteFile(t.Context(), filepath.Join(dir, "backup"), backup.WriteOptions{Source: s, Keys: k})
	wantCode(t, err, secret.CodeUnknownFormat)
	mustHold(t, dir)
}

func TestWrongMasterKey(t *testing.T) {
	t.Parallel()
	k, other := newKeys(t), newKeys(t)
	data := write(t, newRegion(t, k, 10), k)
	fresh := newShard(t)
	_, err := restore(t, fresh, other, data)
	wantCode(t, err, secret.CodeWrongKey)
	if !errors.Is(err, kms.ErrWrongKey) {
		t.Errorf("cause: %v", err)
	}
	if left := contents(t, fresh); len(left) != 0 {
		t.Errorf("the store holds %d records", len(left))
	}
}

// A key service that lacks one of the master keys that wrap data keys is refused
// before anything is written.
func TestMissingOlderMasterKey(t *testing.T) {
	t.Parallel()
	k, old := newKeys(t), newKeys(t)
	s := newRegion(t, k, 0)
	scope, err := old.ring.NewScope(t.Context(), "vault", clock())
	must(t, err)
	var txn record.Txn
	scope.AddTo(&txn)
	_, err = s.Commit(t.Context(), txn)
	must(t, err)
	fresh := newShard(t)
	_, err = restore(t, fresh, k, write(t, s, k))
	wantCode(t, err, secret.CodeWrongKey)
	if left := contents(t, fresh); len(left) != 0 {
		t.Errorf("the store holds %d records", len(left))
	}
}

func TestOtherRegion(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	data := write(t, newRegion(t, k, 0), k)
	_, err := backup.Restore(t.Context(), bytes.NewReader(data), backup.RestoreOptions{Store: newShard(t), Region: "west", Keys: k, Keyring: k.ring})
	wantCode(t, err, secret.CodeInvalid)
}

func TestNonEmptyStoreIsRefused(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	s := newRegion(t, k, 10)
	data := write(t, s, k)
	before, life := contents(t, s), region(t, s)
	_, err := restore(t, s, k, data)
	wantCode(t, err, secret.CodeExists)
	equal(t, contents(t, s), before)
	if region(t, s).GetIncarnation() != life.GetIncarnation() {
		t.Error("the region has a new life")
	}
	stray := newShard(t)
	addNames(t, stray, 0, 1)
	_, err = restore(t, stray, k, data)
	wantCode(t, err, secret.CodeExists)
}

func TestTakenName(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "backup")
	must(t, os.WriteFile(path, []byte("precious"), 0o600))
	_, err := backup.WriteFile(t.Context(), path, backup.WriteOptions{Source: newRegion(t, k, 0), Keys: k})
	wantCode(t, err, secret.CodeExists)
	if data, _ := os.ReadFile(path); string(data) != "precious" {
		t.Error("the file was overwritten")
	}
	mustHold(t, dir, "backup")
}

// full is a file on a disk that is full after some bytes.
type full struct {
	backup.File
	room int
}

func (f *full) Write(b []byte) (int, error) {
	n := min(len(b), f.room)
	f.room -= n
	n, err := f.File.Write(b[:n])
	if err == nil && n < len(b) {
		err = syscall.ENOSPC
	}
	return n, err
}

func TestDiskFull(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	s := newRegion(t, k, 5000)
	size := len(write(t, s, k))
	for _, room := range []int{0, 1, size / 2, size - 1} {
		dir := t.TempDir()
		_, err := backup.WriteFileTo(t.Context(), filepath.Join(dir, "backup"), backup.WriteOptions{Source: s, Keys: k, Release: "test", Now: clock},
			func(dir, pattern string) (backup.File, error) {
				f, err := backup.CreateTemp(dir, pattern)
				return &full{File: f, room: room}, err
			})
		wantCode(t, err, secret.CodeUnavailable)
		if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("cause: %v", err)
		}
		mustHold(t, dir)
	}
}

// rotting is a file that does not give back what was written.
type rotting struct{ backup.File }

func (f rotting) Read(b []byte) (int, error) {
	n, err := f.File.Read(b)
	if n > 1000 {
		b[n/2] ^= 1
	}
	return n, err
}

func TestBadDiskIsNoticed(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	dir := t.TempDir()
	_, err := backup.WriteFileTo(t.Context(), filepath.Join(dir, "backup"), backup.WriteOptions{Source: newRegion(t, k, 5000), Keys: k},
		func(dir, pattern string) (backup.File, error) {
			f, err := backup.CreateTemp(dir, pattern)
			return rotting{f}, err
		})
	wantCode(t, err, secret.CodeCorrupt)
	mustHold(t, dir)
}

// dying is a store that fails for good after some transactions, some of which
// commit without an answer.
type dying struct {
	*store.Shard
	lives atomic.Int64
}

var errDead = secret.Errorf(secret.CodeInternal, "the process is dead")

func (d *dying) Commit(ctx context.Context, txn record.Txn) (int64, error) {
	switch n := d.lives.Add(-1); {
	case n < 0:
		return 0, errDead
	case n%3 == 1:
		if _, err := d.Shard.Commit(ctx, txn); err != nil {
			return 0, err
		}
		return 0, secret.Errorf(secret.CodeOutcomeUnknown, "no answer")
	}
	return d.Shard.Commit(ctx, txn)
}

// A restore that is interrupted anywhere leaves a store that is no region, and
// can be done again, with another backup too.
func TestInterruptedRestore(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	old := newRegion(t, k, 3000)
	first := write(t, old, k)
	addNames(t, old, 3000, 3010)
	var txn record.Txn
	txn.Delete(nameKey(0)) // which the interrupted restore will have brought back
	_, err := old.Commit(t.Context(), txn)
	must(t, err)
	second := write(t, old, k)
	fresh := newShard(t)
	for lives := int64(0); lives < 60; lives += 7 {
		d := &dying{Shard: fresh}
		d.lives.Store(lives)
		_, err := restore(t, d, k, first)
		if err == nil {
			break
		}
		if _, err := service.RegionRecord(fresh.View(t.Context())); !secret.HasCode(err, secret.CodeUnavailable) {
			t.Fatalf("after %d transactions there is a region: %v", lives, err)
		}
		if lives == 0 {
			continue // nothing was written
		}
		if _, err := service.Initialize(t.Context(), fresh, k.ring, regionName, clock()); !secret.HasCode(err, secret.CodeExists) {
			t.Fatalf("after %d transactions the store can be initialised: %v", lives, err)
		}
	}
	if _, err := service.RegionRecord(fresh.View(t.Context())); err == nil {
		t.Fatal("the restore was never interrupted to the end; raise the number of records")
	}
	report, err := restore(t, fresh, k, second)
	must(t, err)
	if !report.Resumed {
		t.Error("the interrupted restore was not recognised")
	}
	equal(t, contents(t, fresh), contents(t, old))
}

// pausing lets something happen before a transaction.
type pausing struct {
	*store.Shard
	before func()
	n      atomic.Int64
}

func (p *pausing) Commit(ctx context.Context, txn record.Txn) (int64, error) {
	if p.n.Add(1) == 5 {
		p.before()
	}
	return p.Shard.Commit(ctx, txn)
}

// A restore that another one took over from writes nothing any more.
func TestOneRestoreAtATime(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	data := write(t, newRegion(t, k, 2000), k)
	fresh := newShard(t)
	var winner backup.Report
	p := &pausing{Shard: fresh, before: func() {
		var err error
		winner, err = restore(t, fresh, k, data)
		must(t, err)
		var txn record.Txn
		txn.Delete(nameKey(1)) // the new life goes on
		_, err = fresh.Commit(t.Context(), txn)
		must(t, err)
	}}
	_, err := restore(t, p, k, data)
	wantCode(t, err, secret.CodeStale)
	if region(t, fresh).GetIncarnation() != string(winner.Incarnation) {
		t.Error("the loser made the region")
	}
	if _, ok, _ := fresh.View(t.Context()).Get(nameKey(1)); ok {
		t.Error("the loser wrote after the new life had begun")
	}
}

func TestGivingUp(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	s := newRegion(t, k, 1000)
	data := write(t, s, k)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := backup.Restore(ctx, bytes.NewReader(data), backup.RestoreOptions{
		Store: newShard(t), Region: regionName, Keys: k, Keyring: k.ring,
		Progress: func(p backup.Progress) {
			if p.Step == backup.Restoring {
				cancel()
			}
		},
	})
	wantCode(t, err, secret.CodeUnavailable)
	dir := t.TempDir()
	ctx, cancel = context.WithCancel(t.Context())
	_, err = backup.WriteFile(ctx, filepath.Join(dir, "backup"), backup.WriteOptions{Source: s, Keys: k, Progress: func(backup.Progress) { cancel() }})
	wantCode(t, err, secret.CodeUnavailable)
	mustHold(t, dir)
}
