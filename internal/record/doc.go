// Package record defines the stored form of everything in a shard: the key of
// each kind of record and its one encode/decode pair. The authoritative store
// and the hosts' local stores hold the same keys and the same bytes.
//
// A value is one byte of format version and then a protobuf message of package
// recordpb. A reader that meets a higher format, or a field it does not know,
// refuses the record with secret.CodeUnknownFormat. Each kind has the highest
// format that this release reads, and each record is written in the lowest format
// that holds it; package formatgate keeps a new format from being written before
// every registered process reads it. The build tag nextformat adds a field to one
// kind at format 2, which makes the next release for the test of upgrades.
package record
