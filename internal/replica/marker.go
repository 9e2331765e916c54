package replica

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// A mark says what the process is applying. It is what remains of a crash.
type mark struct {
	phase phase
	// key and revision are of the record being applied; the key is empty while
	// a batch of several is being committed.
	key      record.Key
	revision int64
	// through is the last revision of the batch; the page key is where the page
	// being merged begins, if it is a page.
	through int64
	page    record.Key
}

type phase byte

const (
	idle phase = iota
	applyingBatch
	applyingPage
)

const (
	markFormat = 1
	// A mark: checksum 4, format 1, phase 1, revision 8, through 8, lengths of
	// key and page 2 + 2, then the two.
	markHeader = 26
	maxMark    = markHeader + 2*math.MaxUint16
)

// mappedMark is as long as any mark of the keys that there are, and one page.
const mappedMark = 4 << 10

// marker is the side file that holds the mark. It is written before each record
// is applied, without fsync: what matters is that it outlives the process, and the
// page cache does. Its beginning is mapped, since a system call for each record
// would be a sixth of what applying one costs. A crash of the machine may lose the
// mark, which costs one more crash before a poison pill is recognised.
type marker struct {
	file *os.File
	// mapped is the beginning of the file, nil if it cannot be mapped.
	mapped []byte
	buf    []byte
	idle   bool
}

// openMarker opens or creates the side file and returns the mark it holds.
func openMarker(path string) (*marker, mark, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, mark{}, err
	}
	b := make([]byte, maxMark)
	n, _ := f.ReadAt(b, 0) // short or unreadable: no usable mark
	last, err := decodeMark(b[:n])
	if err != nil {
		last = mark{}
	}
	m := &marker{file: f, buf: make([]byte, 0, 512)}
	if room := mappedMark - n; room > 0 {
		// Without room on the disk for the whole page a write to memory would fault.
		if _, err := f.WriteAt(make([]byte, room), int64(n)); err != nil {
			return m, last, nil //nolint:nilerr // it is written to like any file
		}
	}
	m.mapped, _ = unix.Mmap(int(f.Fd()), 0, mappedMark, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	return m, last, nil
}

// set writes the mark.
func (m *marker) set(k mark) error {
	if k.phase == idle && m.idle {
		return nil
	}
	m.buf = appendMark(m.buf[:0], k)
	if err := m.write(); err != nil {
		return secret.Wrap(secret.CodeUnavailable, err, "cannot write the mark of what is being applied")
	}
	m.idle = k.phase == idle
	return nil
}

func (m *marker) write() (err error) {
	if len(m.buf) > len(m.mapped) {
		_, err = m.file.WriteAt(m.buf, 0)
		return err
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p) // the page could not be read back from the disk
		}
	}()
	copy(m.mapped, m.buf)
	return nil
}

func (m *marker) close() error {
	if m.mapped != nil {
		_ = unix.Munmap(m.mapped) // it fails only for what is not mapped
		m.mapped = nil
	}
	return m.file.Close()
}

func appendMark(b []byte, k mark) []byte {
	b = append(b, 0, 0, 0, 0, markFormat, byte(k.phase))
	b = binary.BigEndian.AppendUint64(b, uint64(k.revision))
	b = binary.BigEndian.AppendUint64(b, uint64(k.through))
	b = binary.BigEndian.AppendUint16(b, uint16(len(k.key)))
	b = binary.BigEndian.AppendUint16(b, uint16(len(k.page)))
	b = append(b, k.key...)
	b = append(b, k.page...)
	binary.BigEndian.PutUint32(b, crc32.Checksum(b[4:], castagnoli))
	return b
}

// decodeMark parses a mark; what follows it is left from longer ones.
func decodeMark(b []byte) (mark, error) {
	if len(b) < markHeader || b[4] != markFormat || phase(b[5]) > applyingPage {
		return mark{}, errMark
	}
	keyEnd := markHeader + int(binary.BigEndian.Uint16(b[22:]))
	pageEnd := keyEnd + int(binary.BigEndian.Uint16(b[24:]))
	if len(b) < pageEnd || binary.BigEndian.Uint32(b) != crc32.Checksum(b[4:pageEnd], castagnoli) {
		return mark{}, errMark
	}
	return mark{
		phase:    phase(b[5]),
		revision: int64(binary.BigEndian.Uint64(b[6:])),
		through:  int64(binary.BigEndian.Uint64(b[14:])),
		key:      record.Key(b[markHeader:keyEnd]),
		page:     record.Key(b[keyEnd:pageEnd]),
	}, nil
}

var errMark = secret.Errorf(secret.CodeCorrupt, "the mark of what is being applied cannot be read")
