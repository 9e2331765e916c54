package keycache

import (
	"bytes"
	"cmp"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	"github.com/lifeboat-secrets/lifeboat/internal/pki"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// The file, format 1. Numbers are big endian, text has its length before it.
//
//	19 bytes  magic
//	1 byte    format
//	32 bytes  salt, random
//	16 bytes  check value of the key file
//	text      region, incarnation
//	4 bytes   number of entries; then each, by scope and generation:
//	          text scope, 4 bytes generation, 32 bytes digest of the wrapped key,
//	          text master key, 8 bytes time, 12+32+16 bytes sealed key
//	28 bytes  nonce and tag over all that is before
//
// The key is derived from the key file, the salt, the region and the incarnation. It
// seals each entry, bound to all that the file says of it, and the whole, so that
// nothing can be cut off or mixed.
const (
	magic       = "lifeboat key cache\n"
	fileFormat  = 1
	saltBytes   = 32
	checkBytes  = 16
	digestBytes = sha256.Size
	keyBytes    = 32
	sealedBytes = 12 + keyBytes + 16
	tailBytes   = 12 + 16
	maxText     = 512
	// maxFileBytes bounds what is read: a full cache of long names has less.
	maxFileBytes = 32 << 20
)

type header struct {
	salt                [saltBytes]byte
	check               [checkBytes]byte
	region, incarnation string
}

var (
	errFormat  = errors.New("unknown format")
	errCutOff  = errors.New("it is cut off, or not a sealed key cache")
	errTooMany = errors.New("it has too many entries, or one twice")
)

// newBook returns an empty one with a salt of its own.
func (c *Cache) newBook(incarnation string) (*book, error) {
	b := &book{header: header{region: string(c.opts.Region), incarnation: incarnation}, entries: map[ID]entry{}}
	_, _ = rand.Read(b.salt[:]) // never fails
	check, err := b.unlock(c.secret)
	b.check = check
	return b, err
}

// unlock derives the keys, and returns the check value of the key file.
func (b *book) unlock(content []byte) (check [checkBytes]byte, err error) {
	info := appendText(appendText(nil, b.region), b.incarnation)
	key, err := hkdf.Key(sha256.New, content, b.salt[:], "lifeboat sealed key cache\x00"+string(info), keyBytes)
	if err != nil {
		return check, secret.Wrap(secret.CodeInternal, err, "cannot derive the key of the sealed key cache")
	}
	defer clear(key)
	shown, err := hkdf.Key(sha256.New, content, b.salt[:], "lifeboat sealed key cache, key file\x00", checkBytes)
	if err != nil {
		return check, secret.Wrap(secret.CodeInternal, err, "cannot derive the key of the sealed key cache")
	}
	copy(check[:], shown)
	block, err := aes.NewCipher(key)
	if err == nil {
		b.aead, err = cipher.NewGCMWithRandomNonce(block)
	}
	if err != nil {
		return check, secret.Wrap(secret.CodeInternal, err, "cannot make AES-256-GCM")
	}
	return check, nil
}

// associated says where a sealed key belongs.
func (b *book) associated(id ID, e *entry) []byte {
	ad := append([]byte("lifeboat sealed data key\x00"), fileFormat)
	ad = appendText(ad, b.region)
	ad = appendText(ad, b.incarnation)
	return appendAbout(ad, id, e)
}

func appendAbout(to []byte, id ID, e *entry) []byte {
	to = appendText(to, id.Scope)
	to = binary.BigEndian.AppendUint32(to, id.Generation)
	to = append(to, e.digest[:]...)
	to = appendText(to, e.masterKey)
	return binary.BigEndian.AppendUint64(to, uint64(e.asked))
}

func appendText(to []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(to, uint16(len(s))), s...)
}

func fits(id ID, masterKey string) bool { return len(id.Scope) <= maxText && len(masterKey) <= maxText }

// digestOf is of a wrapped key and the name of what wraps it.
func digestOf(w kms.Wrapped) [digestBytes]byte {
	h := sha256.New()
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(w.MasterKey))))
	h.Write([]byte(w.MasterKey))
	h.Write(w.Bytes)
	return [digestBytes]byte(h.Sum(nil))
}

func (b *book) encode() []byte {
	data := append([]byte(magic), fileFormat)
	data = append(data, b.salt[:]...)
	data = append(data, b.check[:]...)
	data = appendText(data, b.region)
	data = appendText(data, b.incarnation)
	data = binary.BigEndian.AppendUint32(data, uint32(len(b.entries)))
	ids := make([]ID, 0, len(b.entries))
	for id := range b.entries {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, compare)
	for _, id := range ids {
		e := b.entries[id]
		data = appendAbout(data, id, &e)
		data = append(data, e.sealed[:]...)
	}
	return append(data, b.aead.Seal(nil, nil, nil, data)...)
}

func compare(a, b ID) int {
	return cmp.Or(cmp.Compare(a.Scope, b.Scope), cmp.Compare(a.Generation, b.Generation))
}

// read returns the book in the file; nil if there is none.
func (c *Cache) read() (*book, error) {
	f, err := os.Open(c.opts.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, c.unreadable(err)
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, c.unreadable(err)
	}
	if !begins(data) {
		return nil, foreign(c.opts.Path)
	}
	b, err := decode(data)
	switch {
	case errors.Is(err, errFormat):
		return nil, secret.Wrap(secret.CodeUnknownFormat, err, c.opts.Path).WithHint("upgrade this process")
	case err != nil:
		return nil, c.tampered(err.Error())
	case b.region != string(c.opts.Region):
		return nil, c.tampered("it is of another region")
	}
	check, err := b.unlock(c.secret)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(check[:], b.check[:]) != 1 {
		return nil, c.otherKey()
	}
	body, tail := data[:len(data)-tailBytes], data[len(data)-tailBytes:]
	if _, err := b.aead.Open(nil, nil, tail, body); err != nil {
		return nil, c.tampered("it was changed")
	}
	return b, nil
}

// decode reads a file without any key, so that nothing of it is proven.
func decode(data []byte) (*book, error) {
	r := reader{rest: data}
	if !bytes.Equal(r.take(len(magic)), []byte(magic)) || len(data) > maxFileBytes {
		return nil, errCutOff
	}
	if format := r.take(1); len(format) == 1 && format[0] != fileFormat {
		return nil, errFormat
	}
	b := &book{entries: map[ID]entry{}}
	copy(b.salt[:], r.take(saltBytes))
	copy(b.check[:], r.take(checkBytes))
	b.region, b.incarnation = r.text(), r.text()
	n := int(r.uint32())
	if n > MaxEntries {
		return nil, errTooMany
	}
	last := ID{}
	for i := 0; i < n && !r.short; i++ {
		id, e := ID{Scope: r.text(), Generation: r.uint32()}, entry{}
		copy(e.digest[:], r.take(digestBytes))
		e.masterKey, e.asked = r.text(), int64(r.uint64())
		copy(e.sealed[:], r.take(sealedBytes))
		if i > 0 && compare(last, id) >= 0 {
			return nil, errTooMany
		}
		b.entries[id], last = e, id
	}
	if r.short || len(r.rest) != tailBytes {
		return nil, errCutOff
	}
	return b, nil
}

// reader takes from the front, and zeros once there is not enough.
type reader struct {
	rest  []byte
	short bool
}

func (r *reader) take(n int) []byte {
	if r.short || n > len(r.rest) {
		r.short = true
		return nil
	}
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken
}

func (r *reader) uint32() uint32 {
	var b [4]byte
	copy(b[:], r.take(4))
	return binary.BigEndian.Uint32(b[:])
}

func (r *reader) uint64() uint64 {
	var b [8]byte
	copy(b[:], r.take(8))
	return binary.BigEndian.Uint64(b[:])
}

func (r *reader) text() string {
	var b [2]byte
	copy(b[:], r.take(2))
	n := int(binary.BigEndian.Uint16(b[:]))
	if n > maxText {
		r.short = true
	}
	return string(r.take(n))
}

// begins reports whether a file may be a cache, or the beginning of one.
func begins(data []byte) bool {
	n := min(len(data), len(magic))
	return string(data[:n]) == magic[:n]
}

// isCache reports it of the file with that name.
func isCache(name string) (bool, error) {
	f, err := os.Open(name)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }()
	head, err := io.ReadAll(io.LimitReader(f, int64(len(magic))))
	return begins(head), err
}

// replace puts data in the place of a file at once; none removes it.
func replace(path string, data []byte) error {
	if data == nil {
		return Remove(path)
	}
	if ours, err := isCache(path); err == nil && !ours {
		return foreign(path)
	}
	if err := pki.WriteFile(path, data); err != nil {
		return err
	}
	return removeUnfinished(path)
}
