// Package credential reads what key service drivers authenticate with (a PIN, a
// token) from files, never from arguments or the environment, which other
// processes can see.
package credential

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// MaxBytes bounds a credential. Tokens with claims inside have a few KiB.
const MaxBytes = 64 << 10

// ErrPermissions means that others may read a credential file, or that its group
// may change it.
var ErrPermissions = errors.New("credential file is open to others")

// Read returns the content of a file without the line break at its end; the
// caller wipes it. The owner's group may read the file, others may not, since
// orchestrators and agents commonly hand out files of mode 0440 or 0640. Errors,
// which never quote the content: secret.CodeKeyUnavailable.
func Read(path string) ([]byte, error) {
	file, err := open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	content, err := io.ReadAll(io.LimitReader(file, MaxBytes+1))
	if err == nil && len(content) > MaxBytes {
		err = fmt.Errorf("has more than %d bytes", MaxBytes)
	}
	if err != nil {
		clear(content)
		return nil, failed(path, err)
	}
	credential := bytes.TrimRight(content, "\r\n")
	switch {
	case len(credential) == 0:
		return nil, failed(path, errors.New("is empty"))
	case bytes.ContainsAny(credential, "\r\n\x00"):
		clear(content)
		return nil, failed(path, errors.New("has more than one line"))
	}
	return credential, nil
}

// Check returns the error that Read returns for a file that is not there or that
// the wrong people may use. It is for files that a library reads.
func Check(path string) error {
	file, err := open(path)
	if err != nil {
		return err
	}
	return file.Close()
}

func open(path string) (*os.File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, failed(path, err)
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close()
		return nil, failed(path, err)
	}
	switch mode := info.Mode(); {
	case !mode.IsRegular():
		_ = file.Close()
		return nil, failed(path, errors.New("is not a regular file"))
	case mode.Perm()&0o027 != 0:
		_ = file.Close()
		return nil, failed(path, fmt.Errorf("%w: it has mode %04o", ErrPermissions, mode.Perm())).
			WithHint("chmod 600 " + path)
	}
	return file, nil
}

func failed(path string, err error) *secret.Error {
	e := secret.Wrap(secret.CodeKeyUnavailable, err, "cannot use credential file "+path)
	if errors.Is(err, fs.ErrNotExist) {
		e = e.WithHint("put the credential there; the file is read again on the next use")
	}
	return e
}
