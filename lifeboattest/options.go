package lifeboattest

import (
	"log/slog"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/config"
)

// maxHosts bounds a region; more than that teach nothing on one machine.
const maxHosts = 9

// Options of a Region. The zero value is a region of one process that plays all
// roles.
type Options struct {
	// Hosts is how many data-plane hosts it has beside the process control-1, 0
	// to 9. With 0 there is one process, control-1, that is everything.
	Hosts int
	// Name of the region; default "east".
	Name string
	// Dir keeps everything and must be empty or missing; default a temporary
	// directory that Close removes.
	Dir string
	// Fsync has the store wait for the disk. Without it mutations are several
	// times as fast, and survive every failure of a process, but not one of the
	// machine.
	Fsync bool
	// CertificatesEvery is how often processes look whether certificate files have
	// changed; default ten seconds.
	CertificatesEvery time.Duration
	// Now is the clock of the lifetimes of data keys; default time.Now.
	Now func() time.Time
	// ClockAhead is how far the time of day of each region's processes is ahead, by the
	// region's name; negative is behind. Certificates are still judged by the machine's.
	ClockAhead map[string]time.Duration
	// QueueCap bounds the messages that wait for another region; default 100,000.
	QueueCap int
	// Logger takes the processes' logs; default none. Each process also writes
	// its log to the file log in its data directory.
	Logger *slog.Logger
	// Configure, if set, changes a process's configuration before each start.
	// The type is internal: this is for the module's own tests.
	Configure func(process string, c *config.Config)
}
