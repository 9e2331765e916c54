//go:build nextformat

package secret

// Next is what only this release keeps in the record of a secret, in format 2.
type Next struct {
	// Mutations counts those since format 2 is written: a process that rewrote the
	// record without knowing the field would show.
	Mutations uint64
}

// Mutate takes note of one mutation that is written in the format.
func (n *Next) Mutate(format uint32) {
	if format >= 2 {
		n.Mutations++
	}
}
