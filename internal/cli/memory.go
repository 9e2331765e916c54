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

// ofMemory is what the runtime tells of the memory of a process, in bytes.
type ofMemory struct {
	// inUse is what the last collection left, allocated what was allocated ever.
	inUse, allocated int64
	// scanned are stacks and globals, beside is what is not heap.
	scanned, beside int64
}

func readMemory() ofMemory {
	s := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"},
		{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"}, {Name: "/memory/classes/heap/objects:bytes"},
	}
	metrics.Read(s)
	of := func(i int) int64 { return int64(min(s[i].Value.Uint64(), math.MaxInt64>>4)) } //nolint:gosec // bounded
	return ofMemory{inUse: of(0), allocated: of(1), scanned: of(2) + of(3), beside: of(4) - of(5) - of(6) - of(7) - of(8)}
}

// garbage is how much of it the runtime's own rule, GOGC=100, lets be before the next
// collection.
func (m ofMemory) garbage() int64 { return m.inUse + m.scanned }

// usual is what the memory of the process grows to by that rule.
func (m ofMemory) usual() int64 { return m.inUse + m.garbage() + m.beside }

const (
	// never is a GOGC that leaves it to the limit, and keeps the collection that an idle
	// process does every two minutes.
	never = 1_000_000
	// leftAlone is for how many collections the runtime's own rule counts after one that it
	// would not have made yet. The limit was tighter then, because what is in use is
	// scattered over more memory than it needs, or the process is idle.
	leftAlone = 16
)

// growMemory lets the memory of the process grow to least bytes before garbage is
// collected, or as the runtime would have it, whichever is more. GOMEMLIMIT bounds both,
// and with GOGC set nothing is done.
func growMemory(least int64) {
	if os.Getenv("GOGC") != "" {
		return
	}
	most := debug.SetMemoryLimit(-1)
	least = min(least, most)
	growing, alone, before := false, 0, ofMemory{}
	var collect func(*collected)
	collect = func(*collected) {
		now := readMemory()
		alone--
		if growing && now.allocated-before.allocated < now.garbage() {
			alone = leftAlone
		}
		before = now
		// By the limit and not by a percentage: what is in use changes between two
		// collections, when the store reads its index a hundredfold.
		if wanted := alone <= 0 && now.usual() < least; wanted != growing {
			growing = wanted
			if growing {
				debug.SetMemoryLimit(least)
				debug.SetGCPercent(never)
			} else {
				debug.SetGCPercent(100)
				debug.SetMemoryLimit(most)
			}
		}
		runtime.SetFinalizer(new(collected), collect)
	}
	collect(nil)
}
