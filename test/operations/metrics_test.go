package operations_test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"

	"github.com/lifeboat-secrets/lifeboat/internal/skiptest"
)

// ours says which metrics are Lifeboat's; the others are the Go runtime's and the
// process's, named by convention.
func ours(name string) bool { return strings.HasPrefix(name, "lifeboat_") }

// labels says which labels there may be, and why they have few values.
var labels = map[string]string{
	"action": "the API's actions", "outcome": "the API's codes", "alarm": "two", "limit": "four",
	"member": "the store's members", "host": "the registered hosts", "peer": "the peers", "target": "the peers", "survivor": "the peers", "asked": "two",
	"master_key": "the region's master keys", "waits_for": "five", "of": "two", "step": "four",
	"release": "one", "region": "one", "process": "one",
}

var (
	wellNamed = regexp.MustCompile(`^lifeboat_[a-z]+(_[a-z0-9]+)+$`)
	notBase   = regexp.MustCompile(`_(ms|milliseconds|microseconds|minutes|hours|days|kb|mb|gb|kilobytes|megabytes|percent)(_|$)`)
	isTime    = regexp.MustCompile(`_(age|lag|duration|expiry|failing|timestamp)(_|$)`)
	isBytes   = regexp.MustCompile(`_(size|in_use|quota)(_|$)`)
)

func TestMetricsAreNamedByConvention(t *testing.T) {
	for name, family := range scrapeAll(t, shared) {
		if !ours(name) {
			continue
		}
		counter := family.GetType() == dto.MetricType_COUNTER
		for what, wrong := range map[string]bool{
			"is not of the form lifeboat_<subsystem>_<what>":             !wellNamed.MatchString(name),
			"names a unit that is not a base unit":                       notBase.MatchString(name),
			"ends with _total and is no counter, or the other way round": counter != strings.HasSuffix(name, "_total"),
			"is a time and does not end with _seconds":                   isTime.MatchString(name) && !strings.HasSuffix(name, "_seconds"),
			"is a size and does not end with _bytes":                     isBytes.MatchString(name) && !strings.HasSuffix(name, "_bytes"),
			"is a histogram of no unit":                                  family.GetType() == dto.MetricType_HISTOGRAM && !strings.HasSuffix(name, "_seconds"),
			"has no help that is a sentence":                             len(family.GetHelp()) < 10 || !strings.HasSuffix(family.GetHelp(), "."),
		} {
			if wrong {
				t.Errorf("%s (%s) %s", name, family.GetHelp(), what)
			}
		}
		for _, label := range labelsOf(family) {
			if labels[label] == "" {
				t.Errorf("%s has the label %s, of which nobody says that it has few values", name, label)
			}
		}
	}
}

func labelsOf(family *dto.MetricFamily) []string {
	found := map[string]bool{}
	for _, series := range family.GetMetric() {
		for _, l := range series.GetLabel() {
			found[l.GetName()] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// New accounts, vaults, secrets, principals and mistakes make no new series.
func TestSeriesDoNotGrowWithUse(t *testing.T) {
	count := func() (n int) {
		for _, p := range shared.Processes() {
			for name, family := range scrape(t, p) {
				if ours(name) {
					n += len(family.GetMetric())
				}
			}
		}
		return n
	}
	before := count()
	for range 3 {
		a, err := shared.NewAccount(t.Context(), "")
		must(t, err)
		c := a.Client(shared.Host(0))
		for i := range 5 {
			name := fmt.Sprint("secret-", i)
			_, err := c.CreateSecret(t.Context(), connect.NewRequest(&lifeboatv1.CreateSecretRequest{
				Vault: a.Vault, Name: name, Value: []byte("v"), Wait: lifeboatv1.Wait_WAIT_CLEARED,
			}))
			must(t, err)
			_, err = c.GetSecretValue(t.Context(), connect.NewRequest(&lifeboatv1.GetSecretValueRequest{Vault: a.Vault, Secret: name + "-no"}))
			if err == nil {
				t.Fatal("a secret that is not there was read")
			}
		}
	}
	if after := count(); after != before {
		t.Errorf("%d series became %d", before, after)
	}
}

// What was done shows in what is counted.
func TestMetricsCount(t *testing.T) {
	a, err := shared.NewAccount(t.Context(), "")
	must(t, err)
	host, control := shared.Host(0), shared.Control()
	c := a.Client(host)
	type series struct {
		of     func() metrics
		name   string
		labels []string
	}
	ofHost := func() metrics { return scrape(t, host) }
	ofControl := func() metrics { return scrape(t, control) }
	watched := []series{
		{ofHost, "lifeboat_requests_total", []string{"action", "GetSecretValue", "outcome", "ok"}},
		{ofHost, "lifeboat_requests_total", []string{"action", "GetSecretValue", "outcome", "not_found"}},
		{ofHost, "lifeboat_requests_other_total", []string{"outcome", "ok"}},
		{ofHost, "lifeboat_request_duration_seconds", []string{"action", "GetSecretValue"}},
		{ofHost, "lifeboat_router_forwarded_requests_total", nil},
		{ofHost, "lifeboat_authn_cache_hits_total", nil},
		{ofHost, "lifeboat_authz_cache_hits_total", nil},
		{ofHost, "lifeboat_keyring_hits_total", nil},
		{ofHost, "lifeboat_keyring_misses_total", nil},
		{ofHost, "lifeboat_local_store_apply_lag_seconds", nil},
		{ofHost, "lifeboat_audit_lines_total", nil},
		{ofControl, "lifeboat_store_commits_total", []string{"outcome", "ok"}},
		{ofControl, "lifeboat_store_commit_duration_seconds", nil},
		{ofControl, "lifeboat_pipeline_clear_duration_seconds", nil},
		{ofControl, "lifeboat_pipeline_outbox_events", nil},
		{ofControl, "lifeboat_pipeline_cleared_revision", nil},
		{ofControl, "lifeboat_store_revision", nil},
	}
	before := make([]float64, len(watched))
	for i, w := range watched {
		before[i], _ = w.of().value(w.name, w.labels...)
	}
	_, err = c.CreateSecret(t.Context(), connect.NewRequest(&lifeboatv1.CreateSecretRequest{
		Vault: a.Vault, Name: "counted", Value: []byte("v"), Wait: lifeboatv1.Wait_WAIT_CLEARED,
	}))
	must(t, err)
	for range 2 {
		_, err = c.GetSecretValue(t.Context(), connect.NewRequest(&lifeboatv1.GetSecretValueRequest{Vault: a.Vault, Secret: "counted"}))
		must(t, err)
	}
	_, _ = c.GetSecretValue(t.Context(), connect.NewRequest(&lifeboatv1.GetSecretValueRequest{Vault: a.Vault, Secret: "no"}))
	_, err = c.WhoAmI(t.Context(), connect.NewRequest(&lifeboatv1.WhoAmIRequest{}))
	must(t, err)
	for i, w := range watched {
		eventually(t, fmt.Sprint(w.name, w.labels, " rises"), func() bool {
			now, ok := w.of().value(w.name, w.labels...)
			return ok && now > before[i]
		})
	}
	for _, w := range []series{
		{ofControl, "lifeboat_store_up", nil}, {ofHost, "lifeboat_store_up", nil}, {ofControl, "lifeboat_pipeline_owner", nil},
		{ofControl, "lifeboat_pipeline_live_hosts", nil}, {ofControl, "lifeboat_host_live", []string{"host", "host-1"}},
		{ofHost, "lifeboat_keyring_key_service_healthy", nil}, {ofHost, "lifeboat_audit_ready", nil}, {ofHost, "lifeboat_local_store_synced", nil},
		{ofControl, "lifeboat_store_member_leader", []string{"member", "embedded"}},
	} {
		if got, ok := w.of().value(w.name, w.labels...); !ok || got != 1 {
			t.Errorf("%s is %g, want 1", w.name, got)
		}
	}
}

const metricsPage = `# Metrics

Each process serves its metrics on ` + "`listen.admin_address`, `/metrics`" + `, in Prometheus's text format, without authentication. Names are
` + "`lifeboat_<subsystem>_<what>_<unit>`" + `; times are in seconds, sizes in bytes, counters end with ` + "`_total`" + ` and begin at 0 with the process.
No label holds a name that callers choose. [deploy/alerts.yaml](../deploy/alerts.yaml) has rules on them.

This page is written by ` + "`go test ./test/operations -run MetricsPage -update`" + `; the same test compares it with what running processes tell.
A process that only runs a member of the store tells the metrics of the store alone.

| metric | type | labels | told by | meaning |
|---|---|---|---|---|
`

// TestMetricsPage checks that docs/metrics.md lists every metric and no other.
func TestMetricsPage(t *testing.T) {
	control, host := scrape(t, shared.Control()), scrape(t, shared.Host(0))
	var b strings.Builder
	b.WriteString(metricsPage)
	all := scrapeAll(t, shared)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if !ours(name) {
			continue
		}
		by := "all"
		switch {
		case host[name] == nil:
			by = "`control`"
		case control[name] == nil:
			by = "`host`"
		}
		names := make([]string, 0)
		for _, l := range labelsOf(all[name]) {
			names = append(names, "`"+l+"`")
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", name, strings.ToLower(all[name].GetType().String()),
			strings.Join(names, ", "), by, strings.ReplaceAll(all[name].GetHelp(), "|", `\|`))
	}
	if *update {
		must(t, os.WriteFile(path("docs", "metrics.md"), []byte(b.String()), 0o644))
	}
	page, err := os.ReadFile(path("docs", "metrics.md"))
	must(t, err)
	if string(page) != b.String() {
		t.Errorf("docs/metrics.md is not what processes tell; write it with: go test ./test/operations -run MetricsPage -update\n%s",
			firstDifference(string(page), b.String()))
	}
}

func firstDifference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return "page: " + x[i] + "\ntold: " + y[i]
		}
	}
	return "one is longer"
}

// promtool finds what breaks Prometheus's conventions.
func TestMetricsPassPromtool(t *testing.T) {
	promtool := lookPromtool(t)
	for _, p := range shared.Processes() {
		var text bytes.Buffer
		encoder := expfmt.NewEncoder(&text, expfmt.NewFormat(expfmt.TypeTextPlain))
		for name, family := range scrape(t, p) {
			if ours(name) {
				must(t, encoder.Encode(family))
			}
		}
		check := exec.CommandContext(t.Context(), promtool, "check", "metrics")
		check.Stdin = &text
		if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", p.ID, err, out)
		}
	}
}

// lookPromtool skips the test where promtool is not installed; scripts/test
// installs it where it can.
func lookPromtool(t *testing.T) string {
	t.Helper()
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		skiptest.Missing(t, "promtool", "apt-get install prometheus")
	}
	return promtool
}
