package region

import (
	"testing"

	peerv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/replica"
)

// Of a record that is not in the report nobody may believe that it was applied.
func TestAReportOfManyQuarantinedRecordsIsBounded(t *testing.T) {
	var quarantined []replica.Quarantined
	for i := range int64(1000) {
		quarantined = append(quarantined, replica.Quarantined{Record: "secret/V/S", Revision: 5000 - i})
	}
	state := &peerv1.ReportProgressRequest{AppliedRevision: 9000}
	addQuarantined(state, quarantined[:100])
	if len(state.GetQuarantined()) != 100 || state.GetAppliedRevision() != 9000 {
		t.Errorf("%d records, applied %d", len(state.GetQuarantined()), state.GetAppliedRevision())
	}
	state = &peerv1.ReportProgressRequest{AppliedRevision: 9000}
	addQuarantined(state, quarantined)
	if n := len(state.GetQuarantined()); n != 100 || state.GetQuarantined()[99].GetRevision() != 4100 || state.GetAppliedRevision() != 4100 {
		t.Errorf("%d records, applied %d", n, state.GetAppliedRevision())
	}
}
