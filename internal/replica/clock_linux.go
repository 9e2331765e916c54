package replica

import (
	"time"

	"golang.org/x/sys/unix"
)

// bootClock returns the clock that counts from the boot of the machine, also
// while it is suspended, and that nobody sets. The monotonic clock of package
// time stands still while the machine is suspended.
func bootClock() func() time.Duration {
	began := time.Now()
	return func() time.Duration {
		var now unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
			return time.Since(began) // no kernel that Go runs on lacks it
		}
		return time.Duration(now.Nano())
	}
}
