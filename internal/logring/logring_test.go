package logring

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
)

func TestRingKeepsTheNewestWholeLines(t *testing.T) {
	r := New(100)
	for i := range 50 {
		fmt.Fprintf(r, "line %d of the log\n", i)
	}
	lines, dropped := r.Lines()
	text := string(lines)
	if len(text) > 100 || !strings.HasSuffix(text, "line 49 of the log\n") || !strings.HasPrefix(text, "line ") {
		t.Errorf("kept %q", text)
	}
	if kept := strings.Count(text, "\n"); uint64(kept)+dropped != 50 {
		t.Errorf("%d kept and %d dropped of 50", kept, dropped)
	}
}

func TestRingBoundsALine(t *testing.T) {
	r := New(10)
	if n, err := r.Write(bytes.Repeat([]byte("x"), 100)); n != 100 || err != nil {
		t.Errorf("wrote %d, %v", n, err)
	}
	if lines, _ := r.Lines(); string(lines) != "xxxxxxxxx\n" {
		t.Errorf("kept %q", lines)
	}
}

func TestHandlerWritesToBoth(t *testing.T) {
	var next bytes.Buffer
	r := New(0)
	log := slog.New(r.Handler(slog.NewTextHandler(&next, &slog.HandlerOptions{Level: slog.LevelError})))
	log.Debug("a")
	log.Info("b")
	log.Error("c")
	lines, _ := r.Lines()
	if got := string(lines); strings.Contains(got, "msg=a") || !strings.Contains(got, "msg=b") || !strings.Contains(got, "msg=c") {
		t.Errorf("the ring has %q", got)
	}
	if got := next.String(); strings.Contains(got, "msg=b") || !strings.Contains(got, "msg=c") {
		t.Errorf("the log has %q", got)
	}
}

func TestRingIsSafeForConcurrentUse(t *testing.T) {
	r := New(1000)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 1000 {
				fmt.Fprintln(r, "line")
				r.Lines()
			}
		})
	}
	wg.Wait()
	if lines, dropped := r.Lines(); uint64(bytes.Count(lines, []byte("\n")))+dropped != 4000 {
		t.Error("lines were lost without being counted")
	}
}
