package backup

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"maps"

	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// readerBytes is how much of a file is read at once.
const readerBytes = 1 << 20

// Reader reads a backup from beginning to end. It trusts nothing in it: what
// Next returns was authenticated and can be decoded by this release. That the
// file is complete is only known when Next returns io.EOF.
type Reader struct {
	source *bufio.Reader
	frames *frameReader
	// rest is what Next has not returned of the last frame.
	rest   []byte
	last   record.Key
	region *recordpb.Region
	// dataKeys has one data key for each master key.
	dataKeys map[string]*recordpb.DataKey
	seen     Trailer
	ended    bool
}

// NewReader reads the header and has the key service unwrap the file's key.
// Errors: secret.CodeCorrupt for what is damaged or no backup,
// CodeUnknownFormat for one of a newer release, CodeTampered for a header that
// was changed, CodeWrongKey if the key service lacks the master key.
func NewReader(ctx context.Context, r io.Reader, keys kms.Wrapper) (*Reader, error) {
	source := bufio.NewReaderSize(r, readerBytes)
	frames, err := newFrameReader(ctx, source, keys)
	if err != nil {
		return nil, err
	}
	return &Reader{source: source, frames: frames}, nil
}

// Header returns the file's header.
func (r *Reader) Header() Header { return r.frames.header }

// Region returns the region's record once Next has returned io.EOF.
func (r *Reader) Region() *recordpb.Region { return r.region }

// Summary returns what was read so far; after io.EOF that is the whole file.
func (r *Reader) Summary() Summary {
	s := Summary{Header: r.frames.header, Trailer: r.seen}
	s.Kinds, s.MasterKeys = maps.Clone(s.Kinds), maps.Clone(s.MasterKeys)
	return s
}

// Next returns the next record, whose value may be kept, or io.EOF after the
// last one of a complete file. Its revision is 0. Errors: secret.CodeCorrupt,
// CodeTampered, CodeUnknownFormat, and CodeUnavailable if the file cannot be
// read.
func (r *Reader) Next() (record.Stored, error) {
	for len(r.rest) == 0 {
		if r.ended {
			return record.Stored{}, io.EOF
		}
		kind, content, err := r.frames.read()
		if err != nil {
			return record.Stored{}, err
		}
		if kind == trailerFrame {
			if err := r.end(content); err != nil {
				return record.Stored{}, err
			}
			continue
		}
		if len(content) == 0 {
			return record.Stored{}, malformed("it has an empty frame")
		}
		r.rest = content
	}
	stored, rest, err := parse(r.rest)
	if err != nil {
		return record.Stored{}, err
	}
	r.rest = rest
	return stored, r.accept(&stored)
}

func malformed(what string) error {
	return secret.Errorf(secret.CodeCorrupt, "the backup is malformed: %s", what)
}

// parse splits the first record off.
func parse(b []byte) (stored record.Stored, rest []byte, err error) {
	key, b, ok := part(b)
	if !ok {
		return stored, nil, malformed("a record is cut off")
	}
	value, b, ok := part(b)
	if !ok {
		return stored, nil, malformed("a record is cut off")
	}
	return record.Stored{Key: record.Key(key), Value: value}, b, nil
}

// part splits off what is preceded by its length.
func part(b []byte) (content, rest []byte, ok bool) {
	length, n := binary.Uvarint(b)
	if n <= 0 || length > uint64(len(b)-n) {
		return nil, nil, false
	}
	end := n + int(length) //nolint:gosec // at most len(b)
	return b[n:end:end], b[end:], true
}

// accept checks a record for itself and against the one before it.
func (r *Reader) accept(stored *record.Stored) error {
	switch {
	case stored.Key <= r.last:
		return malformed("its records are not in the order of their keys")
	case leftOut(stored.Key):
		return malformed("it holds a record of a kind that backups leave out")
	}
	r.last = stored.Key
	if err := record.Check(stored.Key, stored.Value); err != nil {
		return secret.Wrap(secret.CodeOf(err), err, "record "+string(stored.Key))
	}
	r.seen.count(stored)
	switch {
	case stored.Key.HasPrefix(record.DataKeyPrefix):
		return r.noteDataKey(stored)
	case stored.Key == record.RegionKey:
		return r.noteRegion(stored)
	}
	return nil
}

func (r *Reader) noteDataKey(stored *record.Stored) error {
	key, err := record.DataKeys.Decode(stored.Value)
	if err != nil {
		return err
	}
	if r.dataKeys == nil {
		r.dataKeys = make(map[string]*recordpb.DataKey)
	}
	if r.dataKeys[key.GetMasterKey()] == nil {
		r.dataKeys[key.GetMasterKey()] = key
	}
	return nil
}

func (r *Reader) noteRegion(stored *record.Stored) error {
	region, err := record.Regions.Decode(stored.Value)
	if err != nil {
		return err
	}
	h := &r.frames.header
	if region.GetName() != string(h.Region) || region.GetIncarnation() != string(h.Incarnation) || region.GetRestoreEpoch() != h.RestoreEpoch {
		return malformed("its header speaks of another region than its records")
	}
	r.region = region
	return nil
}

// end compares what was read with the trailer.
func (r *Reader) end(text []byte) error {
	var t Trailer
	if err := decodeStrictly(text, &t); err != nil {
		return err
	}
	switch _, err := r.source.ReadByte(); {
	case err == nil:
		return malformed("something follows its end")
	case !errors.Is(err, io.EOF):
		return cutOff(err)
	case t.Records != r.seen.Records, t.ContentBytes != r.seen.ContentBytes, !maps.Equal(t.Kinds, r.seen.Kinds),
		!maps.Equal(t.MasterKeys, r.seen.MasterKeys):
		return malformed("its trailer counts other records than it holds")
	case r.region == nil:
		return malformed("it lacks the region's record")
	}
	r.ended = true
	return nil
}

// Verify reads a whole backup: every frame is authenticated and every record
// decoded, which shows that this release can restore it. Errors: those of
// NewReader and Next, and of ctx as secret.CodeUnavailable.
func Verify(ctx context.Context, r io.Reader, keys kms.Wrapper, progress func(Progress)) (Summary, error) {
	reader, err := verified(ctx, r, keys, progress)
	if err != nil {
		return Summary{}, err
	}
	return reader.Summary(), nil
}

// verified returns a reader that has reached the end.
func verified(ctx context.Context, r io.Reader, keys kms.Wrapper, progress func(Progress)) (*Reader, error) {
	reader, err := NewReader(ctx, r, keys)
	if err != nil {
		return nil, err
	}
	for n := int64(0); ; n++ {
		if n%pageRecords == 0 {
			if err := ctx.Err(); err != nil {
				return nil, secret.Wrap(secret.CodeUnavailable, err, "the backup was not read to its end")
			}
			if progress != nil {
				progress(Progress{Step: Verifying, Records: n})
			}
		}
		if _, err := reader.Next(); errors.Is(err, io.EOF) {
			return reader, nil
		} else if err != nil {
			return nil, err
		}
	}
}
