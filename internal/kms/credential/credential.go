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
	file, err := os.Open(path)
	if err != nil {
		return nil, failed(path, err)
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return nil, failed(path, err)
	}
	if mode := info.Mode(); !mode.IsRegular() {
		return nil, failed(path, errors.New("is not a regular file"))
	} else if mode.Perm()&0o027 != 0 {
		return nil, failed(path, fmt.Errorf("%w: it has mode %04o", ErrPermissions, mode.Perm())).
			WithHint("chmod 600 " + path)
	}
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

func failed(path string, err error) *secret.Error {
	e := secret.Wrap(secret.CodeKeyUnavailable, err, "cannot use credential file "+path)
	if errors.Is(err, fs.ErrNotExist) {
		e = e.WithHint("put the credential there; the file is read again on the next use")
	}
	return e
}
