package backup_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"strconv"
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/backup"
	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func clock() time.Time { return time.Unix(1_800_000_000, 0) }

// open is a key service that hides nothing, so that each process of a fuzzer
// reads what another has written.
type open struct{}

func (open) Describe() kms.Description { return kms.Description{Driver: "open", ActiveKey: "open"} }
func (open) Close() error              { return nil }
func (open) Wrap(_ context.Context, plaintext, aad []byte) (kms.Wrapped, error) {
	return kms.SealEnvelope("open", aad, plaintext), nil
}

func (o open) WrapUnder(ctx context.Context, _ string, plaintext, aad []byte) (kms.Wrapped, error) {
	return o.Wrap(ctx, plaintext, aad)
}

func (open) MasterKey(context.Context, string) (string, error) { return "open", nil }

func (open) Unwrap(_ context.Context, wrapped kms.Wrapped, aad []byte) ([]byte, error) {
	key, err := kms.OpenEnvelope(wrapped, aad)
	return bytes.Clone(key), err
}

// fewRecords is a shard of a region and a name.
type fewRecords struct{}

func (fewRecords) Revision(context.Context) (int64, error) { return 7, nil }

func (fewRecords) PageAt(_ context.Context, start, end record.Key, limit int, revision int64) (record.Page, error) {
	page := pageOf([]string{string(record.RegionKey), string(nameKey(1))}, start, end, limit)
	for i := range page.Records {
		page.Records[i].Value = record.EncodeReference("v.x")
		if page.Records[i].Key == record.RegionKey {
			page.Records[i].Value = regionRecord()
		}
	}
	page.Revision = revision
	return page, nil
}

func regionRecord() []byte {
	return record.Regions.Encode(&recordpb.Region{Name: regionName, Incarnation: "one", RestoreEpoch: 1})
}

// FuzzReader reads files that were made by changing a real one.
func FuzzReader(f *testing.F) {
	data := write(f, fewRecords{}, open{})
	f.Add(data)
	f.Add(data[:100])
	f.Add(data[:len(data)-1])
	f.Add([]byte("lifeboat backup\x01\x00\x00\x00\x02{}\x00\x00\x00\x00"))
	f.Add([]byte("lifeboat backup\x02"))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, changed []byte) { readAll(t, changed) })
}

// FuzzContent reads files whose frames are authentic but hold anything.
func FuzzContent(f *testing.F) {
	f.Add([]byte("\x06region\x01\x01"), []byte(`{"records":1,"kinds":{"region":1},"contentBytes":7}`))
	name := append(binary.AppendUvarint(nil, uint64(len(nameKey(1)))), nameKey(1)...)
	f.Add(append(name, "\x04\x01v.x"...), []byte(`{"records":1,"kinds":{"secret-name":1},"contentBytes":25}`))
	f.Add([]byte("\x05fence\x00"), []byte(`{}`))
	f.Add([]byte(nil), []byte(`{"more":1}`))
	f.Fuzz(func(t *testing.T, records, trailer []byte) {
		var b bytes.Buffer
		h := backup.Header{ID: "01J", Region: regionName, Incarnation: "one", RestoreEpoch: 1}
		must(t, backup.Forge(t.Context(), &b, open{}, h, map[byte][]byte{1: records, 2: trailer}))
		readAll(t, b.Bytes())
	})
}

// readAll reads a file to its end or a typed error.
func readAll(t *testing.T, data []byte) {
	r, err := backup.NewReader(t.Context(), bytes.NewReader(data), open{})
	n := int64(0)
	for ; err == nil; n++ {
		_, err = r.Next()
	}
	switch {
	case err == io.EOF: //nolint:errorlint // what Next returns at the end, and nothing that wraps it
		if r.Summary().Records != n-1 || r.Region() == nil {
			t.Fatalf("read %d records of %+v to the end", n-1, r.Summary())
		}
	case errors.Is(err, io.EOF), secret.HasCode(err, secret.CodeInternal):
		t.Fatal(err)
	}
}

// FuzzParse parses what a frame might hold.
func FuzzParse(f *testing.F) {
	f.Add([]byte("\x01a\x01b"))
	f.Add([]byte("\x00\x00"))
	f.Add(binary.AppendUvarint(nil, 1<<63))
	f.Add([]byte("\x01a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Fuzz(func(t *testing.T, content []byte) {
		for len(content) > 0 {
			stored, rest, err := backup.Parse(content)
			if err != nil {
				return
			}
			if len(stored.Key)+len(stored.Value)+len(rest) >= len(content) || !bytes.HasSuffix(content, rest) {
				t.Fatalf("%q, %q and %q of %q", stored.Key, stored.Value, rest, content)
			}
			content = rest
		}
	})
}

// A file is read to its end if and only if it is a whole one.
func TestForgedTrailers(t *testing.T) {
	t.Parallel()
	value := regionRecord()
	records := append([]byte("\x06region"), byte(len(value)))
	records = append(records, value...)
	h := backup.Header{ID: "01J", Region: regionName, Incarnation: "one", RestoreEpoch: 1}
	for trailer, code := range map[string]secret.Code{
		`{"records":1,"kinds":{"region":1},"contentBytes":` + strconv.Itoa(len(value)+6) + `}`: "",
		`{"records":2,"kinds":{"region":1},"contentBytes":` + strconv.Itoa(len(value)+6) + `}`: secret.CodeCorrupt,
		`{"records":1,"kinds":{"region":1},"contentBytes":1}`:                                  secret.CodeCorrupt,
		`{"records":1,"kinds":{},"contentBytes":` + strconv.Itoa(len(value)+6) + `}`:           secret.CodeCorrupt,
		`{"records":1,"future":true}`: secret.CodeUnknownFormat,
	} {
		var b bytes.Buffer
		must(t, backup.Forge(t.Context(), &b, open{}, h, map[byte][]byte{1: records, 2: []byte(trailer)}))
		_, err := backup.Verify(t.Context(), bytes.NewReader(b.Bytes()), open{}, nil)
		if got := secret.CodeOf(err); got != code {
			t.Errorf("%s: %v, want %q", trailer, err, code)
		}
	}
	var b bytes.Buffer
	h.Incarnation = "another"
	must(t, backup.Forge(t.Context(), &b, open{}, h, map[byte][]byte{1: records}))
	_, err := backup.Verify(t.Context(), &b, open{}, nil)
	wantCode(t, err, secret.CodeCorrupt)
	b.Reset()
	must(t, backup.Forge(t.Context(), &b, open{}, h, map[byte][]byte{3: nil}))
	_, err = backup.Verify(t.Context(), &b, open{}, nil)
	wantCode(t, err, secret.CodeUnknownFormat)
}
