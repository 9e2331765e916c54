package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
	"github.com/lifeboat-secrets/lifeboat/internal/localregion"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

// source is a home region with three targets, each process a process of its own, so
// that the work of the source can be told from that of the targets, which share the
// machine.
type source struct {
	*lifeboattest.RegionProcesses
	// replicated and plain are tenants whose vaults go to all targets, and nowhere.
	replicated, plain *client.Client
}

var sourceTargets = []string{"west", "south", "north"}

func startSource(ctx context.Context, dir string) (*source, error) {
	binary := filepath.Join(dir, "lifeboat")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", binary, "./cmd/lifeboat").CombinedOutput(); err != nil { //nolint:gosec // our own program
		return nil, fmt.Errorf("build: %w: %s", err, out)
	}
	regions, err := lifeboattest.OpenRegionProcesses(ctx, binary, lifeboattest.ProcessOptions{}, append([]string{home}, sourceTargets...)...)
	if err != nil {
		return nil, err
	}
	s := &source{RegionProcesses: regions}
	if s.replicated, err = s.tenant(ctx, "acme"); err == nil {
		s.plain, err = s.tenant(ctx, "plain")
	}
	request := &lifeboatv1.ReplicateVaultRequest{Vault: "acme", Targets: &lifeboatv1.ReplicateVaultRequest_Targets{}}
	for _, target := range sourceTargets {
		request.Targets.Targets = append(request.Targets.Targets, &lifeboatv1.Target{Region: target})
	}
	if err == nil {
		_, err = s.replicated.ReplicateVault(ctx, request)
	}
	if err != nil {
		return nil, errors.Join(err, regions.Close())
	}
	return s, nil
}

func (s *source) tenant(ctx context.Context, name string) (*client.Client, error) {
	made, err := s.Region(home).Tenant(ctx, name)
	if err != nil {
		return nil, err
	}
	return s.Region(home).Client(s.Region(home).Control(), made.Token)
}

// cpu returns the CPU time that the source's processes have used.
func (s *source) cpu(ctx context.Context) (seconds float64, err error) {
	for _, p := range s.Region(home).Processes() {
		used, err := cpuSeconds(ctx, p)
		if err != nil {
			return 0, err
		}
		seconds += used
	}
	return seconds, nil
}

func cpuSeconds(ctx context.Context, p *localregion.Process) (float64, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.AdminURL()+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	defer func() { _ = answer.Body.Close() }()
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "process_cpu_seconds_total "); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, errors.New("the process does not tell its CPU time")
}

// writeRound is what a round of writes achieved.
type writeRound struct {
	perCPUSecond float64
	latencies    []float64
}

// Times between two writes of a client: clients that pause all write at once, so that
// the source's batches do not depend on how busy the machine is otherwise.
const (
	noPause = 0
	pause   = 50 * time.Millisecond
)

// write puts to a thousand secrets by 16 clients for a while, and has the source's
// queues run empty, so that all that it does for these writes is counted.
func (s *source) write(ctx context.Context, c *client.Client, vault string, pause, length time.Duration) (w writeRound, err error) {
	before, err := s.cpu(ctx)
	if err != nil {
		return w, err
	}
	var mu sync.Mutex
	var g errgroup.Group
	start := time.Now()
	value := make([]byte, valueBytes)
	for n := range connections {
		g.Go(func() error {
			var mine []float64
			for i := n; time.Since(start) < length; i += connections {
				if pause > 0 {
					time.Sleep(pause - time.Since(start)%pause)
				}
				sent := time.Now()
				if _, err := c.PutSecret(ctx, &lifeboatv1.PutSecretVersionRequest{Vault: vault, Secret: secretName(i % small), Value: value}); err != nil {
					return err
				}
				mine = append(mine, float64(time.Since(sent))/1e6)
			}
			mu.Lock()
			defer mu.Unlock()
			w.latencies = append(w.latencies, mine...)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return w, err
	}
	// The third may be cut off.
	if err := until(ctx, func() error { return s.sent(ctx, c, vault, "west", "south") }); err != nil {
		return w, err
	}
	after, err := s.cpu(ctx)
	w.perCPUSecond = float64(len(w.latencies)) / (after - before)
	return w, err
}

// sent returns an error while one of some targets lacks a mutation.
func (s *source) sent(ctx context.Context, c *client.Client, vault string, targets ...string) error {
	answer, err := c.GetVaultReplication(ctx, &lifeboatv1.GetVaultReplicationRequest{Vault: vault})
	if err != nil {
		return err
	}
	for _, t := range answer.GetTargets() {
		if t.GetPending() > 0 && slices.Contains(targets, t.GetRegion()) {
			return fmt.Errorf("%s lacks %d", t.GetRegion(), t.GetPending())
		}
	}
	return nil
}

// measureSource measures what three targets cost the source, by its own CPU time,
// and what one that is dead changes for callers, by turns.
//
// The targets share the machine, which they do not in reality, and a source that is
// short of CPU commits in smaller batches, each of which costs: busy neighbours alone
// halve what it writes per CPU second without replication. So the cost is taken with
// clients that pause together, and once more with clients that do not.
func (b *bench) measureSource(ctx context.Context) (err error) {
	s, err := startSource(ctx, b.dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	for vault, c := range map[string]*client.Client{"acme": s.replicated, "plain": s.plain} {
		if _, err := s.write(ctx, c, vault, noPause, 2*b.round); err != nil {
			return err
		}
	}
	var ratio, saturated, dead []float64
	for range b.rounds {
		paced, _, err := s.compare(ctx, pause, 2*b.round)
		if err != nil {
			return err
		}
		fast, healthy, err := s.compare(ctx, noPause, b.round)
		if err != nil {
			return err
		}
		s.Isolate("north")
		without, err := s.write(ctx, s.replicated, "acme", noPause, b.round)
		s.Rejoin("north")
		if err == nil {
			err = until(ctx, func() error { return s.sent(ctx, s.replicated, "acme", "west", "south", "north") })
		}
		if err != nil {
			return err
		}
		ratio, saturated = append(ratio, paced), append(saturated, fast)
		dead = append(dead, percentile(without.latencies, 99)/percentile(healthy.latencies, 99))
	}
	b.report.add("crr_write_ratio_3_targets", "", ratio...)
	b.report.add("crr_write_saturated_ratio_3_targets", "", saturated...)
	b.report.add("crr_write_p99_ratio_dead_target", "", dead...)
	return nil
}

// compare returns how many writes per CPU second the source does with three targets, in
// proportion to those without.
func (s *source) compare(ctx context.Context, pause, length time.Duration) (ratio float64, replicated writeRound, err error) {
	plain, err := s.write(ctx, s.plain, "plain", pause, length)
	if err != nil {
		return 0, replicated, err
	}
	replicated, err = s.write(ctx, s.replicated, "acme", pause, length)
	return replicated.perCPUSecond / plain.perCPUSecond, replicated, err
}
