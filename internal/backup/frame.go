package backup

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"
	"io"

	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Kinds of frames.
const (
	recordsFrame byte = 1
	trailerFrame byte = 2
)

const (
	frameHeaderBytes = 1 + 4 + 4
	// frameBytes is how much a frame of records holds before it is written.
	frameBytes = 256 << 10
	// maxFrameBytes bounds the memory for a frame that is read: frameBytes and
	// one more record, which etcd's limit of 1.5 MiB for a request bounds.
	maxFrameBytes = 4 << 20
)

// cipherState is what writing and reading frames have in common. A key seals the
// frames of one file only, so that their numbers never repeat as nonces.
type cipherState struct {
	aead   cipher.AEAD
	digest [sha256.Size]byte
	number uint64
}

// newCipher takes key over and wipes it.
func newCipher(key, header []byte) (*cipherState, error) {
	defer clear(key)
	if len(key) != keyBytes {
		return nil, secret.Errorf(secret.CodeTampered, "the key of the backup has %d bytes, not %d", len(key), keyBytes)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, secret.Wrap(secret.CodeInternal, err, "AES is not available")
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, secret.Wrap(secret.CodeInternal, err, "GCM is not available")
	}
	return &cipherState{aead: aead, digest: sha256.Sum256(header)}, nil
}

// next returns nonce and associated data of the next frame.
func (c *cipherState) next(kind byte) (nonce, aad []byte) {
	nonce = binary.BigEndian.AppendUint64(make([]byte, 4, 12), c.number)
	aad = append([]byte(nil), c.digest[:]...)
	aad = binary.BigEndian.AppendUint64(aad, c.number)
	c.number++
	return nonce, append(aad, kind)
}

// frameWriter writes the header and then frames.
type frameWriter struct {
	*cipherState
	w   io.Writer
	out []byte
}

// newFrameWriter gives the file a new key and writes its header.
func newFrameWriter(ctx context.Context, w io.Writer, keys kms.Wrapper, h *Header) (*frameWriter, error) {
	key := make([]byte, keyBytes)
	_, _ = rand.Read(key) // never fails
	defer clear(key)
	wrapped, err := keys.Wrap(ctx, key, h.binding())
	if err != nil {
		return nil, err
	}
	h.MasterKey, h.WrappedKey = wrapped.MasterKey, wrapped.Bytes
	raw, err := h.encode()
	if err != nil {
		return nil, err
	}
	c, err := newCipher(key, raw)
	if err != nil {
		return nil, err
	}
	f := &frameWriter{cipherState: c, w: w}
	return f, f.put(raw)
}

func (f *frameWriter) put(b []byte) error {
	if _, err := f.w.Write(b); err != nil {
		return notWritten(err)
	}
	return nil
}

func notWritten(err error) error {
	return secret.Wrap(secret.CodeUnavailable, err, "cannot write the backup").WithHint("is there room on the disk, and may the process write there?")
}

// write seals content as the next frame.
func (f *frameWriter) write(kind byte, content []byte) error {
	nonce, aad := f.next(kind)
	f.out = append(f.out[:0], kind)
	f.out = binary.BigEndian.AppendUint32(f.out, uint32(len(content)+f.aead.Overhead())) //nolint:gosec // far below
	f.out = append(f.out, 0, 0, 0, 0)
	f.out = f.aead.Seal(f.out, nonce, content, aad)
	sum := crc32.Update(crc32.Checksum(f.out[:5], castagnoli), castagnoli, f.out[frameHeaderBytes:])
	binary.BigEndian.PutUint32(f.out[5:], sum)
	return f.put(f.out)
}

// frameReader reads the header and then frames.
type frameReader struct {
	*cipherState
	r      io.Reader
	header Header
}

func newFrameReader(ctx context.Context, r io.Reader, keys kms.Wrapper) (*frameReader, error) {
	h, raw, err := readHeader(r)
	if err != nil {
		return nil, err
	}
	key, err := keys.Unwrap(ctx, h.wrapped(), h.binding())
	if err != nil {
		return nil, secret.Wrap(secret.CodeOf(err), err, "the key of the backup, which master key \""+h.MasterKey+"\" wraps, cannot be had").
			WithHint("use the key service that the region had when the backup was made")
	}
	c, err := newCipher(key, raw)
	if err != nil {
		return nil, err
	}
	return &frameReader{cipherState: c, r: r, header: h}, nil
}

// read returns the next frame's content in memory of its own.
func (f *frameReader) read() (kind byte, content []byte, err error) {
	var head [frameHeaderBytes]byte
	if _, err := io.ReadFull(f.r, head[:]); err != nil {
		return 0, nil, cutOff(err)
	}
	kind = head[0]
	length := binary.BigEndian.Uint32(head[1:])
	if length > maxFrameBytes {
		return 0, nil, f.damaged()
	}
	sealed := make([]byte, length)
	if _, err := io.ReadFull(f.r, sealed); err != nil {
		return 0, nil, cutOff(err)
	}
	if crc32.Update(crc32.Checksum(head[:5], castagnoli), castagnoli, sealed) != binary.BigEndian.Uint32(head[5:]) {
		return 0, nil, f.damaged()
	}
	number := f.number
	nonce, aad := f.next(kind)
	content, err = f.aead.Open(sealed[:0], nonce, sealed, aad)
	if err != nil {
		return 0, nil, secret.Wrap(secret.CodeTampered, err, "a part of the backup was changed, moved or taken from another file").
			WithHint("use another copy of the backup")
	}
	if kind != recordsFrame && kind != trailerFrame {
		return 0, nil, newer("frame %d of the backup is of kind %d, which this release does not know", number, kind)
	}
	return kind, content, nil
}

func (f *frameReader) damaged() error {
	return secret.Errorf(secret.CodeCorrupt, "frame %d of the backup is damaged: its checksum is wrong", f.number).
		WithHint("use another copy of the backup")
}
