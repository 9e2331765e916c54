package backup_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/backup"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func clock() time.Time { return time.Unix(1_800_000_000, 0) }

// FuzzReader reads files that were made by changing real ones.
func FuzzReader(f *testing.F) {
	k := newKeys(f)
	data := write(f, newRegion(f, k, 50), k)
	f.Add(data)
	f.Add(data[:100])
	f.Add(data[:len(data)-1])
	f.Add([]byte("lifeboat backup\x01\x00\x00\x00\x02{}\x00\x00\x00\x00"))
	f.Add([]byte("lifeboat backup\x02"))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, changed []byte) {
		r, err := backup.NewReader(t.Context(), bytes.NewReader(changed), k)
		for err == nil {
			_, err = r.Next()
		}
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !bytes.Equal(changed, data) {
			t.Fatal("a changed file was read to its end")
		}
		if err != nil && !errors.Is(err, io.EOF) && secret.HasCode(err, secret.CodeInternal) {
			t.Fatal(err)
		}
	})
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
