package formatgate_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/lifeboat-secrets/lifeboat/internal/formatgate"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// memory is a shard whose feed is that of gates.
type memory struct {
	mu       sync.Mutex
	records  map[record.Key]record.Stored
	revision int64
	gates    []*formatgate.Gate
	// before, if set, is called once, before the next commit.
	before func()
}

func (m *memory) View(context.Context) record.View { return m }

func (m *memory) Get(key record.Key) (record.Stored, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.records[key]
	return s, ok, nil
}

func (m *memory) Scan(start, end record.Key, visit func(record.Stored) bool) error {
	m.mu.Lock()
	keys := slices.Sorted(maps.Keys(m.records))
	m.mu.Unlock()
	for _, key := range keys {
		if s, ok, _ := m.Get(key); ok && key >= start && key < end && !visit(s) {
			break
		}
	}
	return nil
}

func (m *memory) Commit(_ context.Context, txn record.Txn) (int64, error) {
	if before := m.before; before != nil {
		m.before = nil
		before()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range txn.Conditions {
		if m.records[c.Key].Revision != c.Revision {
			return 0, secret.Errorf(secret.CodeStale, "condition on %s", c.Key)
		}
	}
	m.revision++
	var changes []record.Change
	for _, w := range txn.Writes {
		s := record.Stored{Key: w.Key, Value: w.Value, Revision: m.revision}
		if w.Value == nil {
			delete(m.records, w.Key)
		} else {
			m.records[w.Key] = s
		}
		changes = append(changes, record.Change{Stored: s, Deleted: w.Value == nil})
	}
	for _, g := range m.gates {
		g.Changed(changes)
	}
	return m.revision, nil
}

func (m *memory) Hold(ctx context.Context, _ string, run func(context.Context) error) error {
	return run(ctx)
}

// gate returns a control process's gate that reads format of secrets.
func (m *memory) gate(format uint32) *formatgate.Gate {
	g := formatgate.New(formatgate.Options{
		Store: m, Process: fmt.Sprint("control-", len(m.gates)), Release: fmt.Sprint("r", format), Reads: reads(format),
	})
	m.gates = append(m.gates, g)
	return g
}

func reads(format uint32) map[string]uint32 {
	all := record.Formats()
	all["secret"] = format
	return all
}

func newMemory() *memory { return &memory{records: map[record.Key]record.Stored{}} }

// register puts a host that reads format of secrets, as the pipeline does.
func (m *memory) register(id string, format uint32) error {
	var txn record.Txn
	if err := formatgate.Enlist(m, &txn, reads(format), fmt.Sprint("r", format)); err != nil {
		return err
	}
	txn.Put(record.HostKey(id), record.Hosts.Encode(&recordpb.Host{Id: id, Release: fmt.Sprint("r", format), Formats: reads(format)}))
	_, err := m.Commit(context.Background(), txn)
	return err
}

func (m *memory) written() uint32 {
	s, ok, _ := m.Get(record.FormatsKey)
	if !ok {
		return 1
	}
	state, err := record.Gates.Decode(s.Value)
	if err != nil {
		panic(err)
	}
	return max(1, state.GetWritten()["secret"])
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t testing.TB, err error, code secret.Code) {
	t.Helper()
	if got := secret.CodeOf(err); got != code {
		t.Fatalf("code %q (%v), want %q", got, err, code)
	}
}

func settle() {
	time.Sleep(3 * time.Second)
	synctest.Wait()
}

func TestAFormatIsWrittenOnceEveryProcessReadsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		g, old := m.gate(2), m.gate(1)
		ctx, cancel := context.WithCancel(t.Context())
		defer synctest.Wait()
		defer cancel()
		must(t, g.Announce(t.Context(), true))
		must(t, old.Announce(t.Context(), true))
		must(t, m.register("host-1", 2))
		go func() { _ = g.Run(ctx) }()
		settle()
		if status := g.Status(); status.Open() || g.Writes("secret") != 1 || !slices.Equal(blocks(status), []string{"control control-1 reads 1"}) {
			t.Fatalf("with a control process that reads format 1: %+v", status)
		}
		must(t, g.Hold(t.Context(), true))
		must(t, g.Forget(t.Context(), "control-1"))
		wantCode(t, g.Forget(t.Context(), "control-1"), secret.CodeNotFound)
		settle()
		if status := g.Status(); status.Open() || !status.Held || len(blocks(status)) != 0 {
			t.Fatalf("held: %+v", status)
		}
		must(t, g.Hold(t.Context(), false))
		settle()
		if status := g.Status(); !status.Open() || g.Writes("secret") != 2 || status.Release != "r2" || status.RaisedAt.IsZero() {
			t.Fatalf("nothing blocks: %+v", status)
		}
		wantCode(t, m.register("host-2", 1), secret.CodeUnknownFormat)
		wantCode(t, old.Announce(t.Context(), true), secret.CodeUnknownFormat)
		must(t, g.Hold(t.Context(), true))
		settle()
		if g.Writes("secret") != 2 {
			t.Fatal("holding the gate took back a format that is written")
		}
	})
}

func blocks(s formatgate.Status) []string {
	for _, f := range s.Formats {
		if f.Kind == "secret" {
			return f.Blocks
		}
	}
	return nil
}

// An older process that registers at the very moment at which the gate opens
// either keeps it closed or is refused.
func TestRegisteringWhileTheGateOpens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		g := m.gate(2)
		must(t, m.register("host-1", 2))
		m.before = func() { must(t, m.register("host-2", 1)) } // after raise has read the hosts
		ctx, cancel := context.WithCancel(t.Context())
		defer synctest.Wait()
		defer cancel()
		go func() { _ = g.Run(ctx) }()
		settle()
		if m.before != nil || m.written() != 1 {
			t.Fatalf("format %d is written although host-2 reads 1", m.written())
		}
	})
}

func TestAProcessThatBecomesAHostIsNotCountedTwice(t *testing.T) {
	m := newMemory()
	g := m.gate(1)
	must(t, g.Announce(t.Context(), true))
	must(t, g.Announce(t.Context(), true))
	if n := len(g.Status().Members); n != 1 {
		t.Fatalf("%d members", n)
	}
	must(t, g.Announce(t.Context(), false))
	if n := len(g.Status().Members); n != 0 {
		t.Fatalf("%d members after it is no control process", n)
	}
}

func TestWritesAheadOfTheGateAreRefused(t *testing.T) {
	m := newMemory()
	g, late := m.gate(2), m.gate(2)
	m.gates = m.gates[:1] // late hears of nothing
	var txn record.Txn
	txn.Put("secret/v/s", []byte{2})
	wantCode(t, g.Check(t.Context(), txn), secret.CodeInternal)
	var unknown record.Txn
	unknown.Put("later-kind/x", []byte{1})
	wantCode(t, g.Check(t.Context(), unknown), secret.CodeInternal)
	var gate record.Txn
	gate.Put(record.FormatsKey, record.Gates.Encode(&recordpb.Formats{Written: map[string]uint32{"secret": 2}}))
	_, err := m.Commit(t.Context(), gate)
	must(t, err)
	must(t, g.Check(t.Context(), txn))
	must(t, late.Check(t.Context(), txn)) // by what the store says
	must(t, late.Load(m))
	if late.Writes("secret") != 2 {
		t.Error("what was loaded is not known")
	}
}

func TestAdmit(t *testing.T) {
	encoded := func(kind string, format uint32) []byte {
		return record.Gates.Encode(&recordpb.Formats{Written: map[string]uint32{kind: format}, Release: "r9", RaisedAt: 1})
	}
	for name, c := range map[string]struct {
		gate []byte
		code secret.Code
	}{
		"nothing raised":   {record.Gates.Encode(&recordpb.Formats{}), ""},
		"what is read":     {encoded("secret", 1), ""},
		"a newer format":   {encoded("secret", 2), secret.CodeUnknownFormat},
		"a newer kind":     {encoded("later-kind", 1), secret.CodeUnknownFormat},
		"a newer gate":     {append([]byte{2}, encoded("secret", 1)[1:]...), secret.CodeUnknownFormat},
		"an unknown field": {append(encoded("secret", 1), 0xf8, 0x3e, 1), secret.CodeUnknownFormat},
		"damage":           {[]byte{1, 0xff}, secret.CodeCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			err := formatgate.Admit(c.gate, record.Formats(), "r1")
			wantCode(t, err, c.code)
			if name == "a newer format" && !strings.Contains(err.Error(), "secret records of format 2 since release r9") {
				t.Errorf("it says: %v", err)
			}
		})
	}
}

// Whatever comes, goes, is upgraded and goes back: a format that is written is read
// by every registered process, and it never falls.
func TestTheGateIsNeverAheadOfAnyProcess(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			m := newMemory()
			g := m.gate(3)
			ctx, cancel := context.WithCancel(t.Context())
			defer synctest.Wait()
			defer cancel()
			go func() { _ = g.Run(ctx) }()
			host := rapid.SampledFrom([]string{"a", "b", "c"})
			highest := uint32(1)
			rt.Repeat(map[string]func(*rapid.T){
				"register": func(rt *rapid.T) {
					format := rapid.Uint32Range(1, 3).Draw(rt, "reads")
					err := m.register(host.Draw(rt, "host"), format)
					if (err != nil) != (format < m.written()) {
						rt.Fatalf("a host that reads %d while %d is written: %v", format, m.written(), err)
					}
				},
				"remove": func(rt *rapid.T) {
					var txn record.Txn
					txn.Delete(record.HostKey(host.Draw(rt, "host")))
					_, _ = m.Commit(ctx, txn)
				},
				"hold": func(rt *rapid.T) { _ = g.Hold(ctx, rapid.Bool().Draw(rt, "held")) },
				"":     func(*rapid.T) { settle() },
				"check": func(rt *rapid.T) {
					now := m.written()
					if now < highest {
						rt.Fatalf("the written format fell from %d to %d", highest, now)
					}
					highest = now
					for _, member := range g.Status().Members {
						if member.Formats["secret"] < now {
							rt.Fatalf("%s reads %d, %d is written", member.ID, member.Formats["secret"], now)
						}
					}
				},
			})
		})
	})
}
