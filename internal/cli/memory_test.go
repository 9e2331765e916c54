package cli

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestMemoryGrowsBeforeItIsCollected shows what a process of its own is told to do with
// garbage while little is in use, then much, and little again.
func TestMemoryGrowsBeforeItIsCollected(t *testing.T) {
	const off, unbounded = math.MaxUint64, math.MaxInt64
	grow, usual := collection{percent: off, limit: 100e6}, collection{percent: 100, limit: unbounded}
	bounded := collection{percent: 100, limit: 40 << 20}
	untouched := collection{percent: 50, limit: unbounded}
	for _, tt := range []struct {
		name, env string
		want      []collection
	}{
		{"by default", "", []collection{grow, usual, grow}},
		{"with GOMEMLIMIT", "GOMEMLIMIT=40MiB", []collection{{percent: off, limit: 40 << 20}, bounded, {percent: off, limit: 40 << 20}}},
		{"with GOGC", "GOGC=50", []collection{untouched, untouched, untouched}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			child := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestUsesMemory$")
			child.Env = append(os.Environ(), tt.env, "WANTED_COLLECTIONS="+strings.Join(texts(tt.want), " "))
			if out, err := child.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// collection is when the runtime collects garbage.
type collection struct{ percent, limit uint64 }

func (c collection) String() string { return fmt.Sprintf("%d,%d", c.percent, c.limit) }

func texts(of []collection) (all []string) {
	for _, c := range of {
		all = append(all, c.String())
	}
	return all
}

// TestUsesMemory is that process.
func TestUsesMemory(t *testing.T) {
	wanted := strings.Fields(os.Getenv("WANTED_COLLECTIONS"))
	if len(wanted) == 0 {
		return
	}
	growMemory(100e6)
	var used []byte
	for i, mb := range []int{2, 150, 2} {
		used = slices.Repeat([]byte{1}, mb<<20)
		var now string
		for end := time.Now().Add(20 * time.Second); now != wanted[i] && time.Now().Before(end); {
			runtime.GC()
			s := []metrics.Sample{{Name: "/gc/gogc:percent"}, {Name: "/gc/gomemlimit:bytes"}}
			metrics.Read(s)
			now = collection{s[0].Value.Uint64(), s[1].Value.Uint64()}.String()
		}
		if now != wanted[i] {
			t.Errorf("with %d MB in use: %s, want %s", mb, now, wanted[i])
		}
	}
	runtime.KeepAlive(used)
}
