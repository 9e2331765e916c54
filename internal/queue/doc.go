// Package queue holds what is still to be told to each target region: a durable
// queue per target, with at most one message for a record.
//
// Purpose: an unreachable, slow or refusing target changes nothing for callers
// and for other targets, fills no store, and misses nothing.
//
// Flow: the transaction that finishes a mutation also puts a message for each target
// that has not received it yet (Enqueue). The message is a pointer: whoever takes it reads the latest
// cleared state of the record and sends that, so a later mutation of the record
// only refreshes the message. Take hands out due messages, Done deletes them,
// Failed stores when to try again. The index that makes this cheap is in memory,
// fed by the local store's changes, and is rebuilt from it by Load.
//
// Guarantee: for each record with a cleared mutation that a target was not told
// there is a message, or the target is marked to be resynchronised: everything
// compared. That holds whatever crashes, and with several processes at once: a
// message is deleted only at the revision that was delivered, a mark only at the
// revision that was begun. Delivery is at least once.
//
// Bounds: a target has at most Cap messages, give or take what several processes
// enqueue at the same moment; what comes beyond marks it for resynchronisation.
// Memory is some 120 bytes a message where ten targets lack the same records, 380
// where one does; each operation on one is O(log n).
//
// Trade-off: the order is by age, not by record; what depends on another record
// fails and is tried again.
package queue
