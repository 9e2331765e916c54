package replica

import (
	"context"
	"sort"

	bolt "go.etcd.io/bbolt"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Pages are sized so that one takes about pageBytes of memory.
const (
	pageBytes     = 1 << 20
	firstPage     = 128
	largestPage   = 512 // 32 MiB if values of a few bytes give way to the largest
	smallestPage  = 16
	mergeAtATime  = 8192 // local records looked at in one transaction
	afterAllPages = record.Key("")
)

// catchUp is what is known of the pages while the feed, which starts at the
// first page's revision, has not passed the last page's. A change that a page
// already contains must not be applied again: it might bring back, for a moment,
// a record that was deleted before the page was read.
type catchUp struct {
	floors  []floor
	through int64
}

// floor says at which revision the keys before end, and not before the previous
// floor's end, were read. An empty end means no end.
type floor struct {
	end      record.Key
	revision int64
}

func (c *catchUp) add(end record.Key, revision int64) {
	if n := len(c.floors); n > 0 && c.floors[n-1].revision == revision {
		c.floors[n-1].end = end
	} else {
		c.floors = append(c.floors, floor{end: end, revision: revision})
	}
	c.through = max(c.through, revision)
}

// floor returns the revision at which the key's page was read, 0 if none was.
func (c *catchUp) floor(key record.Key) int64 {
	if c == nil {
		return 0
	}
	i := sort.Search(len(c.floors), func(i int) bool { return c.floors[i].end == afterAllPages || key < c.floors[i].end })
	if i == len(c.floors) {
		return 0
	}
	return c.floors[i].revision
}

// resync brings the copy in line with the source page by page, in the order of
// the keys, each page read at the latest revision of its moment, while reads go
// on. What a page lacks was deleted. If it is interrupted it starts again: each
// page is the truth about its range, whatever came before.
func (l *Local) resync(ctx context.Context) error {
	l.log.Info("resynchronising the local store", "applied", l.meta.Applied, "generation", l.meta.Generation)
	l.status.update(func(p *Position) { p.Resyncs++ })
	c := &catchUp{}
	first, start, limit := int64(0), record.Key(""), firstPage
	for done := false; !done; {
		asked := l.now()
		page, err := l.opts.Source.Page(ctx, start, "", limit)
		if err != nil {
			return err
		}
		l.saw(asked, page.Revision)
		if page.Revision < max(l.meta.Applied, c.through) {
			return secret.Errorf(secret.CodeUnavailable, "the store answers with revision %d after %d",
				page.Revision, max(l.meta.Applied, c.through))
		}
		if first == 0 {
			first = page.Revision
		}
		end := afterAllPages
		if done = !page.More || len(page.Records) == 0; !done {
			end = page.Records[len(page.Records)-1].Key + "\x00"
		}
		if err := l.mergePage(page, start, end); err != nil {
			return err
		}
		c.add(end, page.Revision)
		start, limit = end, nextLimit(page.Records)
	}
	l.catchUp = c
	err := l.write(mark{}, false, func(t *txn) error {
		t.meta.Synced = true
		t.reach(first)
		return nil
	})
	l.settle()
	l.log.Info("resynchronised the local store", "from", first, "through", c.through, "records", l.meta.Records)
	return err
}

// nextLimit is how many records of the size of the last ones fill a page.
func nextLimit(records []record.Stored) int {
	if len(records) == 0 {
		return firstPage
	}
	bytes := 1
	for i := range records {
		bytes += len(records[i].Key) + len(records[i].Value)
	}
	return min(max(pageBytes*len(records)/bytes, smallestPage), largestPage)
}

// mergePage merges one page, in several transactions if many local records lie
// in its range.
func (l *Local) mergePage(page record.Page, start, end record.Key) error {
	for _, r := range page.Records {
		if err := l.admit(r); err != nil {
			return err
		}
		if r.Key == record.RegionKey {
			if err := l.sameLife(r.Value); err != nil {
				return err
			}
		}
	}
	m := mark{phase: applyingPage, through: page.Revision, page: start}
	if l.isolate != nil && l.isolate.phase == applyingPage && (contains(start, end, l.isolate.page) || contains(start, end, l.isolate.key)) {
		if err := l.pageOneByOne(m, page); err != nil {
			return err
		}
	}
	for records, done := page.Records, false; !done; {
		err := l.write(m, false, func(t *txn) (err error) {
			start, records, done, err = t.merge(records, page.Revision, start, end, mergeAtATime)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func contains(start, end, key record.Key) bool {
	return start <= key && (end == afterAllPages || key < end)
}

// pageOneByOne commits each record of a page by itself, to find the culprit of a
// crash.
func (l *Local) pageOneByOne(m mark, page record.Page) error {
	for _, r := range page.Records {
		if r.Key.HasPrefix(record.OutboxPrefix) {
			continue
		}
		err := l.write(m, true, func(t *txn) error {
			if err := t.page(r); err != nil {
				return err
			}
			return t.suspects.Delete([]byte(r.Key))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// needResync has the copy compared with the whole store before the feed is
// followed again.
func (l *Local) needResync() error {
	l.catchUp = nil
	return l.write(mark{}, false, func(t *txn) error {
		t.meta.Resync = true
		return nil
	})
}

// beginLife starts over with a store whose revisions mean something else. The
// records of the old life are served until the pages replace them.
func (l *Local) beginLife(id identity) error {
	l.log.Warn("the store has begun a new life: resynchronising", "incarnation", id.Incarnation, "restore_epoch", id.RestoreEpoch,
		"previous_incarnation", l.meta.Identity.Incarnation, "previous_restore_epoch", l.meta.Identity.RestoreEpoch)
	l.catchUp, l.isolate = nil, nil
	clear(l.absent)
	return l.write(mark{}, false, func(t *txn) error {
		t.meta.Generation++
		t.meta.Identity = id
		t.meta.Applied, t.meta.Synced, t.meta.Resync = 0, false, true
		t.quarantined = -l.status.get().Quarantined
		if err := clearBucket(t.quarantine); err != nil {
			return err
		}
		return clearBucket(t.suspects)
	})
}

// clearBucket deletes everything in a small bucket.
func clearBucket(b *bolt.Bucket) error {
	var keys [][]byte
	if err := b.ForEach(func(k, _ []byte) error {
		keys = append(keys, append([]byte(nil), k...))
		return nil
	}); err != nil {
		return err
	}
	for _, k := range keys {
		if err := b.Delete(k); err != nil {
			return err
		}
	}
	return nil
}
