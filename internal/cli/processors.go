package cli

import (
	"runtime"

	"github.com/lifeboat-secrets/lifeboat/internal/config"
)

// spareProcessor lets one more goroutine run at once than there are processors, in a
// process with an embedded store. Whoever waits for its fsync keeps his place for a
// while, with all that is ready to run behind him; on two processors that measured a
// twentieth of the writes. GOMAXPROCS in the environment has the last word; without it
// the processors that the process may use are counted once, at its start.
func spareProcessor(c *config.Config, lookupEnv func(string) (string, bool)) {
	if _, set := lookupEnv("GOMAXPROCS"); set || !c.Process.Has(config.Store) || c.Store.Embedded == nil {
		return
	}
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
}
