package backup

import (
	"context"

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
