package backup

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Source is a shard that can be read as of one revision: a store, or the copy of
// one.
type Source interface {
	// Revision returns the latest revision.
	Revision(ctx context.Context) (int64, error)
	// PageAt reads up to limit records of start <= key < end as of a revision; an
	// empty end is the end of the shard. An error that wraps record.ErrCompacted
	// says that the revision is no longer kept.
	PageAt(ctx context.Context, start, end record.Key, limit int, revision int64) (record.Page, error)
}

// pageRecords is how many records are read at once: a few hundred KB, and at
// most 40 MB.
const pageRecords = 512

// WriteOptions of a backup. Source and Keys are required.
type WriteOptions struct {
	Source Source
	// Keys wraps the key of the file.
	Keys kms.Wrapper
	// Release is written into the header.
	Release string
	Now     func() time.Time
	// Progress, if set, is called now and then.
	Progress func(Progress)
	// Expected is how many records there will be, about, for Progress.
	Expected int64
}

// Summary is what a backup holds.
type Summary struct {
	Header
	Trailer
}

// Trailer is what the end of the file says of what came before it.
type Trailer struct {
	Records int64 `json:"records"`
	// Kinds counts the records by kind, such as "secret".
	Kinds map[string]int64 `json:"kinds"`
	// ContentBytes is the size of all keys and values.
	ContentBytes int64 `json:"contentBytes"`
	// MasterKeys counts what is wrapped, data keys and the region's check, by the
	// master key.
	MasterKeys map[string]int64 `json:"masterKeys,omitempty"`
}

// NeedsMasterKeys returns the IDs of the master keys that a restore needs, sorted.
func (s *Summary) NeedsMasterKeys() []string {
	needed := maps.Clone(s.MasterKeys)
	if needed == nil {
		needed = make(map[string]int64)
	}
	needed[s.MasterKey]++
	return slices.Sorted(maps.Keys(needed))
}

func (t *Trailer) count(r *record.Stored) {
	kind, _, _ := strings.Cut(string(r.Key), "/")
	if t.Kinds == nil {
		t.Kinds = make(map[string]int64)
	}
	t.Kinds[kind]++
	t.Records++
	t.ContentBytes += int64(len(r.Key) + len(r.Value))
	masterKey := ""
	switch { // one that cannot be decoded is found when the file is verified
	case r.Key.HasPrefix(record.DataKeyPrefix):
		if key, err := record.DataKeys.Decode(r.Value); err == nil {
			masterKey = key.GetMasterKey()
		}
	case r.Key == record.RegionKey:
		if region, err := record.Regions.Decode(r.Value); err == nil {
			masterKey = region.GetMasterKey()
		}
	}
	if masterKey != "" {
		if t.MasterKeys == nil {
			t.MasterKeys = make(map[string]int64)
		}
		t.MasterKeys[masterKey]++
	}
}

// Write writes a backup of the shard, as of the latest revision, to w. It needs
// memory for a page of records, however many there are. Errors:
// secret.CodeUnavailable if the region is not initialised, or wrapping
// record.ErrCompacted if the store dropped that revision meanwhile (then the
// whole may be tried again; see store.compaction_keep); those of the key service;
// those of w as CodeUnavailable.
func Write(ctx context.Context, w io.Writer, o WriteOptions) (Summary, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	revision, err := o.Source.Revision(ctx)
	if err != nil {
		return Summary{}, err
	}
	h, err := o.header(ctx, revision)
	if err != nil {
		return Summary{}, err
	}
	frames, err := newFrameWriter(ctx, w, o.Keys, &h)
	if err != nil {
		return Summary{}, err
	}
	b := &writer{options: o, frames: frames}
	if err := b.all(ctx, revision); err != nil {
		return Summary{}, err
	}
	return Summary{Header: h, Trailer: b.trailer}, nil
}

// header describes the life of the region at the revision.
func (o *WriteOptions) header(ctx context.Context, revision int64) (Header, error) {
	page, err := o.Source.PageAt(ctx, record.RegionKey, record.RegionKey+"\x00", 1, revision)
	if err != nil {
		return Header{}, overtaken(err)
	}
	if len(page.Records) == 0 {
		return Header{}, secret.Errorf(secret.CodeUnavailable, "the region is not initialized: there is nothing to back up")
	}
	region, err := record.Regions.Decode(page.Records[0].Value)
	if err != nil {
		return Header{}, err
	}
	now := o.Now().UTC()
	return Header{
		ID: ulid.MustNewDefault(now).String(), Region: secret.RegionName(region.GetName()),
		Incarnation: secret.Incarnation(region.GetIncarnation()), RestoreEpoch: region.GetRestoreEpoch(),
		Revision: revision, CreatedAt: now, Release: o.Release,
	}, nil
}

func overtaken(err error) error {
	if !errors.Is(err, record.ErrCompacted) {
		return err
	}
	return secret.Wrap(secret.CodeUnavailable, err, "the store dropped the revision that the backup reads before it was done").
		WithHint("try again; if it happens again, raise store.compaction_keep above the time that a backup takes")
}

// writer is one backup being written.
type writer struct {
	options WriteOptions
	frames  *frameWriter
	buffer  []byte
	trailer Trailer
}

func (b *writer) all(ctx context.Context, revision int64) error {
	read := func(start, end record.Key, limit int) (record.Page, error) {
		page, err := b.options.Source.PageAt(ctx, start, end, limit, revision)
		return page, overtaken(err)
	}
	err := walk(pageRecords, read, func(records []record.Stored) error {
		for i := range records {
			if err := b.add(&records[i]); err != nil {
				return err
			}
		}
		if b.options.Progress != nil {
			b.options.Progress(Progress{Step: Writing, Records: b.trailer.Records, Of: b.options.Expected})
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := b.flush(); err != nil {
		return err
	}
	text, err := json.Marshal(b.trailer)
	if err != nil {
		return secret.Wrap(secret.CodeInternal, err, "cannot encode the trailer of the backup")
	}
	return b.frames.write(trailerFrame, text)
}

func (b *writer) add(r *record.Stored) error {
	if leftOut(r.Key) {
		return nil
	}
	b.buffer = binary.AppendUvarint(b.buffer, uint64(len(r.Key)))
	b.buffer = append(b.buffer, r.Key...)
	b.buffer = binary.AppendUvarint(b.buffer, uint64(len(r.Value)))
	b.buffer = append(b.buffer, r.Value...)
	b.trailer.count(r)
	if len(b.buffer) < frameBytes {
		return nil
	}
	return b.flush()
}

func (b *writer) flush() error {
	if len(b.buffer) == 0 {
		return nil
	}
	err := b.frames.write(recordsFrame, b.buffer)
	b.buffer = b.buffer[:0]
	return err
}
