package cli

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime/metrics"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestMemoryGrowsBeforeItIsCollected shows what a process of its own is told to do with
// garbage while little is in use, then much, and little again.
func TestMemoryGrowsBeforeItIsCollected(t *testing.T) {
	const unbounded = math.MaxInt64
	grow, usual := collection{never, 100e6}, collection{100, unbounded}
	bounded, growBounded := collection{100, 40 << 20}, collection{never, 40 << 20}
	untouched := collection{50, unbounded}
	for _, tt := range []struct {
		name, env string
		want      []collection
	}{
		{"by default", "", []collection{grow, usual, grow}},
		{"with GOMEMLIMIT", "GOMEMLIMIT=40MiB", []collection{growBounded, bounded, growBounded}},
		{"with GOGC", "GOGC=50", []collection{untouched, untouched, untouched}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			child := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestUsesMemory$")
			child.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
				return strings.HasPrefix(v, "GOGC=") || strings.HasPrefix(v, "GOMEMLIMIT=")
			})
			child.Env = append(child.Env, tt.env, "WANTED_COLLECTIONS="+strings.Trim(fmt.Sprint(tt.want), "[]"))
			if out, err := child.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// collection is when the runtime collects garbage.
type collection struct{ percent, limit uint64 }

func (c collection) String() string { return fmt.Sprintf("%d,%d", c.percent, c.limit) }

// TestUsesMemory is that process.
func TestUsesMemory(t *testing.T) {
	wanted := strings.Fields(os.Getenv("WANTED_COLLECTIONS"))
	if len(wanted) == 0 {
		return
	}
	growMemory(100e6)
	for i, mb := range []int{2, 150, 2} {
		inUse := make([][]byte, mb)
		var now string
		end := time.Now().Add(20 * time.Second)
		for n := 0; now != wanted[i] && time.Now().Before(end); n++ {
			inUse[n%mb] = make([]byte, 1<<20) // and the one that was there is garbage
			s := []metrics.Sample{{Name: "/gc/gogc:percent"}, {Name: "/gc/gomemlimit:bytes"}}
			if metrics.Read(s); n >= mb {
				now = collection{s[0].Value.Uint64(), s[1].Value.Uint64()}.String()
			}
		}
		if now != wanted[i] {
			t.Errorf("with %d MB in use: %s, want %s", mb, now, wanted[i])
		}
	}
}
