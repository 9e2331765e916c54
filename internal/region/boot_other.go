//go:build !linux

package region

import "time"

// boot cannot tell the boot of this machine from another one.
func boot() (id string, up time.Duration) { return "", 0 }
