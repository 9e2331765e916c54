package pipeline_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/pipeline"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
)

func hostRecord(id string) record.Write {
	return record.Write{Key: record.HostKey(id), Value: record.Hosts.Encode(&recordpb.Host{Id: id, Address: id + ":1", Cell: "base"})}
}

func threeHosts() []record.Write {
	return []record.Write{hostRecord("a"), hostRecord("b"), hostRecord("c")}
}

// A process that has just started, or was paused, cannot know that a host is
// dead: it may serve reads and be about to report.
func TestAHostThatCouldNotReportYetCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := start(t, threeHosts()...)
		revision := m.mutate(someRecord)
		for range 2 {
			report(t, p, "a", revision)
			report(t, p, "b", revision)
			settle()
			if !m.open(someRecord) {
				t.Fatal("cleared before c could report")
			}
		}
		report(t, p, "c", revision-1)
		for range 2 {
			report(t, p, "a", revision)
			report(t, p, "b", revision)
			settle()
		}
		if !m.open(someRecord) {
			t.Fatal("cleared although the live host c has not applied it")
		}
		for range 3 {
			report(t, p, "a", revision)
			report(t, p, "b", revision)
			settle()
		}
		if m.open(someRecord) {
			t.Fatal("not cleared although c is dead")
		}
	})
}

func TestAHostThatNeverReportsIsDeadAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := start(t, threeHosts()...)
		revision := m.mutate(someRecord)
		for range 4 {
			report(t, p, "a", revision)
			report(t, p, "b", revision)
			settle()
		}
		if m.open(someRecord) {
			t.Fatal("not cleared although c never reported")
		}
	})
}

// The clock of a process that was paused jumps.
func TestAfterAPauseHostsMayReportFirst(t *testing.T) {
	now := time.Now()
	m := &memory{records: map[record.Key]record.Stored{}, cleared: map[int64]bool{}}
	p := pipeline.New(pipeline.Options{Store: m, Local: local{m}, Now: func() time.Time { return now }})
	m.pipeline = p
	m.write(threeHosts()...)
	if err := p.Load(); err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"a", "b", "c"} {
		report(t, p, host, 0)
	}
	revision := m.mutate(someRecord)
	now = now.Add(20 * time.Second)
	report(t, p, "a", revision)
	report(t, p, "b", revision)
	if cleared := p.Status().Cleared; cleared >= revision {
		t.Fatal("cleared before c could report again")
	}
	report(t, p, "c", revision)
	if cleared := p.Status().Cleared; cleared != revision {
		t.Fatalf("cleared %d of %d", cleared, revision)
	}
}

func TestALiveHostOfAnotherLifeHasAppliedNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := start(t, append(threeHosts(), regionRecord("two", 2))...)
		revision := m.mutate(someRecord)
		tell := func(host string, epoch uint64) {
			incarnation := map[uint64]string{1: "one", 2: "two"}[epoch]
			reportOfLife(t, p, host, incarnation, epoch, revision)
		}
		for range 6 {
			tell("a", 2)
			tell("b", 2)
			tell("c", 1)
			settle()
		}
		if !m.open(someRecord) {
			t.Fatal("cleared while the live host c serves what was before the restore")
		}
		tell("c", 2)
		settle()
		if m.open(someRecord) {
			t.Fatal("not cleared although all hosts are of this life")
		}
	})
}
