package launch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// errNoMemory says that there is no place for files that is in memory only.
var errNoMemory = errors.New("there is no directory in memory for files of secrets")

// Files is a private directory of files in memory.
type Files struct{ dir string }

// NewFiles makes a directory that only this user can open, mode 0700, below the
// first of parents that is in memory (tmpfs or ramfs). Remove it after use.
func NewFiles(parents ...string) (*Files, error) {
	for _, parent := range parents {
		if parent == "" || !inMemory(parent) {
			continue
		}
		dir, err := os.MkdirTemp(parent, "lifeboat-") // mode 0700
		if err != nil {
			continue // no right to, perhaps: the next one may do
		}
		return &Files{dir: dir}, nil
	}
	return nil, errNoMemory
}

// Dir is the path of the directory.
func (f *Files) Dir() string { return f.dir }

// Put writes the files, mode 0400. Each appears, or is replaced, whole.
func (f *Files) Put(values map[string]secret.Plaintext) error {
	for name, value := range values {
		if err := f.put(name, value); err != nil {
			return fmt.Errorf("write the file %s: %w", name, err)
		}
	}
	return nil
}

func (f *Files) put(name string, value secret.Plaintext) error {
	t, err := os.CreateTemp(f.dir, ".new-")
	if err != nil {
		return err
	}
	_, err = t.Write(value.Reveal())
	err = errors.Join(err, t.Chmod(0o400), t.Close())
	if err == nil {
		err = os.Rename(t.Name(), filepath.Join(f.dir, name))
	}
	if err != nil {
		return errors.Join(err, os.Remove(t.Name()))
	}
	return nil
}

// Remove removes the directory and all that is in it.
func (f *Files) Remove() error { return os.RemoveAll(f.dir) }
