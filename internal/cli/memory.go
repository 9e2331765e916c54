package cli

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"

	"github.com/lifeboat-secrets/lifeboat/internal/config"
)

// What the memory of a process may grow to before its garbage is collected, if less is
// in use. Little is, because records are in mapped files: the garbage of requests would
// be collected dozens of times a second, which measured a quarter of a read's CPU time
// and a fifth of a write's. With 100,000 secrets a host has 60 MB of anonymous memory
// then, and a process with all roles 400 MB, of which its store uses 110.
const (
	hostMemoryBytes    = 58e6
	controlMemoryBytes = 400e6
)

func leastMemory(c *config.Config) int64 {
	if c.Process.Has(config.Control) || c.Process.Has(config.Store) {
		return controlMemoryBytes
	}
	return hostMemoryBytes
}

// collected is an object that a collection of garbage finds unused.
type collected struct{ _ [16]byte }

// growMemory lets the memory of the process grow to least bytes before garbage is
// collected, or as the runtime would have it, whichever is more. GOMEMLIMIT bounds both,
// and with GOGC set nothing is done.
func growMemory(least int64) {
	if os.Getenv("GOGC") != "" {
		return
	}
	most := debug.SetMemoryLimit(-1)
	least = min(least, most)
	growing := false
	var collect func(*collected)
	collect = func(*collected) {
		// By the limit and not by a percentage: what is in use changes between two
		// collections, when the store reads its index a hundredfold.
		if wanted := usual() < least; wanted != growing {
			growing = wanted
			if growing {
				debug.SetMemoryLimit(least)
				debug.SetGCPercent(-1)
			} else {
				debug.SetGCPercent(100)
				debug.SetMemoryLimit(most)
			}
		}
		runtime.SetFinalizer(new(collected), collect)
	}
	collect(nil)
}

// usual is what the memory of the process would grow to by the runtime's own rule: the
// heap to what is in use and as much again, stacks and globals counted.
func usual() int64 {
	s := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"},
		{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"}, {Name: "/memory/classes/heap/objects:bytes"},
	}
	metrics.Read(s)
	of := func(i int) int64 { return int64(min(s[i].Value.Uint64(), math.MaxInt64>>4)) } //nolint:gosec // bounded
	beside := of(3) - of(4) - of(5) - of(6) - of(7)
	return 2*of(0) + of(1) + of(2) + beside
}
