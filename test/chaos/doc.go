// Package chaos holds tests that run real processes of a region, make faults
// under load (kill -9, pauses, cut networks, full and damaged disks, records
// that crash who applies them) and check what the guarantees promise.
package chaos
