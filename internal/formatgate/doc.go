// Package formatgate keeps a newer format of a record from being written before
// every process of the region reads it, and a process from touching a shard that
// holds formats which it does not read.
//
// The gate record (record.FormatsKey) says which formats the shard may hold. It
// is raised, in a transaction of its own and before the first record of the newer
// format, when all registered processes advertise that they read it: hosts in
// their own records, other control processes in theirs. Whoever changes what a
// registered process reads touches the gate record in the same transaction, so
// that it cannot be raised from an older picture. It is never lowered.
//
// A process that finds formats in the gate record which it does not read ends
// itself: it refuses the shard as a whole rather than record by record. An
// operator may hold the gate, which keeps the way back open during an upgrade.
package formatgate
