// Package service holds the use cases of Lifeboat: each authenticates,
// authorises, does its work, and is audited before its answer leaves. It is the
// only package that sees plaintext.
//
// Reads come from the local store and fall back to the shard's store when a
// record is missing there or older than the caller asked for. A mutation is
// planned on the local copy and committed in one transaction whose conditions
// prove that the copy was current; whenever the local copy would refuse, or the
// conditions fail, the plan is made again on the store itself.
package service
