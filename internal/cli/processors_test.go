package cli

import (
	"runtime"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/config"
)

func TestWhoWaitsForFsyncHasASpareProcessor(t *testing.T) {
	embedded := config.Default()
	embedded.Process.Roles = []config.Role{config.Store, config.Control}
	external := config.Default()
	external.Process.Roles = []config.Role{config.Control}
	external.Store.Embedded, external.Store.External = nil, new(config.ExternalStore)
	host := config.Default()
	host.Process.Roles = []config.Role{config.Host}
	for _, c := range []struct {
		name   string
		config *config.Config
		set    bool
		spare  int
	}{
		{"embedded store", embedded, false, 1},
		{"embedded store, GOMAXPROCS set", embedded, true, 0},
		{"external store", external, false, 0},
		{"host", host, false, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := runtime.GOMAXPROCS(0)
			defer runtime.GOMAXPROCS(before)
			spareProcessor(c.config, func(string) (string, bool) { return "", c.set })
			if got := runtime.GOMAXPROCS(0) - before; got != c.spare {
				t.Errorf("%d spare processors, want %d", got, c.spare)
			}
		})
	}
}
