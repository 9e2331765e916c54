package operations_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/client"
	"github.com/lifeboat-secrets/lifeboat/internal/canary"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

// A canary sees which host is behind and which part of a region is away, and is
// right about the hosts that are well.
func TestCanaryTellsWhatIsWrong(t *testing.T) {
	t.Parallel()
	r := lifeboattest.Start(t, lifeboattest.Options{Hosts: 2})
	connect := func(p *lifeboattest.Process) *client.Client {
		c, err := client.New(client.Config{
			Address: p.URL(), Token: client.NewValue([]byte(r.Account().Token)), CAFile: r.CAFile(), Timeout: 5 * time.Second,
		})
		must(t, err)
		t.Cleanup(c.Close)
		return c
	}
	readers := []canary.Reader{{Host: "host-1", Client: connect(r.Host(0))}, {Host: "host-2", Client: connect(r.Host(1))}}
	bird, err := canary.Open(t.Context(), canary.Options{Writer: connect(r.Control()), Readers: readers, Within: 700 * time.Millisecond})
	must(t, err)
	metrics := canary.NewMetrics()
	round := func() canary.Round {
		found := bird.Round(t.Context())
		metrics.Observe(found)
		return found
	}
	var found canary.Round
	eventually(t, "a healthy region is found to be well", func() bool { // its first connections take time
		found = round()
		return found.OK
	})
	if len(found.Reads) != 2 || found.Reads[0].Host != "host-1" || found.Reads[1].ReadMilliseconds <= 0 {
		t.Errorf("in a healthy region a round finds %+v", found)
	}

	r.CutStore(0)
	eventually(t, "only the host cut off from the store is found to be late", func() bool {
		if found = round(); found.OK || found.Reads[0].Result != canary.Late {
			t.Fatalf("with a host cut off from the store a round finds %+v", found)
		}
		return found.Reads[1].OK() // unless the machine is busy, at once
	})
	r.Heal(0)
	eventually(t, "the host catches up", func() bool { return round().OK })

	must(t, r.Control().Kill())
	eventually(t, "only writes are found to fail without a control process", func() bool {
		if found = round(); found.OK || found.Write.OK() {
			t.Fatalf("without a control process a round finds %+v", found)
		}
		return found.Reads[0].OK() && found.Reads[1].OK()
	})
	must(t, r.Control().Start(t.Context()))
	must(t, r.Control().WaitReady(t.Context()))
	eventually(t, "the region is well again", func() bool { return round().OK })

	must(t, bird.Close(t.Context()))
	for v, err := range connect(r.Control()).ListVaults(t.Context(), nil) {
		must(t, err)
		if strings.HasPrefix(v.GetName(), canary.VaultPrefix) {
			t.Errorf("the vault %s is left", v.GetName())
		}
	}
	answer := httptest.NewRecorder()
	metrics.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{
		`lifeboat_canary_reads_total{host="host-1",result="late"}`, `lifeboat_canary_rounds_total{result="failed"}`,
		`lifeboat_canary_visible_duration_seconds_count{host="host-2"}`, `lifeboat_canary_last_success_timestamp_seconds{host="host-1"}`,
	} {
		if !strings.Contains(answer.Body.String(), want) {
			t.Errorf("the metrics lack %s:\n%s", want, answer.Body)
		}
	}
}
