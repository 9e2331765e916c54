package pipeline_test

import (
	"testing"
	"testing/synctest"

	"github.com/lifeboat-secrets/lifeboat/internal/pipeline"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func regionRecord(incarnation string, epoch uint64) record.Write {
	return record.Write{Key: record.RegionKey, Value: record.Regions.Encode(&recordpb.Region{Name: "east", Incarnation: incarnation, RestoreEpoch: epoch})}
}

func reportOfLife(t testing.TB, p *pipeline.Pipeline, host, incarnation string, epoch uint64, applied int64) {
	t.Helper()
	err := p.Report(t.Context(), pipeline.Report{
		Host: host, Address: host + ":1", Incarnation: secret.Incarnation(incarnation), RestoreEpoch: epoch, Applied: applied,
	})
	if err != nil {
		t.Fatal(err)
	}
}

// What hosts had applied in the life before a restore clears nothing in the next.
func TestHostsOfAnotherLifeClearNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := start(t, regionRecord("one", 1))
		tell := func(incarnation string, epoch uint64, applied int64) {
			reportOfLife(t, p, "a", incarnation, epoch, applied)
		}
		revision := m.mutate(someRecord)
		tell("one", 1, revision+1000)
		settle()
		if m.open(someRecord) {
			t.Fatal("not cleared in the first life")
		}
		m.write(regionRecord("two", 2))
		revision = m.mutate(someRecord)
		for name, report := range map[string]func(){
			"no host":               func() {},
			"the first life":        func() { tell("one", 1, revision+1000) },
			"another life":          func() { tell("three", 2, revision+1000) },
			"a host without a life": func() { tell("", 0, revision+1000) },
		} {
			report()
			settle()
			if !m.open(someRecord) {
				t.Fatalf("cleared in the second life by %s", name)
			}
		}
		tell("two", 2, revision)
		settle()
		if m.open(someRecord) {
			t.Fatal("not cleared in the second life")
		}
	})
}
