package replica

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// clockGoodFor is how long the clock goes on from one reading by the monotonic
// clock, which costs no system call. Only that much can be missed of a time in
// which the machine was suspended, and only while the process runs no further.
const clockGoodFor = time.Millisecond

// reading is what the clock was at a moment.
type reading struct {
	at   time.Time
	boot time.Duration
}

// bootClock returns the clock that counts from the boot of the machine, also
// while it is suspended, and that nobody sets. The monotonic clock of package
// time stands still while the machine is suspended.
func bootClock() func() time.Duration {
	began := time.Now()
	var last atomic.Pointer[reading]
	return func() time.Duration {
		if r := last.Load(); r != nil {
			if since := time.Since(r.at); since < clockGoodFor {
				return r.boot + since
			}
		}
		at := time.Now()
		var now unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
			return time.Since(began) // no kernel that Go runs on lacks it
		}
		r := &reading{at: at, boot: time.Duration(now.Nano())}
		last.Store(r)
		return r.boot
	}
}
