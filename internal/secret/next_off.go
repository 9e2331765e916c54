//go:build !nextformat

package secret

// Next is what only a later release keeps in the record of a secret. The build
// tag nextformat makes that release, for the test of upgrades; without it there
// is nothing.
type Next struct{}

// Mutate takes note of one mutation that is written in the format.
func (*Next) Mutate(uint32) {}
