package replica_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/replica"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// edit changes the closed file of a host.
func (h *host) edit(fn func(records *bolt.Bucket) error) {
	h.t.Helper()
	db, err := bolt.Open(h.opts.Path, 0o600, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	if err := db.Update(func(tx *bolt.Tx) error { return fn(tx.Bucket([]byte("records"))) }); err != nil {
		h.t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		h.t.Fatal(err)
	}
}

func flipLastBit(key record.Key) func(*bolt.Bucket) error {
	return func(b *bolt.Bucket) error {
		v := bytes.Clone(b.Get([]byte(key)))
		v[len(v)-1] ^= 1
		return b.Put([]byte(key), v)
	}
}

func TestDamagedRecordIsNotServedButMended(t *testing.T) {
	m := newMemory()
	h := start(t, options(t, m))
	m.put(name(1), ref(1))
	h.wait(m.put(name(2), ref(2)))
	h.end()
	h.edit(flipLastBit(name(1)))
	m.sever(errCut)
	h = start(t, h.opts)
	for range 3 {
		if _, _, err := h.get(name(1)); !secret.HasCode(err, secret.CodeCorrupt) {
			t.Fatalf("damaged record: %v", err)
		}
	}
	h.mustHave(name(2), ref(2))
	m.sever(nil)
	h.until("mended", func(p replica.Position) bool { return p.CorruptionsMended == 1 })
	h.mustHave(name(1), ref(1))
	if p := h.Position(); p.CorruptionsFound < 3 { // scrubs find it too
		t.Errorf("position %+v", p)
	}
	h.mustEqual(m)
}

func TestScrubFindsDamage(t *testing.T) {
	m := newMemory()
	opts := options(t, m)
	opts.ScrubPeriod = time.Millisecond
	h := start(t, opts)
	for i := range 1000 {
		m.put(name(i), ref(i))
	}
	h.wait(m.head())
	h.end()
	h.edit(flipLastBit(name(777)))
	h = start(t, opts)
	h.until("mended", func(p replica.Position) bool { return p.CorruptionsMended == 1 })
	h.until("scrubbed", func(p replica.Position) bool { return p.Scrubs >= 2 })
	h.mustEqual(m)
}

// TestMissingRecordsAreFound damages a page so that bbolt sees fewer records in
// it: no checksum fails, and yet no read may take what is missing for deleted.
func TestMissingRecordsAreFound(t *testing.T) {
	m := newMemory()
	h := start(t, options(t, m))
	for i := range 1000 {
		m.put(name(i), ref(i))
	}
	h.wait(m.head())
	h.end()
	file, err := os.ReadFile(h.opts.Path)
	if err != nil {
		t.Fatal(err)
	}
	const flags, count, leaf = 8, 10, 2 // in the header of a page
	for page := file; len(page) > 0; page = page[os.Getpagesize():] {
		if n := page[count]; page[flags] == leaf && n > 10 {
			page[count] = n / 2
		}
	}
	if err := os.WriteFile(h.opts.Path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	m.sever(errCut)
	h = start(t, h.opts)
	for i := range 1000 {
		_, _, err := h.get(name(i))
		if rebuilt := !h.Position().Synced; !rebuilt && !secret.HasCode(err, secret.CodeUnavailable) {
			t.Fatalf("record %d of a file that lacks records: %v", i, err)
		}
	}
	m.sever(nil)
	h.until("rebuilt", func(p replica.Position) bool { return p.Rebuilds == 1 && p.Synced && p.Connected })
	h.mustEqual(m)
}

func TestDamagedKeyIsResynchronised(t *testing.T) {
	version := versionOf(5, "a-b").Key
	for what, c := range map[string]struct{ from, to string }{
		"another name":               {string(name(5)), "secret-name/v/n00005x"},
		"of another kind":            {string(name(5)), "secret/name/v/n00005"},
		"of a secret, a version's":   {"secret/v/000005", "secret/v/0000/5"},
		"of a version, a secret's":   {"secret/v/000005/a-b", "secret/v/000005-a-b"},
		"of a version, of no record": {"secret/v/000005/a-b", "secret/v/000005/a/b"},
		"where versions are not":     {"secret/v/000005/a-b", string(version)},
		"among them in the walk":     {"secret/v/000005/a-b", "version/v"},
	} {
		t.Run(what, func(t *testing.T) {
			m := newMemory()
			opts := options(t, m)
			opts.ScrubPeriod = time.Millisecond
			h := start(t, opts)
			for i := range 10 {
				key, value := secretRecord(i, 1)
				m.commit(record.Write{Key: name(i), Value: ref(i)}, record.Write{Key: key, Value: value}, versionOf(i, "a-b"))
			}
			h.wait(m.head())
			h.end()
			h.edit(func(b *bolt.Bucket) error {
				v := bytes.Clone(b.Get([]byte(c.from)))
				if v == nil {
					t.Fatalf("nothing is stored at %s", c.from)
				}
				if err := b.Delete([]byte(c.from)); err != nil {
					return err
				}
				return b.Put([]byte(c.to), v)
			})
			h = start(t, opts)
			h.until("resynchronised", func(p replica.Position) bool { return p.Resyncs == 1 && !p.Resyncing && p.Connected })
			h.mustEqual(m)
			rebuilds := uint64(0)
			if c.to == string(version) { // where no read and no mending would look for it
				rebuilds = 1
			}
			scrubs := h.Position().Scrubs
			h.until("scrubbed again", func(p replica.Position) bool { return p.Scrubs > scrubs+1 })
			h.mustLack("secret-name/v/none") // nothing is in doubt any more
			if p := h.Position(); p.Resyncs != 1 || p.Rebuilds != rebuilds {
				t.Errorf("position %+v", p)
			}
		})
	}
}

// fill makes a host with enough records for several levels of pages.
func fill(t *testing.T, m *memory, n int) *host {
	h := start(t, options(t, m))
	for i := 0; i < n; i += 100 {
		var writes []record.Write
		for j := range 100 {
			writes = append(writes, record.Write{Key: name(i + j), Value: ref(i + j)})
		}
		m.commit(writes...)
	}
	h.wait(m.head())
	return h
}

func TestDamagedFileIsRebuilt(t *testing.T) {
	const pageSize = 4096
	garbage := bytes.Repeat([]byte{0xff}, pageSize)
	damages := map[string]func(b []byte) []byte{
		"emptied":   func(b []byte) []byte { return b[:10] },
		"truncated": func(b []byte) []byte { return b[:4*pageSize] },
		"both metas": func(b []byte) []byte {
			copy(b, garbage)
			copy(b[pageSize:], garbage)
			return b
		},
		"all pages but the metas": func(b []byte) []byte {
			for i := 2 * pageSize; i < len(b); i += pageSize {
				copy(b[i:], garbage)
			}
			return b
		},
		"page numbers out of the file": func(b []byte) []byte { return scribble(b, pageSize) },
		"lengths of keys":              func(b []byte) []byte { return stretchKeys(b, pageSize) },
	}
	for what, damage := range damages {
		t.Run(what, func(t *testing.T) {
			m := newMemory()
			h := fill(t, m, 2000)
			h.end()
			b, err := os.ReadFile(h.opts.Path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(h.opts.Path, damage(b), 0o600); err != nil {
				t.Fatal(err)
			}
			m.put(name(7), ref(8))
			h = start(t, h.opts)
			h.readUntilRebuilt()
			h.wait(m.head())
			h.mustEqual(m)
			if _, err := os.Stat(h.opts.Path + ".damaged"); err != nil {
				t.Error(err)
			}
		})
	}
}

// readUntilRebuilt reads everything until the damage is found, checking that
// nothing wrong is served meanwhile.
func (h *host) readUntilRebuilt() {
	h.t.Helper()
	h.until("rebuilt", func(p replica.Position) bool {
		for i := range 2000 {
			got, ok, err := h.get(name(i))
			if ok && got != string(ref(i)) && i != 7 {
				h.t.Fatalf("%d: %q", i, got)
			}
			if err != nil && !secret.HasCode(err, secret.CodeUnavailable) && !secret.HasCode(err, secret.CodeCorrupt) {
				h.t.Fatal(err)
			}
		}
		return p.Rebuilds > 0 && p.Synced
	})
}

// scribble makes the page numbers in all branch pages point past the file's end.
func scribble(b []byte, pageSize int) []byte {
	const branch = 1
	for i := 2 * pageSize; i < len(b); i += pageSize {
		if b[i+8] != branch || b[i+9] != 0 {
			continue
		}
		count := int(b[i+10]) | int(b[i+11])<<8
		for j := range count {
			element := i + 16 + 16*j
			if element+16 <= i+pageSize {
				copy(b[element+8:], []byte{0, 0, 0x10, 0, 0, 0, 0, 0})
			}
		}
	}
	return b
}

// stretchKeys makes the last key of each leaf page with many keys reach over the
// pages that follow.
func stretchKeys(b []byte, pageSize int) []byte {
	const leaf = 2
	for i := 2 * pageSize; i+64<<10 < len(b); i += pageSize {
		count := int(b[i+10]) | int(b[i+11])<<8
		if b[i+8] == leaf && b[i+9] == 0 && count > 10 && 16+16*count < pageSize {
			binary.LittleEndian.PutUint32(b[i+16*count+8:], 40_000)
		}
	}
	return b
}

func TestDamageWhileRunning(t *testing.T) {
	m := newMemory()
	h := fill(t, m, 2000)
	f, err := os.OpenFile(h.opts.Path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := os.ReadFile(h.opts.Path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(scribble(b, 4096), 0); err != nil {
		t.Fatal(err)
	}
	h.readUntilRebuilt()
	h.wait(m.put(name(1), ref(1)))
	h.mustEqual(m)
}

func TestDamageFoundByAWrite(t *testing.T) {
	m := newMemory()
	h := fill(t, m, 2000)
	if err := os.Truncate(h.opts.Path, 8192); err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		m.put(name(100*i), ref(i))
	}
	h.until("rebuilt", func(p replica.Position) bool { return p.Rebuilds > 0 && p.Synced && p.Applied == m.head() })
	h.mustEqual(m)
}

func TestOpenRefusesWhatItCannotUse(t *testing.T) {
	m := newMemory()
	if _, err := replica.Open(replica.Options{Source: m}); !secret.HasCode(err, secret.CodeInvalid) {
		t.Errorf("no path: %v", err)
	}
	if _, err := replica.Open(replica.Options{Path: "x"}); !secret.HasCode(err, secret.CodeInvalid) {
		t.Errorf("no source: %v", err)
	}
	h := start(t, options(t, m))
	if _, err := replica.Open(h.opts); !secret.HasCode(err, secret.CodeUnavailable) {
		t.Errorf("already open: %v", err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := replica.Open(replica.Options{Path: dir + "/file/x.db", Source: m}); !secret.HasCode(err, secret.CodeUnavailable) {
		t.Errorf("directory is a file: %v", err)
	}
	if err := h.Run(within(t)); !secret.HasCode(err, secret.CodeWrongState) {
		t.Errorf("run twice: %v", err)
	}
}

func TestClosed(t *testing.T) {
	h := start(t, options(t, newMemory()))
	h.end()
	if _, _, err := h.get(name(1)); !secret.HasCode(err, secret.CodeUnavailable) {
		t.Errorf("view: %v", err)
	}
	if err := h.WaitApplied(within(t), 99); !secret.HasCode(err, secret.CodeUnavailable) {
		t.Errorf("wait: %v", err)
	}
	if err := h.Retry(within(t), name(1)); !secret.HasCode(err, secret.CodeUnavailable) {
		t.Errorf("retry: %v", err)
	}
}
