package file

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Causes of errors about the key file, for errors.Is.
var (
	// ErrNoFile means that there is no key file at the path.
	ErrNoFile = errors.New("no key file")
	// ErrPermissions means that others than its owner may read or write the file.
	ErrPermissions = errors.New("key file is open to others")
	// ErrExists means that Create found a key file.
	ErrExists = errors.New("key file exists")
	// ErrBusy means that another change of the key file is under way or was
	// interrupted.
	ErrBusy = errors.New("key file is being changed")
)

const (
	fileFormat   = 1
	keyBytes     = 32
	maxFileBytes = 1 << 20
	notice       = "Master keys of Lifeboat. Whoever reads this file can read every secret; without it none can be read. Keep a copy in a safe place."
)

// keyFile is the content of a key file.
type keyFile struct {
	Format int    `json:"format"`
	Notice string `json:"notice"`
	Active string `json:"active"`
	// Named are the active keys of names.
	Named map[string]string `json:"named,omitempty"`
	Keys  []masterKey       `json:"keys"`
}

// actives are the active keys by name; the one without a name is Active.
func (f *keyFile) actives() map[string]string {
	all := map[string]string{"": f.Active}
	maps.Copy(all, f.Named)
	return all
}

type masterKey struct {
	ID        string    `json:"id"`
	Key       []byte    `json:"key"`
	CreatedAt time.Time `json:"created_at"`
}

func (f *keyFile) wipe() {
	for _, k := range f.Keys {
		clear(k.Key)
	}
}

// Create makes a key file, mode 0600, with one master key and returns the key's
// ID. It never overwrites: a file at path is an error (ErrExists,
// secret.CodeExists). When it returns nil the file is durable.
func Create(path string) (string, error) {
	f := &keyFile{Format: fileFormat, Notice: notice}
	defer f.wipe()
	f.add("")
	temp, err := stage(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = os.Remove(temp.Name()) }()
	if err := write(temp, f); err != nil {
		return "", err
	}
	// A link, unlike a rename, does not replace what is there.
	if err := os.Link(temp.Name(), path); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return "", secret.Wrap(secret.CodeExists, ErrExists, fmt.Sprintf("key file %s is there already", path)).
				WithHint("use it, or name another path; it is never overwritten")
		}
		return "", ioError("cannot create key file", err)
	}
	return f.Active, syncDir(path)
}

// AddKey adds a master key to the file, makes it the active one of a name (1 to
// 128 letters, digits and any of _.- ; empty means that of vaults which name none)
// and returns its ID. The other keys stay, to unwrap. The file is replaced atomically and is
// durable when AddKey returns nil. Of two concurrent calls one returns ErrBusy
// (secret.CodeUnavailable).
func AddKey(path, name string) (string, error) {
	if name != "" {
		if err := secret.CheckContainerName("name", name); err != nil {
			return "", err
		}
	}
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", openError(path, err)
	}
	path = target // else the rename would replace the link
	// The staged file is the lock, so it comes before reading.
	temp, err := stage(path)
	if err != nil {
		return "", err
	}
	f, err := read(path)
	added := ""
	if err == nil {
		defer f.wipe()
		added = f.add(name)
		err = write(temp, f)
	}
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		_ = temp.Close()
		_ = os.Remove(temp.Name())
		return "", ioError("cannot add a master key", err)
	}
	return added, syncDir(path)
}

// add returns the ID of the new key.
func (f *keyFile) add(name string) string {
	k := masterKey{Key: make([]byte, keyBytes), CreatedAt: time.Now().UTC().Truncate(time.Second)}
	_, _ = rand.Read(k.Key) // never fails
	k.ID = keyID(k.Key)
	f.Keys = append(f.Keys, k)
	if name == "" {
		f.Active = k.ID
		return k.ID
	}
	if f.Named == nil {
		f.Named = make(map[string]string)
	}
	f.Named[name] = k.ID
	return k.ID
}

// keyID derives the ID of a master key from it, so that the same ID always means
// the same key and a damaged key is noticed when the file is read.
func keyID(key []byte) string {
	m := hmac.New(sha256.New, key)
	m.Write([]byte("lifeboat master key id"))
	return "file-" + hex.EncodeToString(m.Sum(nil)[:8])
}

// stage makes the file that will replace the one at path. It also serves as the
// lock between processes.
func stage(path string) (*os.File, error) {
	temp, err := os.OpenFile(path+".new", os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, secret.Wrap(secret.CodeUnavailable, ErrBusy, fmt.Sprintf("key file %s is being changed by another process", path)).
			WithHint(fmt.Sprintf("if no such process runs, one was interrupted: remove %s.new, nothing uses it", path))
	}
	if err != nil {
		return nil, ioError("cannot write key file", err)
	}
	return temp, nil
}

// write fills the staged file, makes it durable and closes it.
func write(temp *os.File, f *keyFile) error {
	content, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return ioError("cannot encode key file", errors.Join(err, temp.Close()))
	}
	defer clear(content)
	_, err = temp.Write(append(content, '\n'))
	if err == nil {
		err = temp.Sync()
	}
	if err = errors.Join(err, temp.Close()); err != nil {
		return ioError("cannot write key file", err)
	}
	return nil
}

func syncDir(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return ioError("cannot make key file durable", err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return ioError("cannot make key file durable", err)
	}
	return nil
}

// read reads and checks the key file. The caller wipes the result.
func read(path string) (*keyFile, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, openError(path, err)
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return nil, openError(path, err)
	}
	if err := checkInfo(path, info); err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.LimitReader(file, maxFileBytes))
	if err != nil {
		return nil, openError(path, err)
	}
	defer clear(content)
	f, err := decode(content)
	if err != nil {
		return nil, secret.Wrap(secret.CodeOf(err), err, "key file "+path).
			WithHint("restore the key file from its safe copy; do not make a new one, it would open nothing")
	}
	return f, nil
}

func checkInfo(path string, info fs.FileInfo) error {
	switch mode := info.Mode(); {
	case !mode.IsRegular():
		return secret.Errorf(secret.CodeKeyUnavailable, "key file %s is not a regular file", path).
			WithHint("name the file itself")
	case mode.Perm()&0o077 != 0:
		return secret.Wrap(secret.CodeKeyUnavailable, ErrPermissions, fmt.Sprintf("key file %s has mode %04o", path, mode.Perm())).
			WithHint("chmod 600 " + path)
	case info.Size() >= maxFileBytes:
		return secret.Errorf(secret.CodeCorrupt, "key file %s has %d bytes, more than %d", path, info.Size(), maxFileBytes-1).
			WithHint("is this the key file?")
	}
	return nil
}

func openError(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return secret.Wrap(secret.CodeKeyUnavailable, fmt.Errorf("%w: %w", ErrNoFile, err), fmt.Sprintf("there is no key file %s", path)).
			WithHint("restore it if this region was initialised with one; only initialisation makes a new one")
	}
	return ioError("cannot read key file", err)
}

func ioError(message string, err error) error {
	if _, ok := errors.AsType[*secret.Error](err); ok {
		return err
	}
	return secret.Wrap(secret.CodeKeyUnavailable, err, message)
}

// decode parses the content of a key file. Its errors quote no content. The
// caller wipes the result.
func decode(content []byte) (*keyFile, error) {
	var header struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(content, &header); err != nil {
		return nil, secret.Errorf(secret.CodeCorrupt, "is not a JSON object with a format")
	}
	if header.Format > fileFormat {
		return nil, secret.Errorf(secret.CodeUnknownFormat, "has format %d, this release reads %d", header.Format, fileFormat)
	}
	f := new(keyFile)
	d := json.NewDecoder(bytes.NewReader(content))
	d.DisallowUnknownFields()
	if err := d.Decode(f); err != nil {
		f.wipe()
		return nil, secret.Errorf(secret.CodeCorrupt, "does not have the fields of a key file")
	}
	if err := f.check(); err != nil {
		f.wipe()
		return nil, err
	}
	return f, nil
}

func (f *keyFile) check() error {
	if f.Format != fileFormat {
		return secret.Errorf(secret.CodeCorrupt, "has format %d", f.Format)
	}
	seen := make(map[string]bool, len(f.Keys))
	for i, k := range f.Keys {
		switch {
		case len(k.Key) != keyBytes:
			return secret.Errorf(secret.CodeCorrupt, "key %d of the file has %d bytes, not %d", i, len(k.Key), keyBytes)
		case k.ID != keyID(k.Key):
			return secret.Errorf(secret.CodeCorrupt, "key %q of the file does not match its ID: it is damaged", k.ID)
		case seen[k.ID]:
			return secret.Errorf(secret.CodeCorrupt, "key %q is in the file twice", k.ID)
		}
		seen[k.ID] = true
	}
	for name, id := range f.actives() {
		if !seen[id] {
			return secret.Errorf(secret.CodeCorrupt, "has no key with the ID %q, the active one of the name %q", id, name)
		}
	}
	return nil
}
