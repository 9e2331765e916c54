package cli

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"

	"github.com/lifeboat-secrets/lifeboat/internal/config"
)

// How much garbage a process lets gather, about, before it is collected. By the runtime's own
// rule it is as much as what is in use, which is little, because records are in mapped
// files: the garbage of requests would be collected dozens of times a second, which
// measured a quarter of a read's CPU time and a fifth of a write's. With 100,000 secrets a
// host has 55 MB of anonymous memory so, and a process with all roles some 350 MB, of which the
// index of its store uses 110.
const (
	hostGarbageBytes    = 43e6
	controlGarbageBytes = 220e6
)

func leastGarbage(c *config.Config) int64 {
	if c.Process.Has(config.Control) || c.Process.Has(config.Store) {
		return controlGarbageBytes
	}
	return hostGarbageBytes
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

// garbage is how much of it the runtime's own rule, GOGC=100, lets gather before the next
// collection.
func (m ofMemory) garbage() int64 { return m.inUse + m.scanned }

const (
	// never is a GOGC that leaves it to the limit, and keeps the collection that an idle
	// process does every two minutes.
	never = 1_000_000
	// leftAlone is for how many collections the runtime's own rule counts after one that came
	// much earlier than it would have come by that. The limit was too tight then, because what
	// is in use is scattered over more memory than it needs, or the process is idle.
	leftAlone = 16
)

// letGarbageGather lets about so many bytes of garbage gather before it is collected, or
// as many as by the runtime's own rule if that is more. GOMEMLIMIT bounds the memory in
// both cases, and with GOGC set nothing is done.
func letGarbageGather(least int64) {
	if os.Getenv("GOGC") != "" {
		return
	}
	most := debug.SetMemoryLimit(-1)
	limit, alone, before := int64(0), 0, ofMemory{} // a limit of 0 is none of ours
	var collect func(*collected)
	collect = func(*collected) {
		now := readMemory()
		alone--
		// By its own rule the runtime begins with a collection before all of that is there.
		if limit != 0 && now.allocated-before.allocated < now.garbage()/2 {
			alone = leftAlone
		}
		inUse := min(before.inUse, now.inUse) // the last may have come amidst something large
		before = now
		// By a limit and not by a percentage: what is in use changes between two
		// collections, when the store reads its index a hundredfold.
		switch wanted := min(most, inUse+now.beside+least); {
		case alone > 0 || now.garbage() >= least:
			if limit != 0 {
				debug.SetGCPercent(100)
				debug.SetMemoryLimit(most)
			}
			limit = 0
		case math.Abs(float64(wanted-limit)) > 0.02*float64(limit): // setting it stops the process for a moment
			debug.SetMemoryLimit(wanted)
			debug.SetGCPercent(never)
			limit = wanted
		}
		runtime.SetFinalizer(new(collected), collect)
	}
	collect(nil)
}
