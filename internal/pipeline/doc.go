// Package pipeline follows each mutation after its commit until every live host
// of the cell has applied it, and then clears it.
//
// Purpose: other regions, and clients that ask for it, may hear of a mutation
// only once the cell has it, so that a record which breaks hosts stays at home.
//
// Flow: the transaction of a mutation also puts a work item. Hosts report the
// revision they have applied over a stream, not by writing to the store. One
// control process, the owner of a lease, finishes mutations in batches once the
// cleared revision has passed them: it has other regions told, waits a moment for
// them to receive it, and deletes the work item. Nothing depends on the lease for
// correctness: a work item is deleted only if it is the one that was seen.
//
// Guarantee: a mutation is offered to other regions, and its work item deleted, only when at least one host is registered,
// at least a majority of the registered hosts is live, and every live host has
// applied the mutation. Zero hosts means wait. A host that skipped the record as
// a suspected poison pill has not applied it.
//
// Trade-off: a live host that stalls delays clearing for everyone, for as long
// as it is counted as live; it never delays the callers' commits.
package pipeline
