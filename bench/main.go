package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A part measures some of the figures.
type part struct {
	name string
	run  func(context.Context, *bench) error
}

var parts = []part{
	{"reads", measureReads},
	{"aws", measureAWS},
	{"remote", measureRemote},
	{"writes", measureWrites},
	{"lag", measureLag},
	{"large", measureLarge},
	{"restore", measureRestore},
	{"replication", measureReplication},
	{"move", measureMove},
	{"takeover", measureTakeover},
}

// bench is one run.
type bench struct {
	dir    string
	rounds int
	round  time.Duration
	report *report
	// secrets is the size of the large region.
	secrets int
	regions map[string]*cluster
}

// small is the number of secrets of the regions that the large one is compared
// with.
const small = 1000

// region returns a region of n secrets; parts share it.
func (b *bench) region(ctx context.Context, k kind, n int) (*cluster, error) {
	name := fmt.Sprintf("%s-%d", k, n)
	if c := b.regions[name]; c != nil {
		return c, nil
	}
	c, err := newRegion(ctx, filepath.Join(b.dir, name), k, n)
	if err == nil {
		b.regions[name] = c
	}
	return c, err
}

func (b *bench) close() error {
	var errs []error
	for _, c := range b.regions {
		errs = append(errs, c.stop())
	}
	return errors.Join(append(errs, os.RemoveAll(b.dir))...)
}

func main() {
	if len(os.Args) > 1 {
		if os.Args[1] == "soak" {
			exit(soakMain(os.Args[2:]))
		}
		if role, ok := roles[os.Args[1]]; ok {
			exit(role(os.Args[2:]))
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	exit(err)
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(ctx context.Context) (err error) {
	b := &bench{report: newReport(), regions: map[string]*cluster{}}
	only := flag.String("only", "", "comma-separated parts to run: "+strings.Join(partNames(), ", ")+"; all if empty")
	dir := flag.String("dir", "", "directory on a real disk for the data; a temporary one if empty")
	out := flag.String("out", "bench/results/latest.json", "where the figures are written")
	flag.IntVar(&b.rounds, "rounds", 7, "rounds of each comparison")
	flag.DurationVar(&b.round, "round", time.Second, "length of one round")
	flag.IntVar(&b.secrets, "secrets", 100_000, "size of the large region")
	most := flag.Bool("million", false, "measure only what a million secrets change, which takes minutes to load")
	profiles := flag.String("profile", "", "directory for CPU and allocation profiles of the servers, from start to end; they slow them down")
	flag.Parse()
	if err := os.Setenv(profileVariable, *profiles); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp(*dir, "lifeboat-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	wanted := partNames()
	switch {
	case *only != "":
		wanted = strings.Split(*only, ",")
	case *most:
		wanted, b.secrets = []string{"large", "takeover"}, million
	}
	// What was measured before a failure counts.
	err = b.measure(ctx, wanted)
	b.report.print(os.Stdout)
	b.report.printMissing(os.Stdout)
	return errors.Join(err, b.report.save(*out))
}

func (b *bench) measure(ctx context.Context, wanted []string) error {
	for _, p := range parts {
		if !slices.Contains(wanted, p.name) {
			continue
		}
		start := time.Now()
		fmt.Fprintf(os.Stderr, "measuring %s ...\n", p.name)
		if err := p.run(ctx, b); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		fmt.Fprintf(os.Stderr, "measured %s in %.0f s\n", p.name, time.Since(start).Seconds())
	}
	return nil
}

func partNames() []string {
	names := make([]string, len(parts))
	for i, p := range parts {
		names[i] = p.name
	}
	return names
}
