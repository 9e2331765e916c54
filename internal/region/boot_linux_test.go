package region

import "testing"

// The clock counts from a boot that stays the same, or nothing could be told across
// a restart.
func TestTheBootIsTold(t *testing.T) {
	id, up := boot()
	again, later := boot()
	if len(id) != 36 || again != id || up <= 0 || later < up {
		t.Errorf("boot %q up %s, then boot %q up %s", id, up, again, later)
	}
}
