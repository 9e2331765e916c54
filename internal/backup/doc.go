// Package backup writes the records of a shard to a file, verifies such a file,
// and makes a region out of one. It never opens a secret: values stay sealed
// under the keys of their vaults, and what a store holds in the clear (names,
// tags, policies, digests of tokens) is encrypted under a key of the file's own,
// which the key service wraps.
//
// # The file, format 1
//
//	preamble  the 15 bytes "lifeboat backup", 1 byte format
//	header    4 bytes length, JSON (see Header), 4 bytes CRC32C of all before it
//	frames    1 byte kind, 4 bytes length, 4 bytes CRC32C of kind, length and
//	          content, then the content: records in any number of frames of
//	          kind 1, the trailer in one of kind 2, after which the file ends
//
// Numbers are big endian. A frame's content is sealed with AES-256-GCM under the
// file's key, which no other file has, with the frame's number as the nonce. Its
// associated data are the SHA-256 of preamble and header, its number and its kind,
// so that frames cannot be reordered, left out or taken from another file. The
// checksums, which need no key, tell a damaged file from one that was forged.
//
// Records are in the order of their keys, each as the length of its key, the key,
// the length of its value and the value, with lengths as unsigned varints.
//
// # What is left out
//
// Registered hosts (they register again with their first report), events in the
// outbox (their watchers belong to the old life and start anew), quarantine marks
// (hosts report again what they cannot apply) and the fence (a restore makes one).
// Open work items are kept: what the hosts had not all applied is cleared again.
package backup
