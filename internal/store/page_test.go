package store_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/store"
)

// However the keys are spread, pages show each once and in order.
func TestPagesShowEveryKeyOnce(t *testing.T) {
	t.Parallel()
	s := open(t, start(t, store.EmbeddedOptions{}).Client())
	var keys []record.Key
	for n := range 600 {
		kinds := []string{"a/", "secret/V1/", "secret/V2/", "secret-name/V1/", "version/V1/S/", "z"}
		key := record.Key(fmt.Sprintf("%s%0*d", kinds[n%len(kinds)], 1+n%7, rand.IntN(1000)))
		if !slices.Contains(keys, key) {
			keys = append(keys, key)
			mustCommit(t, s, put(key, "x", 0))
		}
	}
	slices.Sort(keys)
	revision, err := s.Revision(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		some := rapid.SampledFrom(append([]record.Key{"", "b", "secret", "zzz"}, keys...))
		from, to, limit := some.Draw(t, "from"), some.Draw(t, "to"), rapid.IntRange(1, 700).Draw(t, "limit")
		read := s.Page
		if rapid.Bool().Draw(t, "at a revision") {
			read = func(ctx context.Context, start, end record.Key, limit int) (store.Page, error) {
				return s.PageAt(ctx, start, end, limit, revision)
			}
		}
		var want, got []record.Key
		for _, k := range keys {
			if k >= from && (to == "" || k < to) {
				want = append(want, k)
			}
		}
		for start, more := from, true; more; {
			page, err := read(t.Context(), start, to, limit)
			if err != nil {
				t.Fatal(err)
			}
			if page.Revision == 0 || len(page.Records) > limit {
				t.Fatalf("page of %d at revision %d", len(page.Records), page.Revision)
			}
			for _, r := range page.Records {
				got = append(got, r.Key)
			}
			if more = page.More && len(page.Records) > 0; more {
				start = page.Records[len(page.Records)-1].Key + "\x00"
			} else if page.More {
				t.Fatal("more records are promised behind none")
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("pages of %d from %q to %q show %d keys, want %d", limit, from, to, len(got), len(want))
		}
	})
}
