package region

import (
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// boot returns the ID of the boot of this machine and the time since then, an empty
// ID if it cannot be told.
func boot() (id string, up time.Duration) {
	var now unix.Timespec
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) != nil {
		return "", 0
	}
	return strings.TrimSpace(string(data)), time.Duration(now.Nano())
}
