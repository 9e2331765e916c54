package backup

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// WriteFile writes a backup to a new file that only its owner may read. What is
// there under that name afterwards is complete, on the disk, and was verified by
// reading it back: until then it has another name, and if anything fails nothing
// is left. A name that is taken is secret.CodeExists. Other errors: those of
// Write and Verify.
func WriteFile(ctx context.Context, path string, o WriteOptions) (Summary, error) {
	return writeFile(ctx, path, o, createTemp)
}

// file is what is written: *os.File, or one that fails in a test.
type file interface {
	io.ReadWriteSeeker
	Name() string
	Sync() error
	Close() error
}

func createTemp(dir, pattern string) (file, error) { return os.CreateTemp(dir, pattern) }

func writeFile(ctx context.Context, path string, o WriteOptions, create func(dir, pattern string) (file, error)) (_ Summary, err error) {
	if err := mustNotExist(path); err != nil {
		return Summary{}, err
	}
	f, err := create(filepath.Dir(path), filepath.Base(path)+".partial-*")
	if err != nil {
		return Summary{}, notWritten(err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ignoring(f.Close(), fs.ErrClosed), ignoring(os.Remove(f.Name()), fs.ErrNotExist))
		}
	}()
	summary, err := writeAndVerify(ctx, f, o)
	if err != nil {
		return Summary{}, err
	}
	if err := f.Close(); err != nil {
		return Summary{}, notWritten(err)
	}
	if err := mustNotExist(path); err != nil {
		return Summary{}, err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return Summary{}, notWritten(err)
	}
	return summary, syncDir(filepath.Dir(path))
}

func ignoring(err, ignored error) error {
	if errors.Is(err, ignored) {
		return nil
	}
	return err
}

func mustNotExist(path string) error {
	switch _, err := os.Lstat(path); {
	case err == nil:
		return secret.Errorf(secret.CodeExists, "there is a file %s already", path).WithHint("a backup never replaces a file: choose another name")
	case !errors.Is(err, fs.ErrNotExist):
		return notWritten(err)
	}
	return nil
}

func writeAndVerify(ctx context.Context, f file, o WriteOptions) (Summary, error) {
	buffered := bufio.NewWriterSize(f, readerBytes)
	written, err := Write(ctx, buffered, o)
	if err != nil {
		return Summary{}, err
	}
	if err := buffered.Flush(); err != nil {
		return Summary{}, notWritten(err)
	}
	if err := f.Sync(); err != nil {
		return Summary{}, notWritten(err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return Summary{}, notWritten(err)
	}
	read, err := Verify(ctx, f, o.Keys, o.Progress)
	if err != nil {
		return Summary{}, secret.Wrap(secret.CodeOf(err), err, "the backup was written but cannot be read back, and was removed")
	}
	if read.ID != written.ID || read.Records != written.Records {
		return Summary{}, secret.Errorf(secret.CodeCorrupt, "another backup is read back than was written; it was removed")
	}
	return read, nil
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return notWritten(err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return notWritten(err)
	}
	return nil
}
