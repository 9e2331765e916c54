// Package operations tests what operators of a region go by: metrics, alerts and
// the pages that they point to.
package operations_test

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

// update has docs/metrics.md written anew.
var update = flag.Bool("update", false, "write docs/metrics.md from what running processes tell")

// shared is the region of all tests that break nothing; it has a peer.
var shared *lifeboattest.Region

func TestMain(m *testing.M) {
	flag.Parse()
	regions, err := lifeboattest.OpenRegions(context.Background(), lifeboattest.Options{Hosts: 1}, "east", "west")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	shared = regions.Region("east")
	code := m.Run()
	if err := regions.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	limit := time.Now().Add(time.Minute)
	for !holds() {
		if time.Now().After(limit) {
			t.Fatalf("%s: not within a minute", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// metrics are what a process tells, by name.
type metrics map[string]*dto.MetricFamily

func scrape(t testing.TB, p *lifeboattest.Process) metrics {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.AdminURL()+"/metrics", nil)
	must(t, err)
	answer, err := http.DefaultClient.Do(r)
	must(t, err)
	defer func() { _ = answer.Body.Close() }()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(answer.Body)
	must(t, err)
	return families
}

// scrapeAll returns what all processes of a region tell, one after the other.
func scrapeAll(t testing.TB, r *lifeboattest.Region) metrics {
	all := metrics{}
	for _, p := range r.Processes() {
		maps.Copy(all, scrape(t, p))
	}
	return all
}

// value of the series of a metric that has the labels, name and value in turn.
func (m metrics) value(name string, labels ...string) (float64, bool) {
	for _, series := range m[name].GetMetric() {
		matched := 0
		for _, l := range series.GetLabel() {
			for i := 0; i < len(labels); i += 2 {
				if l.GetName() == labels[i] && l.GetValue() == labels[i+1] {
					matched += 2
				}
			}
		}
		if matched != len(labels) {
			continue
		}
		switch {
		case series.GetGauge() != nil:
			return series.GetGauge().GetValue(), true
		case series.GetCounter() != nil:
			return series.GetCounter().GetValue(), true
		case series.GetHistogram() != nil:
			return float64(series.GetHistogram().GetSampleCount()), true
		}
	}
	return 0, false
}

// path of a file of the repository.
func path(elements ...string) string {
	return filepath.Join(append([]string{"..", ".."}, elements...)...)
}
