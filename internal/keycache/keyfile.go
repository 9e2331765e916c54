package keycache

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Limits of a key file, in bytes.
const (
	minKeyFile = 32
	maxKeyFile = 4096
)

// readKeyFile returns the whole content, which is not text.
func readKeyFile(path, dataDir string) ([]byte, error) {
	if err := outside(path, dataDir); err != nil {
		return nil, keyFileError(path, err)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, keyFileError(path, err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, keyFileError(path, err)
	case !info.Mode().IsRegular():
		return nil, keyFileError(path, errors.New("is not a regular file"))
	case info.Mode().Perm()&0o077 != 0:
		return nil, keyFileError(path, fmt.Errorf("is open to others: it has mode %04o, needs 0600 or 0400", info.Mode().Perm()))
	}
	content, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err == nil && (len(content) < minKeyFile || len(content) > maxKeyFile) {
		err = fmt.Errorf("has %d bytes; allowed are %d to %d, all random", len(content), minKeyFile, maxKeyFile)
	}
	if err != nil {
		clear(content)
		return nil, keyFileError(path, err)
	}
	return content, nil
}

// outside refuses a key file beside the cache, also by way of a symbolic link.
func outside(path, dataDir string) error {
	file, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	dir, err := filepath.EvalSymlinks(dataDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // nothing is in it
	}
	if err != nil {
		return err
	}
	if below, err := filepath.Rel(dir, file); err == nil && below != ".." && !strings.HasPrefix(below, ".."+string(filepath.Separator)) {
		return errors.New("is inside process.data_dir; whoever copies that would have both")
	}
	return nil
}

func keyFileError(path string, err error) error {
	e := secret.Wrap(secret.CodeInvalid, fmt.Errorf("%w: %w", ErrKeyFile, err), path)
	e.Field = "kms.sealed_cache.key_file"
	return e
}
