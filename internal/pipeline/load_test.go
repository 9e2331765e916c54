package pipeline_test

import (
	"errors"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/pipeline"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// While the own copy is damaged or incomplete a registered host may be unknown.
func TestNothingIsClearedBeforeAllHostsAreKnown(t *testing.T) {
	m := &memory{records: map[record.Key]record.Stored{}, cleared: map[int64]bool{}}
	m.write(threeHosts()...)
	m.damage = secret.Errorf(secret.CodeCorrupt, "damaged")
	p := pipeline.New(pipeline.Options{Store: m, Local: local{m}})
	if err := p.Load(); !errors.Is(err, m.damage) {
		t.Fatal(err)
	}
	m.pipeline = p
	report(t, p, "a", 1000)
	if cleared := p.Status().Cleared; cleared != 0 {
		t.Fatalf("one of three hosts cleared %d before a load", cleared)
	}
	m.damage, m.incomplete = nil, true
	if err := p.Load(); err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"a", "b", "c"} {
		report(t, p, host, 1000)
	}
	if cleared := p.Status().Cleared; cleared != 0 {
		t.Fatalf("cleared %d by an incomplete copy", cleared)
	}
	m.incomplete = false
	report(t, p, "a", 1000)
	if cleared := p.Status().Cleared; cleared != 1000 {
		t.Fatalf("cleared %d once the copy is complete", cleared)
	}
}

// A resynchronisation drops records without a word of each.
func TestWhatWasDeletedMeanwhileIsForgotten(t *testing.T) {
	m := &memory{records: map[record.Key]record.Stored{}, cleared: map[int64]bool{}}
	p := pipeline.New(pipeline.Options{Store: m, Local: local{m}})
	m.pipeline = p
	m.write(threeHosts()...)
	m.write(record.Write{Key: record.QuarantineKey(someRecord), Value: record.Quarantines.Encode(&recordpb.Quarantine{Record: string(someRecord)})})
	m.mutate(someRecord)
	m.pipeline = nil
	m.write(record.Write{Key: record.QuarantineKey(someRecord)}, record.Write{Key: record.HostKey("c")}, record.Write{Key: record.WorkKey(someRecord)})
	if s := p.Status(); s.Failed != 1 || s.Open != 1 || len(s.Hosts) != 3 {
		t.Fatalf("before: %+v", s)
	}
	if err := p.Load(); err != nil {
		t.Fatal(err)
	}
	if s := p.Status(); s.Failed != 0 || s.Open != 0 || len(s.Hosts) != 2 || p.Registered("c") {
		t.Errorf("after: %+v", s)
	}
}
