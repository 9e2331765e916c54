// Package record defines the stored form of everything in a shard: the key of
// each kind of record and its one encode/decode pair. The authoritative store
// and the hosts' local stores hold the same keys and the same bytes.
//
// A value is one byte of format version and then a protobuf message of package
// recordpb. A reader that meets a higher format, or a field it does not know,
// refuses the record with secret.CodeUnknownFormat; a new format may be written
// only when every registered host advertises that it reads it.
package record
