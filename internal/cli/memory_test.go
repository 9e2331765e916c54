package cli

import (
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"runtime/metrics"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestGarbageGathers shows what a process of its own is told to do with garbage while
// little is in use, then much, and little again.
func TestGarbageGathers(t *testing.T) {
	const unbounded = math.MaxInt64
	usual := collection{100, unbounded, unbounded}
	little := collection{never, 102e6, 160e6} // that, the garbage, and what is not heap
	bounded, littleBounded := collection{100, 40 << 20, 40 << 20}, collection{never, 40 << 20, 40 << 20}
	untouched := collection{50, unbounded, unbounded}
	for _, tt := range []struct {
		name, env string
		want      []collection
	}{
		{"by default", "", []collection{little, usual, little}},
		{"with GOMEMLIMIT", "GOMEMLIMIT=40MiB", []collection{littleBounded, bounded, littleBounded}},
		{"with GOGC", "GOGC=50", []collection{untouched, untouched, untouched}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			child := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestUsesMemory$")
			child.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
				return strings.HasPrefix(v, "GOGC=") || strings.HasPrefix(v, "GOMEMLIMIT=")
			})
			want, err := json.Marshal(tt.want)
			if err != nil {
				t.Fatal(err)
			}
			child.Env = append(child.Env, tt.env, "WANTED_COLLECTIONS="+string(want))
			if out, err := child.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// collection is when the runtime collects garbage.
type collection struct{ Percent, LeastLimit, MostLimit uint64 }

// TestUsesMemory is that process.
func TestUsesMemory(t *testing.T) {
	text := os.Getenv("WANTED_COLLECTIONS")
	if text == "" {
		return
	}
	var wanted []collection
	if err := json.Unmarshal([]byte(text), &wanted); err != nil {
		t.Fatal(err)
	}
	letGarbageGather(100e6)
	for i, mb := range []int{2, 150, 2} {
		inUse := make([][]byte, mb)
		s := []metrics.Sample{{Name: "/gc/gogc:percent"}, {Name: "/gc/gomemlimit:bytes"}}
		asWanted := func() bool {
			metrics.Read(s)
			limit := s[1].Value.Uint64()
			return s[0].Value.Uint64() == wanted[i].Percent && limit >= wanted[i].LeastLimit && limit <= wanted[i].MostLimit
		}
		end, is := time.Now().Add(time.Minute), false
		for n := 0; !is && time.Now().Before(end); n++ {
			inUse[n%mb] = make([]byte, 1<<20) // and the one that was there is garbage
			is = n >= mb && asWanted()
		}
		if !is {
			t.Errorf("with %d MB in use: GOGC %d and a limit of %d, want %v", mb, s[0].Value.Uint64(), s[1].Value.Uint64(), wanted[i])
		}
	}
}
