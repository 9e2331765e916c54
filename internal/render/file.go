package render

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Write makes path hold the content with the mode, and reports whether that changed
// anything. The file is replaced whole: who opens it finds the old content or the
// new one, also after a loss of power. It is never readable to more than mode says,
// and only a regular file is replaced.
func Write(path string, content secret.Plaintext, mode fs.FileMode) (changed bool, err error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return false, err
	case !info.Mode().IsRegular():
		return false, fmt.Errorf("%s is not a regular file", path)
	default:
		old, err := os.ReadFile(path) //nolint:gosec // the caller's own file
		if err == nil && info.Mode().Perm() == mode && bytes.Equal(old, content.Reveal()) {
			return false, nil
		}
	}
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".") // mode 0600
	if err != nil {
		return false, err
	}
	_, err = f.Write(content.Reveal())
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return false, errors.Join(err, os.Remove(f.Name()))
	}
	return true, syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // the caller's own directory
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
