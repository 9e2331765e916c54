package operations_test

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"go.yaml.in/yaml/v4"
)

// rules are the parts of a Prometheus rule file.
type rules struct {
	Groups []struct {
		Name  string
		Rules []rule
	}
}

type rule struct {
	Alert       string
	Expr        string
	For         string
	Labels      map[string]string
	Annotations map[string]string
}

func alerts(t testing.TB) []rule {
	t.Helper()
	data, err := os.ReadFile(path("deploy", "alerts.yaml"))
	must(t, err)
	var file rules
	loader, err := yaml.NewLoader(strings.NewReader(string(data)), yaml.WithKnownFields(), yaml.WithUniqueKeys())
	must(t, err)
	must(t, loader.Load(&file))
	var all []rule
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) < 20 {
		t.Fatalf("there are only %d alerts", len(all))
	}
	return all
}

var (
	named    = regexp.MustCompile(`\b(lifeboat_[a-z0-9_]+)(\{[^}]*\})?`)
	selector = regexp.MustCompile(`([a-z_]+)=(~?)"([^"]*)"`)
)

// Every metric that an alert names is told by a running region, with the labels
// and values that the alert asks for.
func TestAlertsNameMetricsThatExist(t *testing.T) {
	told := scrapeAll(t, shared)
	for _, a := range alerts(t) {
		names := named.FindAllStringSubmatch(a.Expr, -1)
		if len(names) == 0 && !strings.HasPrefix(a.Expr, "up{") {
			t.Errorf("%s names no metric", a.Alert)
		}
		for _, name := range names {
			family := told[name[1]]
			if family == nil {
				family = told[strings.TrimSuffix(name[1], "_bucket")]
				if family.GetType() != dto.MetricType_HISTOGRAM {
					family = nil
				}
			}
			if family == nil {
				t.Errorf("%s names %s, which no process tells", a.Alert, name[1])
				continue
			}
			for _, s := range selector.FindAllStringSubmatch(name[2], -1) {
				for want := range strings.SplitSeq(s[3], "|") {
					if !hasLabel(family, s[1], want) {
						t.Errorf("%s asks for %s{%s=%q}, of which there is none", a.Alert, name[1], s[1], want)
					}
				}
			}
		}
	}
}

func hasLabel(family *dto.MetricFamily, name, value string) bool {
	return slices.ContainsFunc(family.GetMetric(), func(m *dto.Metric) bool {
		return slices.ContainsFunc(m.GetLabel(), func(l *dto.LabelPair) bool { return l.GetName() == name && l.GetValue() == value })
	})
}

func TestAlertsSayWhatToDo(t *testing.T) {
	seen := map[string]bool{}
	for _, a := range alerts(t) {
		if seen[a.Alert] || !strings.HasPrefix(a.Alert, "Lifeboat") {
			t.Errorf("%s is there twice, or is not named Lifeboat...", a.Alert)
		}
		seen[a.Alert] = true
		if s := a.Labels["severity"]; s != "page" && s != "ticket" {
			t.Errorf("%s has the severity %q", a.Alert, s)
		}
		if a.Annotations["summary"] == "" {
			t.Errorf("%s has no summary", a.Alert)
		}
		if !strings.HasPrefix(a.Annotations["runbook_url"], "docs/runbooks/") {
			t.Errorf("%s has no runbook", a.Alert)
		}
		checkLink(t, a.Alert, path(), a.Annotations["runbook_url"])
	}
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	dropped = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// checkLink checks a link from a page in dir: the file exists, and has a heading
// for the part after #.
func checkLink(t *testing.T, from, dir, target string) {
	t.Helper()
	file, anchor, _ := strings.Cut(target, "#")
	data, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		if info, statErr := os.Stat(filepath.Join(dir, file)); statErr != nil || !info.IsDir() {
			t.Errorf("%s points to %s: %v", from, target, err)
		}
		return
	}
	if anchor != "" && !slices.Contains(anchors(string(data)), anchor) {
		t.Errorf("%s points to %s; the headings there are %v", from, target, anchors(string(data)))
	}
}

// anchors of a page's headings, as they are made from Markdown.
func anchors(page string) (all []string) {
	for _, h := range heading.FindAllStringSubmatch(page, -1) {
		name := strings.ToLower(strings.TrimSpace(h[1]))
		all = append(all, strings.ReplaceAll(dropped.ReplaceAllString(name, ""), " ", "-"))
	}
	return all
}

// Links between the pages of docs lead somewhere, and each runbook is found from
// the page of operations.
func TestLinksLead(t *testing.T) {
	pages, err := filepath.Glob(path("docs", "*.md"))
	must(t, err)
	books, err := filepath.Glob(path("docs", "runbooks", "*.md"))
	must(t, err)
	operations, err := os.ReadFile(path("docs", "operations.md"))
	must(t, err)
	for _, book := range books {
		if !strings.Contains(string(operations), "runbooks/"+filepath.Base(book)) {
			t.Errorf("docs/operations.md does not name the runbook %s", filepath.Base(book))
		}
	}
	for _, page := range slices.Concat(pages, books, []string{path("README.md")}) {
		data, err := os.ReadFile(page)
		must(t, err)
		for _, l := range link.FindAllStringSubmatch(string(data), -1) {
			target := l[1]
			if strings.HasPrefix(target, "#") {
				target = filepath.Base(page) + target
			}
			if !strings.Contains(target, "://") {
				checkLink(t, page, filepath.Dir(page), target)
			}
		}
	}
}

func TestAlertsPassPromtool(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), lookPromtool(t), "check", "rules", path("deploy", "alerts.yaml")).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// A healthy region raises no alert.
func TestHealthyRegionRaisesNothing(t *testing.T) {
	promtool := lookPromtool(t)
	now := map[string]metrics{}
	// On a busy machine a report may come late once; such a moment is not judged.
	eventually(t, "all hosts are live", func() bool {
		for _, p := range shared.Processes() {
			now[p.ID] = scrape(t, p)
		}
		live, _ := now["control-1"].value("lifeboat_pipeline_live_hosts")
		registered, ok := now["control-1"].value("lifeboat_pipeline_registered_hosts")
		return ok && live == registered
	})
	evaluate(t, promtool, nil, now, now)
}

type inputSeries struct {
	Series string `yaml:"series"`
	Values string `yaml:"values"`
}

// evaluate lets Prometheus decide whether alerts fire, or if none is named that
// none does, where the processes, by instance, told before at first and after
// from then on.
func evaluate(t *testing.T, promtool string, want []string, before, after map[string]metrics) {
	t.Helper()
	rulesFile, err := filepath.Abs(path("deploy", "alerts.yaml"))
	must(t, err)
	expect := func(alerts string, n int) map[string]any {
		return map[string]any{
			"expr":      fmt.Sprintf(`(count(ALERTS{alertname=~%q,alertstate="firing"}) or vector(0)) > bool 0`, alerts),
			"eval_time": "14m", "exp_samples": []any{map[string]any{"labels": "{}", "value": n}},
		}
	}
	var expected []any
	for _, alert := range want {
		expected = append(expected, expect(alert, 1))
	}
	if len(want) == 0 {
		expected = append(expected, expect(".+", 0))
	}
	file, err := yaml.Marshal(map[string]any{
		"rule_files": []string{rulesFile}, "evaluation_interval": "1m",
		"tests": []any{map[string]any{"interval": "1m", "input_series": inputOf(before, after), "promql_expr_test": expected}},
	})
	must(t, err)
	name := filepath.Join(t.TempDir(), "test.yaml")
	must(t, os.WriteFile(name, file, 0o600))
	if out, err := exec.CommandContext(t.Context(), promtool, "test", "rules", name).CombinedOutput(); err != nil {
		t.Errorf("of the alerts %v not all fire, or some other: %v\n%s", want, err, out)
	}
}

// inputOf writes what was told as Prometheus's tests read it.
func inputOf(before, after map[string]metrics) (input []inputSeries) {
	for instance, told := range after {
		input = append(input, inputSeries{fmt.Sprintf(`up{job="lifeboat-east",instance=%q}`, instance), "1x30"})
		for name, family := range told {
			for _, m := range family.GetMetric() {
				if m.GetHistogram() != nil || !ours(name) {
					continue
				}
				series := fmt.Sprintf(`%s{job="lifeboat-east",instance=%q`, name, instance)
				var at []string
				for _, l := range m.GetLabel() {
					series += fmt.Sprintf(`,%s=%q`, l.GetName(), l.GetValue())
					at = append(at, l.GetName(), l.GetValue())
				}
				now := cmp.Or(m.GetGauge().GetValue(), m.GetCounter().GetValue())
				then, ok := before[instance].value(name, at...)
				if !ok {
					then = now
				}
				input = append(input, inputSeries{series + "}", fmt.Sprintf("%fx2 %fx27", then, now)})
			}
		}
	}
	return input
}
