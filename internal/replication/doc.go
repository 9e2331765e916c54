// Package replication brings the cleared states of this region's records to the
// regions that they are meant for, and takes in those of others.
//
// Purpose: what is written in one region appears in every region it is meant for,
// in order, whole or not at all, and no region can hurt another.
//
// Flow: for each peer one process, the owner of a lease, runs a Sender. The pipeline
// offers a mutation that is cleared to the Senders in its process, which bring it to
// the targets (Routes says which) that nothing keeps from being sent it at once.
// Soon after, in the transaction that finishes the mutation, a message is enqueued for
// each target that has not received it. A Sender takes messages, has the service ship
// the latest cleared state of each record, delivers them over the link in batches,
// several at once, and deletes the messages whose states were received. A vault
// that gets a new target, and a target whose queue ran over, are synchronised by
// reading through the records instead. The Receiver at the other end hands each
// shipment to its service, which judges, seals and commits it.
//
// Guarantee: only cleared states leave; a copy never goes to a lower order,
// whoever sends what when, so nothing depends on the lease; what was not received
// stays enqueued. Delivery is at least once and receiving is idempotent.
//
// Bounds: a sender keeps at most maxInFlight batches under way, and at most maxInLane
// mutations without messages waiting for them. One record that fails does not hold up others, one target does not hold up
// another.
package replication
