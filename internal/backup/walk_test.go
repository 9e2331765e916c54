package backup_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/lifeboat-secrets/lifeboat/internal/backup"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
)

// Whatever the keys are, a walk sees each once and in order.
func TestWalk(t *testing.T) {
	t.Parallel()
	key := rapid.StringOfN(rapid.RuneFrom([]rune("\x01ab/0")), 1, 12, -1)
	rapid.Check(t, func(t *rapid.T) {
		keys := rapid.SliceOfDistinct(key, rapid.ID).Draw(t, "keys")
		slices.Sort(keys)
		limit := rapid.IntRange(1, 20).Draw(t, "limit")
		var seen []string
		err := backup.Walk(limit, func(start, end record.Key, limit int) (record.Page, error) {
			return pageOf(keys, start, end, limit), nil
		}, func(records []record.Stored) error {
			for _, r := range records {
				seen = append(seen, string(r.Key))
			}
			return nil
		})
		if err != nil || !slices.Equal(seen, keys) {
			t.Fatalf("saw %q of %q: %v", seen, keys, err)
		}
	})
}

func pageOf(keys []string, start, end record.Key, limit int) (page record.Page) {
	from, _ := slices.BinarySearch(keys, string(start))
	for _, k := range keys[from:] {
		if end != "" && k >= string(end) {
			break
		}
		if page.More = len(page.Records) == limit; page.More {
			break
		}
		page.Records = append(page.Records, record.Stored{Key: record.Key(k)})
	}
	return page
}
