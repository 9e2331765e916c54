package file_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/file"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func wantError(t *testing.T, err, cause error, code secret.Code) {
	t.Helper()
	e, ok := errors.AsType[*secret.Error](err)
	if !ok || e.Code != code || e.Hint == "" || cause != nil && !errors.Is(err, cause) {
		t.Errorf("got %v, want %v with code %s and a hint", err, cause, code)
	}
}

func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func wantNoLeftovers(t *testing.T, path string, files int) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != files {
		t.Errorf("%d files, %v; want %d", len(entries), err, files)
	}
}

func TestCreateMakesAPrivateFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	id, err := file.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	wantNoLeftovers(t, path, 1)
	d := open(t, path).Describe()
	if want := (kms.Description{Driver: "file", ActiveKey: id, Production: false}); d != want {
		t.Errorf("Describe = %+v, want %+v", d, want)
	}
}

func TestCreateNeverOverwrites(t *testing.T) {
	path := create(t)
	before := content(t, path)
	_, err := file.Create(path)
	wantError(t, err, file.ErrExists, secret.CodeExists)
	if content(t, path) != before {
		t.Error("the key file changed")
	}
	wantNoLeftovers(t, path, 1)
}

func TestMissingFileIsNotMade(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	_, err := file.Open(path)
	wantError(t, err, file.ErrNoFile, secret.CodeKeyUnavailable)
	_, err = file.AddKey(path, "")
	wantError(t, err, file.ErrNoFile, secret.CodeKeyUnavailable)
	if !strings.Contains(err.Error(), path) {
		t.Errorf("%q does not name the file", err)
	}
	wantNoLeftovers(t, path, 0)
	if _, err := file.Create(filepath.Join(path, "in", "no", "directory")); err == nil {
		t.Error("Create made directories")
	}
}

func TestFileOpenToOthersIsRefused(t *testing.T) {
	for mode, ok := range map[os.FileMode]bool{0o600: true, 0o400: true, 0o640: false, 0o604: false, 0o620: false, 0o644: false} {
		path := create(t)
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		w, err := file.Open(path)
		if ok {
			if err != nil {
				t.Errorf("mode %v: %v", mode, err)
			} else {
				_ = w.Close()
			}
			continue
		}
		wantError(t, err, file.ErrPermissions, secret.CodeKeyUnavailable)
		_, err = file.AddKey(path, "")
		wantError(t, err, file.ErrPermissions, secret.CodeKeyUnavailable)
		wantNoLeftovers(t, path, 1)
	}
}

func TestDirectoryIsNoKeyFile(t *testing.T) {
	if _, err := file.Open(t.TempDir()); !secret.HasCode(err, secret.CodeKeyUnavailable) {
		t.Errorf("got %v", err)
	}
}

func TestAddKey(t *testing.T) {
	path := create(t)
	running := open(t, path)
	old, err := running.Wrap(t.Context(), []byte("old"), nil)
	if err != nil {
		t.Fatal(err)
	}
	id, err := file.AddKey(path, "")
	if err != nil || id == old.MasterKey {
		t.Fatalf("AddKey = %q, %v", id, err)
	}
	wantNoLeftovers(t, path, 1)
	started := open(t, path)
	if got := started.Describe().ActiveKey; got != id {
		t.Errorf("active key %q, want %q", got, id)
	}
	if got, err := started.Unwrap(t.Context(), old, nil); err != nil || string(got) != "old" {
		t.Errorf("what the old key wrapped: %v", err)
	}
	if got := running.Describe().ActiveKey; got != old.MasterKey {
		t.Errorf("the running wrapper changed to %q by itself", got)
	}
	young, err := started.Wrap(t.Context(), []byte("young"), nil)
	if err != nil || young.MasterKey != id {
		t.Fatalf("wrapped by %q, %v; want %q", young.MasterKey, err, id)
	}
	// A running process that meets the new key looks for it in the file.
	if got, err := running.Unwrap(t.Context(), young, nil); err != nil || string(got) != "young" {
		t.Errorf("what the new key wrapped, in a running process: %v", err)
	}
}

func TestAddKeyThroughALink(t *testing.T) {
	path := create(t)
	link := filepath.Join(t.TempDir(), "link.json")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	id, err := file.AddKey(link, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, link} {
		if got := open(t, p).Describe().ActiveKey; got != id {
			t.Errorf("%s: active key %q, want %q", p, got, id)
		}
	}
}

// No concurrent change may lose a master key.
func TestConcurrentAddKey(t *testing.T) {
	path := create(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var added []string
	for range 8 {
		wg.Go(func() {
			id, err := file.AddKey(path, "")
			if err != nil {
				wantError(t, err, file.ErrBusy, secret.CodeUnavailable)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			added = append(added, id)
		})
	}
	wg.Wait()
	if len(added) == 0 {
		t.Error("no key was added")
	}
	after := content(t, path)
	for _, id := range added {
		if !strings.Contains(after, id) {
			t.Errorf("key %s was lost", id)
		}
	}
	wantNoLeftovers(t, path, 1)
}

func TestInterruptedChangeIsTold(t *testing.T) {
	path := create(t)
	before := content(t, path)
	if err := os.WriteFile(path+".new", []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := file.AddKey(path, "")
	wantError(t, err, file.ErrBusy, secret.CodeUnavailable)
	if content(t, path) != before || content(t, path+".new") != "half" {
		t.Error("AddKey changed a file")
	}
	open(t, path)
}

func TestDamagedFileIsTold(t *testing.T) {
	good := content(t, create(t))
	keyAt := strings.Index(good, `"key": "`) + len(`"key": "`)
	flipped := []byte(good)
	if flipped[keyAt]++; flipped[keyAt] == 'Z'+1 {
		flipped[keyAt] = 'A'
	}
	for name, c := range map[string]struct {
		content string
		code    secret.Code
	}{
		"empty":         {"", secret.CodeCorrupt},
		"truncated":     {good[:len(good)/2], secret.CodeCorrupt},
		"trailing":      {good + "{}", secret.CodeCorrupt},
		"changed key":   {string(flipped), secret.CodeCorrupt},
		"unknown field": {strings.Replace(good, `"format"`, `"other": 1, "format"`, 1), secret.CodeCorrupt},
		"no keys":       {`{"format": 1, "active": "x", "keys": []}`, secret.CodeCorrupt},
		"no format":     {`{"active": "x", "keys": []}`, secret.CodeCorrupt},
		"newer format":  {strings.Replace(good, `"format": 1`, `"format": 2, "more": {}`, 1), secret.CodeUnknownFormat},
		"other active":  {strings.Replace(good, `"active": "file-`, `"active": "file-0`, 1), secret.CodeCorrupt},
		"too large":     {good + strings.Repeat(" ", 1<<20), secret.CodeCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "keys.json")
			if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := file.Open(path)
			wantError(t, err, nil, c.code)
			if strings.Contains(err.Error(), good[keyAt+4:keyAt+20]) {
				t.Error("the error quotes the key")
			}
		})
	}
}

// A running wrapper goes on when its file is lost; only a restart needs it.
func TestFileLostWhileRunning(t *testing.T) {
	path := create(t)
	w := open(t, path)
	foreign, err := open(t, create(t)).Wrap(t.Context(), []byte("x"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	wantError(t, w.Reload(), file.ErrNoFile, secret.CodeKeyUnavailable)
	wrapped, err := w.Wrap(t.Context(), []byte("x"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Unwrap(t.Context(), wrapped, nil); err != nil {
		t.Error(err)
	}
	_, err = w.Unwrap(t.Context(), foreign, nil)
	wantError(t, err, kms.ErrWrongKey, secret.CodeWrongKey)
	if !errors.Is(err, file.ErrNoFile) {
		t.Errorf("%v does not say that the file is lost", err)
	}
}
