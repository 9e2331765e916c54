//go:build !linux

package replica

import "time"

// bootClock returns a clock that nobody sets. It may stand still while the
// machine is suspended.
func bootClock() func() time.Duration {
	began := time.Now()
	return func() time.Duration { return time.Since(began) }
}
