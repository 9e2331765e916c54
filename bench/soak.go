package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"golang.org/x/sync/errgroup"
)

const (
	// soakSecrets are there all the time; what a soak makes beside them it deletes.
	soakSecrets = 500
	// soakKeep is the history that the store keeps, the least allowed, so that a
	// soak reaches the state in which as much goes as comes.
	soakKeep = 5 * time.Minute
	// soakSlack is how many more goroutines or descriptors than at first a process
	// may have at the end: connections between processes come and go.
	soakSlack = 12
)

// soakOptions of one soak.
type soakOptions struct {
	duration, sampleEach time.Duration
	dir                  string
	// steady has the region begin with as many events as the load keeps there.
	steady bool
	log    func(format string, args ...any)
}

// use is what a process occupies at one moment.
type use struct {
	anonMB                  float64
	goroutines, descriptors int
}

// soaked is what a soak found in one process.
type soaked struct {
	process string
	samples []use
	// before is its use after a short load, after that when the soak was over.
	before, after use
}

// growthPercent compares the anonymous memory of the last third of the samples
// with that of the third before: the first third is for caches to fill and for
// history to be dropped as fast as it grows.
func (s *soaked) growthPercent() float64 {
	n := len(s.samples) / 3
	if n == 0 {
		return 0
	}
	var middle, last []float64
	for i, u := range s.samples[len(s.samples)-2*n:] {
		if i < n {
			middle = append(middle, u.anonMB)
		} else {
			last = append(last, u.anonMB)
		}
	}
	return (median(last)/median(middle) - 1) * 100
}

// soakMain is `bench soak`.
func soakMain(args []string) (err error) {
	flags := flag.NewFlagSet("soak", flag.ContinueOnError)
	o := soakOptions{steady: true, log: func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }}
	flags.DurationVar(&o.duration, "duration", 30*time.Minute, "how long the load lasts")
	flags.DurationVar(&o.sampleEach, "sample", 10*time.Second, "time between samples")
	dir := flags.String("dir", "", "directory for the data; a temporary one if empty")
	out := flags.String("out", "bench/results/latest.json", "where the figures are written")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.dir, err = os.MkdirTemp(*dir, "lifeboat-soak-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(o.dir)) }()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	found, requests, err := soak(ctx, o)
	if err != nil {
		return err
	}
	r := newReport()
	reportSoak(r, found, requests)
	r.print(os.Stdout)
	return r.save(*out)
}

// reportSoak adds the figures: of each kind the worst process, and each.
func reportSoak(r *report, found []*soaked, requests int64) {
	worst, leaks := found[0].growthPercent(), 0
	for _, s := range found {
		worst = max(worst, s.growthPercent())
		leaks = max(leaks, s.after.goroutines-s.before.goroutines, s.after.descriptors-s.before.descriptors)
	}
	r.add("soak_anon_growth_pct", "%", worst)
	r.add("soak_leaked_goroutines_or_descriptors", "", float64(max(0, leaks)))
	r.add("soak_requests", "", float64(requests))
	for _, s := range found {
		name := strings.ReplaceAll(s.process, "-", "_")
		r.add("soak_anon_growth_pct_"+name, "%", s.growthPercent())
		r.add("soak_anon_mb_"+name, "MB", anonOf(s.samples)...)
	}
}

func anonOf(samples []use) (all []float64) {
	for _, u := range samples {
		all = append(all, u.anonMB)
	}
	return all
}

// soak keeps a region of a control process and three hosts under mixed load and
// samples what each process occupies.
func soak(ctx context.Context, o soakOptions) (found []*soaked, requests int64, err error) {
	c, err := newSoakRegion(ctx, filepath.Join(o.dir, "region"))
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	processes := c.processes()
	// What is made at first use, connections between processes above all, is there
	// after a short load.
	warm, length := c.mixedLoad(), min(10*time.Second, o.duration/4)
	if err := warm.run(ctx, length); err != nil {
		return nil, 0, err
	}
	if o.steady {
		if err := c.fillOutbox(ctx, float64(warm.mutations.Load())/length.Seconds()); err != nil {
			return nil, 0, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(processes)) {
		found = append(found, &soaked{process: name})
	}
	err = each(found, func(s *soaked) (err error) {
		s.before, err = settled(ctx, processes[s.process], nil)
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	load := c.mixedLoad()
	if err := sampled(ctx, o, load, processes, found); err != nil {
		return nil, 0, err
	}
	err = each(found, func(s *soaked) (err error) {
		s.after, err = settled(ctx, processes[s.process], &s.before)
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	for _, s := range found {
		o.log("%-9s anon %.1f MB, grew %.2f %%; goroutines %d -> %d, descriptors %d -> %d", s.process, s.after.anonMB,
			s.growthPercent(), s.before.goroutines, s.after.goroutines, s.before.descriptors, s.after.descriptors)
	}
	return found, load.done.Load(), nil
}

// each does the same for all processes at once.
func each(found []*soaked, do func(*soaked) error) error {
	var g errgroup.Group
	for _, s := range found {
		g.Go(func() error { return do(s) })
	}
	return g.Wait()
}

// sampled runs the load and takes samples meanwhile.
func sampled(ctx context.Context, o soakOptions, load *mixedLoad, processes map[string]*child, found []*soaked) error {
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { ended <- load.run(ctx, o.duration) }()
	tick := time.NewTicker(o.sampleEach)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case err := <-ended:
			return err
		case <-tick.C:
		}
		for _, s := range found {
			u, err := processes[s.process].use(ctx)
			if err != nil {
				cancel()
				return errors.Join(err, <-ended)
			}
			s.samples = append(s.samples, u)
			if n%6 == 0 {
				o.log("%-9s anon %.1f MB, %d goroutines, %d descriptors", s.process, u.anonMB, u.goroutines, u.descriptors)
			}
		}
	}
}

// settled waits, within bounds, until an idle process is at a baseline, or if
// there is none until its counts stay.
func settled(ctx context.Context, c *child, baseline *use) (use, error) {
	limit := time.Now().Add(30 * time.Second)
	last, err := c.use(ctx)
	for same := 0; err == nil && time.Now().Before(limit); {
		if baseline != nil && last.goroutines <= baseline.goroutines+soakSlack && last.descriptors <= baseline.descriptors+soakSlack {
			break
		}
		if baseline == nil && same == 3 {
			break
		}
		time.Sleep(500 * time.Millisecond)
		before := last
		last, err = c.use(ctx)
		if last.goroutines == before.goroutines && last.descriptors == before.descriptors {
			same++
		} else {
			same = 0
		}
	}
	return last, err
}

// use asks what the process occupies.
func (c *child) use(ctx context.Context) (u use, err error) {
	if u.anonMB, err = c.anonMB(); err != nil {
		return u, err
	}
	fds, err := os.ReadDir("/proc/" + strconv.Itoa(c.cmd.Process.Pid) + "/fd")
	if err != nil {
		return u, err
	}
	u.descriptors = len(fds)
	u.goroutines, err = goroutinesOf(ctx, c.admin)
	return u, err
}

// goroutinesOf reads the number from a process's metrics.
func goroutinesOf(ctx context.Context, admin string) (int, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	r.Close = true // no connection of the sampler's stays
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	defer func() { _ = answer.Body.Close() }()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(answer.Body)
	if err != nil {
		return 0, err
	}
	family := families["go_goroutines"]
	if family == nil || len(family.GetMetric()) != 1 {
		return 0, errors.New("the process does not tell its goroutines")
	}
	return int(family.GetMetric()[0].GetGauge().GetValue()), nil
}
