package pipeline_test

import (
	"testing"
	"testing/synctest"

	"github.com/lifeboat-secrets/lifeboat/internal/pipeline"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// What hosts had applied in the life before a restore clears nothing in the next.
func TestHostsOfAnotherLifeClearNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		region := func(incarnation string, epoch uint64) record.Write {
			return record.Write{Key: record.RegionKey, Value: record.Regions.Encode(&recordpb.Region{Name: "east", Incarnation: incarnation, RestoreEpoch: epoch})}
		}
		m, p := start(t, region("one", 1))
		tell := func(incarnation secret.Incarnation, epoch uint64, applied int64) {
			err := p.Report(t.Context(), pipeline.Report{Host: "a", Address: "a:1", Incarnation: incarnation, RestoreEpoch: epoch, Applied: applied})
			if err != nil {
				t.Fatal(err)
			}
		}
		revision := m.mutate(someRecord)
		tell("one", 1, revision+1000)
		settle()
		if m.open(someRecord) {
			t.Fatal("not cleared in the first life")
		}
		m.write(region("two", 2))
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
