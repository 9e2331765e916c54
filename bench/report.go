package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
)

// figure is one result: the median of its rounds, with the lowest and highest.
type figure struct {
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
	Target string  `json:"target,omitempty"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	Met    *bool   `json:"met,omitempty"`
}

// target is what a figure should reach.
type target struct {
	atLeast bool
	value   float64
}

func (t target) String() string {
	sign := "<="
	if t.atLeast {
		sign = ">="
	}
	return fmt.Sprintf("%s %g", sign, t.value)
}

// targets are those of the project's requirements.
var targets = map[string]target{
	"read_vs_bare_cpu_ratio":        {true, 0.50},
	"aws_read_cpu_ratio":            {false, 1.25},
	"local_vs_remote_latency_ratio": {false, 0.10},
	"write_vs_etcd_ratio":           {true, 0.70},
	"write_rate_100k_vs_1k_ratio":   {true, 0.90},
	"apply_lag_p50_ms":              {false, 10},
	"apply_lag_p99_ms":              {false, 50},
	"list_page_ms_100k":             {false, 5},
	"anon_mb_100k":                  {false, 400},
	"anon_mb_host_100k":             {false, 60},
	"host_cold_start_s_100k":        {false, 1},
	"read_rate_1m_vs_1k_ratio":      {true, 0.8},
	"host_cold_start_s_1m":          {false, 5},
	// The lag is over one way of 40 ms.
	"crr_lag_p50_ms":                  {false, 70},
	"crr_lag_p99_ms":                  {false, 190},
	"crr_drain_per_s":                 {true, 2000},
	"move_pause_p99_ms":               {false, 660}, // 500 ms and two round trips
	"crr_drain_rtt_ratio":             {true, 0.8},
	"crr_write_ratio_3_targets":       {true, 0.7},
	"crr_write_p99_ratio_dead_target": {false, 1.2},
	"takeover_s_1k":                   {false, 2},
	"takeover_s_1m":                   {false, 2},
	"soak_anon_growth_pct":            {false, 5},
}

type report struct {
	figures map[string]figure
	order   []string
}

func newReport() *report { return &report{figures: map[string]figure{}} }

// add records a figure from its rounds.
func (r *report) add(name, unit string, rounds ...float64) {
	if len(rounds) == 0 {
		return
	}
	f := figure{Value: median(rounds), Unit: unit, Min: slices.Min(rounds), Max: slices.Max(rounds)}
	if t, ok := targets[name]; ok {
		met := cmp.Compare(f.Value, t.value) >= 0 == t.atLeast || f.Value == t.value
		f.Target, f.Met = t.String(), &met
	}
	if _, again := r.figures[name]; !again {
		r.order = append(r.order, name)
	}
	r.figures[name] = f
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}

// percentile returns the p-th percentile, 0 to 100.
func percentile(values []float64, p float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)-1, int(float64(len(sorted))*p/100))]
}

// print shows the figures as a table.
func (r *report) print(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "FIGURE\tTARGET\tMEASURED\tUNIT\tSPREAD\t")
	for _, name := range r.order {
		f := r.figures[name]
		verdict := ""
		if f.Met != nil && !*f.Met {
			verdict = "MISSED"
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%.4g\t%s\t%.4g to %.4g\t%s\n", name, f.Target, f.Value, f.Unit, f.Min, f.Max, verdict)
	}
	_ = t.Flush()
}

// printMissing says which of the targets the run did not look at.
func (r *report) printMissing(w io.Writer) {
	for _, name := range slices.Sorted(maps.Keys(targets)) {
		if _, measured := r.figures[name]; !measured {
			how := ""
			if strings.Contains(name, "1m") {
				how = "; make bench-1m does, which takes ten minutes"
			}
			if strings.HasPrefix(name, "soak") {
				how = "; make soak does, which takes half an hour"
			}
			_, _ = fmt.Fprintf(w, "not measured in this run: %s (target %s)%s\n", name, targets[name], how)
		}
	}
}

// save merges the figures into the file, so that the parts may be run one by one.
func (r *report) save(path string) error {
	var file struct {
		Figures map[string]figure `json:"figures"`
	}
	if b, err := os.ReadFile(path); err == nil {
		if err := json.Unmarshal(b, &file); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	if file.Figures == nil {
		file.Figures = map[string]figure{}
	}
	maps.Copy(file.Figures, r.figures)
	b, err := json.MarshalIndent(file, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o600)
}
