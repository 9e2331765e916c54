// Package ownership does what moves of records between regions need in the
// background: it moves the records of a region that was taken over, learns that this
// one was, notices when a region has caught up, and carries out planned moves.
//
// What may be mutated where never depends on it: that is decided by the fence and by
// each record, in the transactions of package service. It may run late, twice, or not
// at all.
package ownership
