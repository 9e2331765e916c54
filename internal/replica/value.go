package replica

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// A local value is a header and then the store's bytes as they are:
//
//	format     1 byte
//	generation 4 bytes, which life of the store the record was copied from
//	revision   8 bytes, of the store
//	checksum   4 bytes, CRC32C of key, header before it and value
const (
	valueFormat  = 1
	headerLength = 1 + 4 + 8 + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// localValue is a decoded local value; Value aliases the encoded bytes.
type localValue struct {
	generation uint32
	revision   int64
	value      []byte
}

func encodeValue(key []byte, v localValue) []byte {
	b := make([]byte, headerLength, headerLength+len(v.value))
	b[0] = valueFormat
	binary.BigEndian.PutUint32(b[1:], v.generation)
	binary.BigEndian.PutUint64(b[5:], uint64(v.revision))
	binary.BigEndian.PutUint32(b[13:], checksum(key, b[:13], v.value))
	return append(b, v.value...)
}

func checksum(key, header, value []byte) uint32 {
	sum := crc32.Update(0, castagnoli, key)
	sum = crc32.Update(sum, castagnoli, header)
	return crc32.Update(sum, castagnoli, value)
}

var errChecksum = secret.Errorf(secret.CodeCorrupt, "a record of the local store fails its checksum")

// decodeValue verifies and splits a local value. It does not allocate.
func decodeValue(key, b []byte) (localValue, error) {
	if len(b) < headerLength || b[0] != valueFormat ||
		binary.BigEndian.Uint32(b[13:]) != checksum(key, b[:13], b[headerLength:]) {
		return localValue{}, errChecksum
	}
	return localValue{
		generation: binary.BigEndian.Uint32(b[1:]),
		revision:   int64(binary.BigEndian.Uint64(b[5:])),
		value:      b[headerLength:len(b):len(b)],
	}, nil
}

// size is what a change costs in a batch, in bytes; 64 stands for its overhead.
func size(c *record.Change) int { return len(c.Key) + len(c.Value) + 64 }
