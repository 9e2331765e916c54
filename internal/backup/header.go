package backup

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"io"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const (
	magic = "lifeboat backup"
	// Format is the format that this release writes and the newest it reads.
	Format = 1
	// maxHeaderBytes is many times what a header has.
	maxHeaderBytes = 64 << 10
	keyBytes       = 32
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Header is what a backup says of itself in the clear. Nothing in it is secret.
type Header struct {
	// ID is random and names the file.
	ID     string            `json:"id"`
	Region secret.RegionName `json:"region"`
	// Incarnation and RestoreEpoch are of the life that was backed up.
	Incarnation  secret.Incarnation `json:"incarnation"`
	RestoreEpoch uint64             `json:"restoreEpoch"`
	// Revision is that of the store: every mutation acknowledged at or before it
	// is in the file, and none after it.
	Revision  int64     `json:"revision"`
	CreatedAt time.Time `json:"createdAt"`
	// Release wrote the file.
	Release string `json:"release"`
	// MasterKey wraps the file's key as WrappedKey.
	MasterKey  string `json:"masterKey"`
	WrappedKey []byte `json:"wrappedKey"`
}

// binding is the associated data under which the key service wraps the file's
// key.
func (h *Header) binding() []byte {
	b := []byte("lifeboat backup file key\x00")
	for _, part := range []string{h.ID, string(h.Region), string(h.Incarnation)} {
		b = binary.BigEndian.AppendUint64(b, uint64(len(part)))
		b = append(b, part...)
	}
	return b
}

func (h *Header) wrapped() kms.Wrapped {
	return kms.Wrapped{MasterKey: h.MasterKey, Bytes: h.WrappedKey}
}

// encode returns preamble and header as they stand in the file.
func (h *Header) encode() ([]byte, error) {
	text, err := json.Marshal(h)
	if err != nil {
		return nil, secret.Wrap(secret.CodeInternal, err, "cannot encode the header of the backup")
	}
	if len(text) > maxHeaderBytes {
		return nil, secret.Errorf(secret.CodeLimit, "the header of the backup has %d bytes, %d are allowed", len(text), maxHeaderBytes)
	}
	b := append([]byte(magic), Format)
	b = binary.BigEndian.AppendUint32(b, uint32(len(text))) //nolint:gosec // bounded above
	b = append(b, text...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)), nil
}

// readHeader reads preamble and header and returns their bytes too.
func readHeader(r io.Reader) (h Header, raw []byte, err error) {
	raw = make([]byte, len(magic)+1+4)
	if _, err := io.ReadFull(r, raw); err != nil {
		return h, nil, cutOff(err)
	}
	if string(raw[:len(magic)]) != magic {
		return h, nil, secret.Errorf(secret.CodeCorrupt, "this is not a backup file, or its beginning is damaged")
	}
	if format := raw[len(magic)]; format != Format {
		return h, nil, newer("the backup has format %d, this release reads %d", format, Format)
	}
	length := binary.BigEndian.Uint32(raw[len(magic)+1:])
	if length > maxHeaderBytes {
		return h, nil, secret.Errorf(secret.CodeCorrupt, "the header of the backup is damaged")
	}
	rest := make([]byte, length+4)
	if _, err := io.ReadFull(r, rest); err != nil {
		return h, nil, cutOff(err)
	}
	text, sum := rest[:length], binary.BigEndian.Uint32(rest[length:])
	if crc32.Update(crc32.Checksum(raw, castagnoli), castagnoli, text) != sum {
		return h, nil, secret.Errorf(secret.CodeCorrupt, "the header of the backup is damaged: its checksum is wrong")
	}
	return h, append(raw, rest...), decodeStrictly(text, &h)
}

// decodeStrictly refuses fields that this release does not know.
func decodeStrictly(text []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return secret.Wrap(secret.CodeUnknownFormat, err, "the backup says of itself what this release does not understand").
			WithHint("use the release that wrote it, or a newer one")
	}
	return nil
}

func newer(format string, args ...any) error {
	return secret.Errorf(secret.CodeUnknownFormat, format, args...).WithHint("use the release that wrote it, or a newer one")
}

// cutOff is the error for a file that ends too early, or could not be read.
func cutOff(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return secret.Wrap(secret.CodeCorrupt, io.ErrUnexpectedEOF, "the backup is cut off")
	}
	return secret.Wrap(secret.CodeUnavailable, err, "cannot read the backup")
}

// leftOut says which records are not in a backup.
func leftOut(key record.Key) bool {
	return key == record.FenceKey || key.HasPrefix(record.HostPrefix) || key.HasPrefix(record.ControlPrefix) || key.HasPrefix(record.OutboxPrefix) ||
		key.HasPrefix(record.QuarantinePrefix)
}

// ofProcesses says which records a store may hold before it is a region: processes
// write them when they start.
func ofProcesses(key record.Key) bool { return leftOut(key) || key == record.FormatsKey }
