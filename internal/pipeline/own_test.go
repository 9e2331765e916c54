package pipeline_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
)

// A process that hosts cannot reach leaves the pipeline to one that they can.
func TestAnOwnerThatNobodyReportsToGivesTheLeaseUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := start(t, threeHosts()...)
		time.Sleep(time.Minute)
		settle()
		if n := m.holds.Load(); n != 1 {
			t.Fatalf("the lease was taken %d times with nothing to do", n)
		}
		revision := m.mutate(someRecord)
		time.Sleep(9 * time.Second)
		if n := m.holds.Load(); n != 1 {
			t.Fatalf("the lease was given up at once, %d times", n)
		}
		time.Sleep(5 * time.Second)
		settle()
		if n := m.holds.Load(); n != 2 {
			t.Fatalf("the lease was taken %d times in 14 s", n)
		}
		for range 20 {
			for _, host := range []string{"a", "b", "c"} {
				report(t, p, host, revision-1)
			}
			settle()
		}
		if n := m.holds.Load(); n != 2 {
			t.Fatalf("the lease was given up although hosts report, %d times", n)
		}
	})
}

// A process that takes the pipeline over finds what its predecessor left.
func TestTheOutboxIsTrimmedAtOnceAndInParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var load []record.Write
		for range 2500 {
			load = append(load, record.Write{
				Key:   record.OutboxKey(ulid.MustNewDefault(time.Now().Add(-2 * time.Hour)).String()),
				Value: record.Events.Encode(&recordpb.Event{Type: "created"}),
			})
		}
		m, _ := start(t, load...)
		settle()
		if n := len(m.keys()); n != 0 {
			t.Errorf("%d old events are left", n)
		}
		if m.largest > 1000 {
			t.Errorf("%d events were deleted at once", m.largest)
		}
	})
}
