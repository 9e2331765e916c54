package lifeboattest

import (
	"fmt"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
)

// Cleared returns an error if, by a control process's status, a mutation that has
// committed may not be cleared yet: it counts those only that the process has applied.
func Cleared(s *lifeboatv1.GetStatusResponse) error {
	if s.GetOpenWorkItems() > 0 || s.GetAppliedRevision() != s.GetStoreRevision() {
		return fmt.Errorf("%d work items are open at revision %d of %d", s.GetOpenWorkItems(), s.GetAppliedRevision(), s.GetStoreRevision())
	}
	return nil
}
