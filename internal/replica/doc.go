// Package replica is a data-plane host's local store: a full copy of the shard's
// records in one bbolt file, kept up to date from the store's change feed, from
// which reads are served with the store unreachable, also after a restart.
//
// A local store only ever moves forward: a record is replaced by a later
// revision of it or not at all, and a deleted record does not come back, also
// while the copy is resynchronised. The one exception is a new life of the
// store (a new restore epoch or incarnation in the region record): then
// revisions start anew and the new life's content counts.
//
// Records are stored by key, but that the versions of a secret lie behind its record:
// see place. Whoever reads sees only keys.
//
// What a host cannot apply it quarantines: the older copy of that record stays,
// the fact is listed, and everything else goes on.
package replica
