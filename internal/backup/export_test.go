package backup

import (
	"context"
	"io"
	"maps"
	"slices"

	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
)

// File is what a backup is written to.
type File = file

// Parse splits the first record of a frame's content off.
func Parse(b []byte) (record.Stored, []byte, error) { return parse(b) }

// WriteFileTo is WriteFile into a file that create makes.
func WriteFileTo(ctx context.Context, path string, o WriteOptions, create func(dir, pattern string) (File, error)) (Summary, error) {
	return writeFile(ctx, path, o, create)
}

// LeftOut says which records are not in a backup.
var LeftOut = leftOut

// CreateTemp makes the file that WriteFile writes.
var CreateTemp = createTemp

// Walk visits all records page by page.
var Walk = walk

// Forge writes a file whose frames are authentic, whatever is in them.
func Forge(ctx context.Context, w io.Writer, keys kms.Wrapper, h Header, frames map[byte][]byte) error {
	f, err := newFrameWriter(ctx, w, keys, &h)
	if err != nil {
		return err
	}
	for _, kind := range slices.Sorted(maps.Keys(frames)) {
		if err := f.write(kind, frames[kind]); err != nil {
			return err
		}
	}
	return nil
}
