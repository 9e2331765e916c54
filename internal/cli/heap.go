package cli

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"

	"github.com/lifeboat-secrets/lifeboat/internal/config"
)

// What the heap of a process may have before its garbage is collected, if twice of what
// is in use is less. Little is, because records are in mapped files: the garbage of
// requests would be collected dozens of times a second, which measured a quarter of a
// read's CPU time and a fifth of a write's. With 100,000 secrets a host uses 60 MB then,
// and a process with all roles 400 MB.
const (
	hostHeapBytes    = 40 << 20
	controlHeapBytes = 304 << 20
)

func leastHeap(c *config.Config) uint64 {
	if c.Process.Has(config.Control) || c.Process.Has(config.Store) {
		return controlHeapBytes
	}
	return hostHeapBytes
}

// collected is an object that a collection of garbage finds unused.
type collected struct{ _ [16]byte }

// growHeap lets the heap of the process grow to least bytes before garbage is collected.
// After each collection it sets by how much more than is in use that is.
func growHeap(least uint64) {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	percent := 100
	var collect func(*collected)
	collect = func(*collected) {
		metrics.Read(live)
		used := max(live[0].Value.Uint64(), 1<<20)
		next := 100
		if used < least {
			next = max(next, int((least-used)*100/used)) //nolint:gosec // at most 100 * 256
		}
		if next != percent {
			percent = next
			debug.SetGCPercent(percent)
		}
		runtime.SetFinalizer(new(collected), collect)
	}
	collect(nil)
}
