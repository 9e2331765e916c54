package replication

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	peerv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// copyOf is a copy of a vault: the content of each secret, by its key.
type copyOf map[record.Key]string

func (c copyOf) View(fn func(record.View) error) error { return fn(nil) }

func (c copyOf) VaultDigests(_ context.Context, _ record.View, what service.Compared, visit func(*secret.Secret, secret.MAC)) (secret.Moment, error) {
	for _, key := range slices.Sorted(func(yield func(record.Key) bool) {
		for key := range c {
			if !yield(key) {
				return
			}
		}
	}) {
		if what.Only == nil || what.Only(record.Stored{Key: key}) {
			visit(&secret.Secret{ID: record.SecretIDOf(key), State: secret.Active}, secret.MAC(c[key]))
		}
	}
	return secret.Moment{}, nil
}

// Whatever two copies hold, and out of however many buckets they are compared: exactly
// what differs is found.
func TestExactlyWhatDiffersIsFound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) copyOf {
			c := copyOf{}
			for n, value := range rapid.SliceOfN(rapid.IntRange(0, 2), 0, 40).Draw(t, name) {
				if value > 0 {
					c[record.SecretKey(secret.NewID("v", fmt.Sprint(n)))] = fmt.Sprint(value)
				}
			}
			return c
		}
		here, there := draw("here"), draw("there")
		n := rapid.SampledFrom([]int{buckets, fewBuckets}).Draw(t, "buckets")
		own, err := bucketDigestsOf(t.Context(), here, here, service.Compared{})
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := bucketDigestsOf(t.Context(), there, there, service.Compared{})
		if err != nil {
			t.Fatal(err)
		}
		theirs = theirs.folded(n)
		var found []string
		for _, within := range own.folded(n).differing(&peerv1.CompareDigestsResponse{Sums: theirs.sums, Sizes: theirs.sizes}) {
			found = append(found, secondLevel(t, here, there, uint32(n), within)...)
		}
		var want []string
		for _, copied := range []copyOf{here, there} {
			for key := range copied {
				if here[key] != there[key] {
					want = append(want, string(key))
				}
			}
		}
		slices.Sort(want)
		slices.Sort(found)
		if !slices.Equal(found, slices.Compact(want)) {
			t.Fatalf("found %v, want %v", found, want)
		}
	})
}

func secondLevel(t *rapid.T, here, there copyOf, n uint32, within []uint32) []string {
	mine, err := digestsWithin(t.Context(), here, here, service.Compared{}, n, within)
	if err != nil {
		t.Fatal(err)
	}
	var told []*peerv1.SecretDigest
	for key, one := range mine {
		told = append(told, &peerv1.SecretDigest{Record: string(key), Digest: one.digest})
	}
	theirs, err := digestsWithin(t.Context(), there, there, service.Compared{}, n, within)
	if err != nil {
		t.Fatal(err)
	}
	answer := compareSecrets(theirs, told, true)
	return slices.Concat(answer.GetDiffering(), answer.GetSurplus())
}

// A large difference is asked for in parts that a request takes.
func TestWhatDiffersIsAskedForInParts(t *testing.T) {
	d := &bucketDigests{sums: make([][]byte, fewBuckets), sizes: make([]uint32, fewBuckets)}
	there := &peerv1.CompareDigestsResponse{Sums: make([][]byte, fewBuckets), Sizes: make([]uint32, fewBuckets)}
	for b := range 10 {
		d.sums[b] = []byte("differs")
		d.sizes[b], there.Sizes[9-b] = uint32(b)*1000, uint32(b)*1000
	}
	d.sizes[5] = 3 * comparedAtOnce
	parts := d.differing(there)
	var all []uint32
	for _, part := range parts {
		sum := 0
		for _, b := range part {
			sum += int(max(d.sizes[b], there.GetSizes()[b]))
		}
		if sum > comparedAtOnce && len(part) > 1 {
			t.Errorf("%d secrets in a part of %d buckets", sum, len(part))
		}
		all = append(all, part...)
	}
	if want := []uint32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}; !slices.Equal(all, want) || len(parts) < 5 {
		t.Errorf("parts: %v", parts)
	}
}
