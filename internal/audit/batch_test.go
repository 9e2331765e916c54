package audit

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// together has requests write their lines in one batch and returns, by request,
// whether the line was taken.
func together(t *testing.T, l *Log, entries ...*Entry) map[string]bool {
	t.Helper()
	var mu sync.Mutex
	var writers sync.WaitGroup
	taken := map[string]bool{}
	l.mu.Lock() // nobody writes before all have added their lines
	for _, e := range entries {
		writers.Go(func() {
			err := l.Write(e)
			if err != nil && !secret.HasCode(err, secret.CodeAuditUnavailable) {
				t.Errorf("Write of %s: %v", e.RequestID, err)
			}
			mu.Lock()
			defer mu.Unlock()
			taken[e.RequestID] = err == nil
		})
	}
	for l.gatherer.gathered() < len(entries) {
		runtime.Gosched()
	}
	l.mu.Unlock()
	writers.Wait()
	return taken
}

// gathered is how many lines are in the open batch.
func (g *gatherer) gathered() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open == nil {
		return 0
	}
	return len(g.open.committed)
}

func entries(names ...string) (all []*Entry) {
	for _, name := range names {
		e := testEntry()
		e.RequestID = name
		all = append(all, e)
	}
	return all
}

func TestABatchIsOneWrite(t *testing.T) {
	d := &disk{room: -1}
	l := onDisks(t, Options{}, d)
	taken := together(t, l, entries("one", "two", "three")...)
	got, broken := d.requests()
	slices.Sort(got)
	if !slices.Equal(got, []string{"one", "three", "two"}) || broken != 0 || d.writes != 1 || len(taken) != 3 {
		t.Errorf("%d writes, lines %q, %d broken, taken %v", d.writes, got, broken, taken)
	}
	if s := l.Stats(); s.Lines != 3 {
		t.Errorf("stats %+v", s)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestEveryCutPointOfABatch stops the write of a batch after each possible number of
// bytes: the requests whose lines are whole in the file are answered, the others are
// refused, or their lines are in the fallback.
func TestEveryCutPointOfABatch(t *testing.T) {
	names := []string{"one", "two", "three"}
	probe := &disk{room: -1}
	l := onDisks(t, Options{}, probe)
	together(t, l, entries(names...)...)
	_ = l.Close()
	for room := range probe.data.Len() {
		first, second := &disk{room: room}, &disk{room: -1}
		l := onDisks(t, Options{}, first)
		taken := together(t, l, entries(names...)...)
		whole, _ := first.requests()
		for _, name := range names {
			if taken[name] != slices.Contains(whole, name) {
				t.Fatalf("after %d bytes the file has %q, taken were %v", room, whole, taken)
			}
		}
		if s := l.Stats(); int(s.Lines) != len(whole) || int(s.Refused) != len(names)-len(whole) {
			t.Fatalf("after %d bytes with %d lines: %+v", room, len(whole), s)
		}
		_ = l.Close()

		first = &disk{room: room}
		l = onDisks(t, Options{}, first, second)
		taken = together(t, l, entries(names...)...)
		whole, _ = first.requests()
		fallback, broken := second.requests()
		all := slices.Concat(whole, fallback)
		slices.Sort(all)
		if !slices.Equal(all, []string{"one", "three", "two"}) || broken > 0 || !taken["one"] || !taken["two"] || !taken["three"] {
			t.Fatalf("after %d bytes: %q in the first file and %q in the second, taken were %v", room, whole, fallback, taken)
		}
		if s := l.Stats(); int(s.Lines) != len(names) || int(s.Fallback) != len(fallback) {
			t.Fatalf("after %d bytes: %+v", room, s)
		}
		_ = l.Close()
	}
}

func TestABatchThatNoFileTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{}
		l := onDisks(t, Options{}, d)
		all := entries("read", "written", "read too")
		all[1].Committed = true
		if taken := together(t, l, all...); taken["read"] || taken["written"] || taken["read too"] {
			t.Errorf("taken %v", taken)
		}
		d.setRoom(-1)
		time.Sleep(probeInterval)
		if err := l.Ready(); err != nil {
			t.Fatal(err)
		}
		expect(t, d, 0, "written", GapAction)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestWhoeverIsAnsweredIsInTheLog has many requests write to disks that fill up and are
// emptied at random.
func TestWhoeverIsAnsweredIsInTheLog(t *testing.T) {
	first, second := &disk{room: -1}, &disk{room: -1}
	l := onDisks(t, Options{}, first, second)
	const writers, each = 8, 400
	var mu sync.Mutex
	taken := map[string]bool{}
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for i := range each {
				name := fmt.Sprint(w, "-", i)
				err := l.Write(entries(name)[0])
				mu.Lock()
				taken[name] = err == nil
				mu.Unlock()
				if rand.IntN(20) == 0 {
					[]*disk{first, second}[rand.IntN(2)].setRoom([]int{-1, -1, rand.IntN(5 * MaxLineBytes)}[rand.IntN(3)])
					l.nextProbe.Store(0) // as if a second had passed
				}
			}
		})
	}
	writing.Wait()
	first.setRoom(-1)
	l.nextProbe.Store(0)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	here, _ := first.requests()
	there, _ := second.requests()
	lines := map[string]int{}
	for _, name := range slices.Concat(here, there) {
		lines[name]++
	}
	refused := 0
	for name, ok := range taken {
		if ok && lines[name] != 1 || !ok && lines[name] != 0 {
			t.Errorf("%s, taken %t, is %d times in the log", name, ok, lines[name])
		}
		if !ok {
			refused++
		}
	}
	if refused == 0 || refused == len(taken) {
		t.Errorf("%d of %d were refused", refused, len(taken))
	}
}
