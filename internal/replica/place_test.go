package replica

import (
	"maps"
	"path/filepath"
	"slices"
	"testing"

	bolt "go.etcd.io/bbolt"
	"pgregory.net/rapid"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// drawKey returns keys of and around those of secrets and versions, which are moved.
func drawKey(t *rapid.T, label string) record.Key {
	prefix := rapid.SampledFrom([]string{
		"", "a/", "secret", "secret-name/", "secret/", "secret/", "secret0", "takeover/", "vault/", "version", "version/", "version/", "version0", "work/",
	}).Draw(t, label+" prefix")
	return record.Key(prefix + rapid.StringMatching(`[a-c0/-]{0,3}(/[a-c0-]{0,2}){0,2}`).Draw(t, label))
}

// TestWalkInTheOrderOfTheKeys compares walks with what is in the range, sorted.
func TestWalkInTheOrderOfTheKeys(t *testing.T) {
	db, err := bolt.Open(filepath.Join(t.TempDir(), "db"), 0o600, &bolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rapid.Check(t, func(t *rapid.T) {
		tx, err := db.Begin(true)
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		b, err := tx.CreateBucket([]byte("records"))
		if err != nil {
			t.Fatal(err)
		}
		places := map[string]record.Key{}
		for range rapid.IntRange(0, 40).Draw(t, "records") {
			key := drawKey(t, "key")
			at, ok := place(nil, key)
			if !placeable(key) || len(at) == 0 {
				continue
			}
			if !ok {
				t.Fatalf("%q has no place", key)
			}
			if other, taken := places[string(at)]; taken && other != key || keyAt(at) != key {
				t.Fatalf("%q is at %q, where %q is, and %q", key, at, other, keyAt(at))
			}
			places[string(at)] = key
			if err := b.Put(at, []byte(key)); err != nil {
				t.Fatal(err)
			}
		}
		for range 5 {
			start, end := drawKey(t, "start"), drawKey(t, "end")
			var want, got []record.Key
			for _, key := range slices.Sorted(maps.Values(places)) {
				if contains(start, end, key) {
					want = append(want, key)
				}
			}
			w := walk{cursor: b.Cursor(), end: end}
			for at, value := w.first(start); at != nil; at, value = w.next() {
				if got = append(got, keyAt(at)); string(value) != string(keyAt(at)) {
					t.Fatalf("%q has the value of %q", keyAt(at), value)
				}
			}
			if !slices.Equal(got, want) {
				t.Fatalf("from %q to %q it finds %q, wanted %q", start, end, got, want)
			}
		}
	})
}

// A record whose key is none of its kind is refused, and is not taken for another one.
func TestKeysOfNoRecord(t *testing.T) {
	for key, want := range map[record.Key]struct{ stored, hasPlace bool }{
		record.SecretKey("v.s"): {true, true}, record.VersionKey("v.s", "1"): {true, true}, record.RegionKey: {true, true}, "version-of/v/s/1/2": {true, true},
		"secret/v/s/1": {}, "secret/v/s/1/2": {hasPlace: true}, "version/v/s": {hasPlace: true}, "version/v": {hasPlace: true}, "version/v/s/1/2": {hasPlace: true},
	} {
		at, ok := place(nil, key)
		if refused := secret.HasCode(checkPlace(key), secret.CodeCorrupt); refused == want.stored || ok != want.hasPlace || ok && keyAt(at) != key {
			t.Errorf("%s is at %q, %t; applied: %v", key, at, ok, check(key, nil))
		}
		if !want.stored && !secret.HasCode(check(key, record.EncodeReference("v.s")), secret.CodeCorrupt) {
			t.Errorf("%s is applied", key)
		}
	}
}
