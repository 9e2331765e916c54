package record

import (
	"errors"
	"time"
)

// ErrCompacted is returned by a feed that is asked to start before the oldest
// revision that the store still has. The reader must resynchronise.
var ErrCompacted = errors.New("the store has compacted the revisions asked for")

// ErrAhead is returned by a feed that is asked to start after the store's
// latest revision: the store was restored or replaced. The reader must
// resynchronise and must not trust its revisions.
var ErrAhead = errors.New("the revision asked for is ahead of the store")

// Page is part of a range of records, read at the latest revision of the moment.
type Page struct {
	// Records are the first records of the range in the order of their keys.
	Records []Stored
	// Revision is that of the store when the page was read: the page holds what
	// every change up to and including it made of its part of the range.
	Revision int64
	// More is set if the range has records after the last one.
	More bool
}

// Batch is what a feed delivers at once: all changes after the previous batch
// up to and including Revision, in the order of their commits. A batch without
// changes says that there were none up to Revision, and that the store had
// nothing newer when it was asked.
type Batch struct {
	Revision int64
	Changes  []Change
	// Asked is when the store was asked, if there are no changes; the moment of
	// delivery if zero.
	Asked time.Time
}
