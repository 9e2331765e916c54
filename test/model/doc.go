// Package model explores the protocol between regions exhaustively: every
// interleaving of a few mutations with lost, repeated and reordered shipments,
// senders that send late what they read early, crashes, restores, upgrades and
// changes of targets.
//
// What it explores with are the rules that the sender, the receiver and the queue
// themselves call. Each rule has a mutant without it, for which the search must
// find a history that breaks a guarantee: a rule whose mutant survives is not
// needed, or not tested.
package model
