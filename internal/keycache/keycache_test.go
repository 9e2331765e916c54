package keycache_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lifeboat-secrets/lifeboat/internal/keycache"
	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

var at = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// world is a key file and a place for a cache.
type world struct {
	keycache.Options
	now time.Time
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{now: at}
	data := t.TempDir()
	w.Options = keycache.Options{
		Path: filepath.Join(data, "key-cache"), KeyFile: filepath.Join(t.TempDir(), "key"), DataDir: data,
		MaxAge: time.Hour, Region: "east", Now: func() time.Time { return w.now },
	}
	must(t, os.WriteFile(w.KeyFile, bytes.Repeat([]byte{7}, 32), 0o600))
	return w
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) open(t testing.TB, incarnation secret.Incarnation) *keycache.Cache {
	t.Helper()
	c, err := keycache.Open(w.Options)
	must(t, err)
	must(t, c.SetIncarnation(incarnation))
	return c
}

func id(i int) keycache.ID {
	return keycache.ID{Scope: fmt.Sprintf("scope-%05d", i/2), Generation: uint32(i % 2)}
}
func wrapped(i int) kms.Wrapped {
	return kms.Wrapped{MasterKey: fmt.Sprint("master-", i%3), Bytes: fmt.Append(nil, "wrapped ", i)}
}
func raw(i int) []byte { return fmt.Appendf(nil, "canary data key no. %012d", i) }
func (w *world) full(t testing.TB, n int) *keycache.Cache {
	t.Helper()
	c := w.open(t, "life-1")
	for i := range n {
		c.Add(c.Seal(id(i), wrapped(i), raw(i), w.now))
	}
	must(t, c.Write())
	return c
}

func finds(t testing.TB, c *keycache.Cache, i int) {
	t.Helper()
	if got, _, err := c.Find(id(i), wrapped(i)); err != nil || !bytes.Equal(got, raw(i)) {
		t.Errorf("key %d: %v", i, err)
	}
}

func lacks(t testing.TB, c *keycache.Cache, i int, want error) {
	t.Helper()
	if got, _, err := c.Find(id(i), wrapped(i)); !errors.Is(err, want) || got != nil {
		t.Errorf("key %d: %v, want %v", i, err, want)
	}
}

func TestKeysOutliveTheProcess(t *testing.T) {
	w := newWorld(t)
	w.full(t, 7)
	data, err := os.ReadFile(w.Path)
	must(t, err)
	if bytes.Contains(data, []byte("canary")) {
		t.Error("the file has a key in the clear")
	}
	if info, err := os.Stat(w.Path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	w.now = at.Add(time.Hour - 1)
	c, err := keycache.Open(w.Options)
	must(t, err)
	must(t, c.Usable())
	lacks(t, c, 1, keycache.ErrMissing) // of which life is the region?
	must(t, c.SetIncarnation(""))
	lacks(t, c, 1, keycache.ErrMissing)
	must(t, c.SetIncarnation("life-1"))
	for i := range 7 {
		finds(t, c, i)
	}
	if _, until, _ := c.Find(id(0), wrapped(0)); !until.Equal(at.Add(time.Hour)) {
		t.Errorf("until %v", until)
	}
	if _, _, err := c.Find(id(0), wrapped(1)); !errors.Is(err, keycache.ErrMissing) {
		t.Errorf("found for other wrapped bytes: %v", err)
	}
	if s := c.Status(); s.Entries != 7 || !s.Oldest.Equal(at) || s.Err != nil {
		t.Errorf("%+v", s)
	}
}

func TestOldKeysAreRefused(t *testing.T) {
	for name, now := range map[string]time.Time{"old": at.Add(time.Hour), "of the future": at.Add(-2 * time.Minute)} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.full(t, 2)
			w.now = now
			c := w.open(t, "life-1")
			lacks(t, c, 1, keycache.ErrExpired)
			if err := c.Usable(); !errors.Is(err, keycache.ErrExpired) || !errors.Is(c.Status().Err, keycache.ErrExpired) {
				t.Errorf("%v, %+v", err, c.Status())
			}
			must(t, c.Prune(func(keycache.ID) (kms.Wrapped, bool, error) { return kms.Wrapped{}, false, nil }))
			must(t, c.Write())
			if _, err := os.Stat(w.Path); !os.IsNotExist(err) {
				t.Errorf("the file is still there: %v", err)
			}
			if err := c.Usable(); !errors.Is(err, keycache.ErrExpired) {
				t.Errorf("then %v", err)
			}
			c.Add(c.Seal(id(1), wrapped(1), raw(1), w.now))
			finds(t, c, 1)
			must(t, c.Status().Err)
		})
	}
}

func TestKeysAreDropped(t *testing.T) {
	w := newWorld(t)
	c := w.full(t, 9)
	c.Refused("master-0")
	c.Drop(func(of keycache.ID) bool { return of == id(1) })
	gone := errors.New("no view")
	if err := c.Prune(func(keycache.ID) (kms.Wrapped, bool, error) { return kms.Wrapped{}, false, gone }); !errors.Is(err, gone) {
		t.Errorf("prune: %v", err)
	}
	must(t, c.Prune(func(of keycache.ID) (kms.Wrapped, bool, error) {
		switch of {
		case id(2):
			return kms.Wrapped{}, false, nil
		case id(4):
			return wrapped(5), true, nil
		}
		for i := range 9 {
			if of == id(i) {
				return wrapped(i), true, nil
			}
		}
		return kms.Wrapped{}, false, nil
	}))
	must(t, c.Write())
	c = w.open(t, "life-1")
	for i := range 9 {
		if i == 5 || i == 7 || i == 8 {
			finds(t, c, i)
		} else {
			lacks(t, c, i, keycache.ErrMissing)
		}
	}
	must(t, c.Wipe())
	if _, err := os.Stat(w.Path); !os.IsNotExist(err) || !errors.Is(c.Usable(), keycache.ErrEmpty) {
		t.Errorf("after a wipe: %v, %v", err, c.Usable())
	}
}

func TestAnotherLifeHasNone(t *testing.T) {
	w := newWorld(t)
	w.full(t, 3)
	c := w.open(t, "life-2")
	lacks(t, c, 1, keycache.ErrMissing)
	must(t, c.Write())
	if _, err := os.Stat(w.Path); !os.IsNotExist(err) {
		t.Errorf("the file of the other life is still there: %v", err)
	}
	late := c.Seal(id(1), wrapped(1), raw(1), at)
	must(t, c.SetIncarnation("life-3"))
	c.Add(late)
	lacks(t, c, 1, keycache.ErrMissing)
}

func TestFilesThatCannotBeUsed(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*world, []byte) []byte
		want   error
		code   secret.Code
	}{
		{"cut off", func(_ *world, b []byte) []byte { return b[:len(b)-1] }, keycache.ErrTampered, secret.CodeTampered},
		{"empty", func(*world, []byte) []byte { return nil }, keycache.ErrTampered, secret.CodeTampered},
		{"longer", func(_ *world, b []byte) []byte { return append(b, 0) }, keycache.ErrTampered, secret.CodeTampered},
		{"last byte", func(_ *world, b []byte) []byte { b[len(b)-1] ^= 1; return b }, keycache.ErrTampered, secret.CodeTampered},
		{"an entry", func(_ *world, b []byte) []byte { b[len(b)-60] ^= 1; return b }, keycache.ErrTampered, secret.CodeTampered},
		{"another key file", func(w *world, b []byte) []byte {
			if err := os.WriteFile(w.KeyFile, bytes.Repeat([]byte{8}, 32), 0o600); err != nil {
				panic(err)
			}
			return b
		}, keycache.ErrOtherKey, secret.CodeWrongKey},
		{"another region", func(w *world, b []byte) []byte { w.Region = "west"; return b }, keycache.ErrTampered, secret.CodeTampered},
		{"newer format", func(_ *world, b []byte) []byte { b[19] = 2; return b }, nil, secret.CodeUnknownFormat},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.full(t, 3)
			data, err := os.ReadFile(w.Path)
			must(t, err)
			must(t, os.WriteFile(w.Path, tt.change(w, data), 0o600))
			c := w.open(t, "life-1")
			err = c.Usable()
			if !secret.HasCode(err, tt.code) || tt.want != nil && !errors.Is(err, tt.want) || !errors.Is(c.Status().Err, err) {
				t.Errorf("%v; %+v", err, c.Status())
			}
			lacks(t, c, 1, keycache.ErrMissing)
			// The key service is back: the file is written anew.
			c.Add(c.Seal(id(1), wrapped(1), raw(1), at))
			must(t, c.Write())
			must(t, c.Status().Err)
			finds(t, w.open(t, "life-1"), 1)
		})
	}
}

// Whatever byte is changed, nothing is served.
func TestAnyChangeIsFound(t *testing.T) {
	w := newWorld(t)
	w.full(t, 4)
	good, err := os.ReadFile(w.Path)
	must(t, err)
	rapid.Check(t, func(t *rapid.T) {
		bad := bytes.Clone(good)
		if rapid.Bool().Draw(t, "cut") {
			bad = bad[:rapid.IntRange(0, len(bad)-1).Draw(t, "length")]
		} else {
			bad[rapid.IntRange(0, len(bad)-1).Draw(t, "at")] ^= byte(rapid.IntRange(1, 255).Draw(t, "with"))
		}
		if err := os.WriteFile(w.Path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := keycache.Open(w.Options)
		if err != nil || c.Usable() == nil || c.SetIncarnation("life-1") != nil {
			t.Fatalf("a changed file is used: %v", err)
		}
		for i := range 4 {
			if _, _, err := c.Find(id(i), wrapped(i)); err == nil {
				t.Fatal("a changed file serves")
			}
		}
	})
}

func TestKeyFiles(t *testing.T) {
	inside := func(w *world) { w.KeyFile = filepath.Join(w.DataDir, "key") }
	for name, change := range map[string]func(*world) error{
		"missing":        func(w *world) error { return os.Remove(w.KeyFile) },
		"short":          func(w *world) error { return os.WriteFile(w.KeyFile, make([]byte, 31), 0o600) },
		"long":           func(w *world) error { return os.WriteFile(w.KeyFile, make([]byte, 4097), 0o600) },
		"group":          func(w *world) error { return os.Chmod(w.KeyFile, 0o640) },
		"a directory":    func(w *world) error { w.KeyFile = filepath.Dir(w.KeyFile); return nil },
		"data directory": func(w *world) error { inside(w); return os.WriteFile(w.KeyFile, make([]byte, 32), 0o600) },
		"link into the data directory": func(w *world) error {
			link := w.KeyFile + "-link"
			inside(w)
			if err := os.WriteFile(w.KeyFile, make([]byte, 32), 0o600); err != nil {
				return err
			}
			target := w.KeyFile
			w.KeyFile = link
			return os.Symlink(target, link)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			must(t, change(w))
			_, err := keycache.Open(w.Options)
			if e, ok := errors.AsType[*secret.Error](err); !ok || e.Code != secret.CodeInvalid || e.Field != "kms.sealed_cache.key_file" || !errors.Is(err, keycache.ErrKeyFile) {
				t.Errorf("%v", err)
			}
		})
	}
}

// A path that names something else by mistake does no harm to it.
func TestAnotherFileIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	must(t, os.WriteFile(w.Path, []byte("something else"), 0o600))
	c := w.open(t, "life-1")
	if err := c.Usable(); !errors.Is(err, keycache.ErrForeign) {
		t.Errorf("%v", err)
	}
	c.Add(c.Seal(id(1), wrapped(1), raw(1), at))
	if err := c.Write(); !errors.Is(err, keycache.ErrForeign) || !errors.Is(c.Status().Err, keycache.ErrForeign) {
		t.Errorf("write: %v", err)
	}
	must(t, c.Wipe())
	must(t, keycache.Remove(w.Path))
	if data, err := os.ReadFile(w.Path); err != nil || string(data) != "something else" {
		t.Errorf("%q, %v", data, err)
	}
}

func TestTheOldestMakesRoom(t *testing.T) {
	w := newWorld(t)
	c := w.open(t, "life-1")
	for i := range keycache.MaxEntries + 1 {
		c.Add(c.Seal(id(i), wrapped(i), raw(i), at.Add(-time.Duration(keycache.MaxEntries-i))))
	}
	if s := c.Status(); s.Entries != keycache.MaxEntries || s.Evicted != 1 {
		t.Errorf("%+v", s)
	}
	lacks(t, c, 0, keycache.ErrMissing)
	must(t, c.Write())
	finds(t, w.open(t, "life-1"), keycache.MaxEntries)
}

func TestAFailedWriteIsTold(t *testing.T) {
	w := newWorld(t)
	c := w.full(t, 1)
	dir := filepath.Dir(w.Path)
	must(t, os.Rename(dir, dir+".away"))
	c.Add(c.Seal(id(1), wrapped(1), raw(1), at))
	if err := c.Write(); !secret.HasCode(err, secret.CodeUnavailable) || !errors.Is(c.Status().Err, err) {
		t.Errorf("%v", err)
	}
	must(t, os.Rename(dir+".away", dir))
	finds(t, w.open(t, "life-1"), 0) // as it was
	must(t, c.Write())
	must(t, c.Status().Err)
}

func TestWhatACrashLeftOfAWriteIsRemoved(t *testing.T) {
	w := newWorld(t)
	c := w.full(t, 1)
	data, err := os.ReadFile(w.Path)
	must(t, err)
	dir, name := filepath.Split(w.Path)
	for what, act := range map[string]func() error{
		"write": func() error {
			c.Add(c.Seal(id(1), wrapped(1), raw(1), at))
			return c.Write()
		},
		"remove": func() error { return keycache.Remove(w.Path) },
	} {
		left, foreign := filepath.Join(dir, "."+name+".123"), filepath.Join(dir, "."+name+".notes")
		must(t, os.WriteFile(left, data[:len(data)/2], 0o600))
		must(t, os.WriteFile(foreign, []byte("mine"), 0o600))
		must(t, act())
		if _, err := os.Stat(left); !os.IsNotExist(err) {
			t.Errorf("%s: what a crash left is there: %v", what, err)
		}
		if _, err := os.Stat(foreign); err != nil {
			t.Errorf("%s: somebody else's file: %v", what, err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	w := newWorld(f)
	own := make([]byte, 32) // each worker its own, so that only its own file opens
	_, _ = rand.Read(own)
	must(f, os.WriteFile(w.KeyFile, own, 0o600))
	w.full(f, 3)
	good, err := os.ReadFile(w.Path)
	must(f, err)
	f.Add(good)
	f.Add(good[:40])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		must(t, os.WriteFile(w.Path, data, 0o600))
		c, err := keycache.Open(w.Options)
		must(t, err)
		if err := c.Usable(); err == nil && !bytes.Equal(data, good) {
			t.Error("a file that was not sealed is used")
		} else if err != nil && secret.CodeOf(err) == secret.CodeInternal {
			t.Error(err)
		}
	})
}
