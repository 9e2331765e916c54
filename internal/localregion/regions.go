package localregion

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Regions are regions on this machine that know each other as peers. Their methods
// are for one goroutine.
type Regions struct{ all []*Region }

// PlanRegions plans each region in a directory of its name below o.Dir. Regions
// that were planned there before keep their data and addresses, also if others are
// added or left out. At most one more than a region can have peers are allowed.
func PlanRegions(o Options, names ...secret.RegionName) (*Regions, error) {
	if o.Dir == "" {
		return nil, secret.Invalid("dir", "must not be empty")
	}
	if len(names) < 1 || len(names) > maxRegions {
		return nil, secret.Invalid("regions", "are %d; allowed are 1 to %d", len(names), maxRegions)
	}
	if exists(filepath.Join(o.Dir, layoutName)) {
		return nil, secret.Errorf(secret.CodeWrongState, "%s holds a region itself, not directories of regions", o.Dir).
			WithHint("choose another directory")
	}
	r := &Regions{}
	var err error
	if o.taken, err = takenIn(o.Dir); err != nil {
		return nil, err
	}
	for i, name := range names {
		if err := secret.CheckRegionName("regions", name); err != nil {
			return nil, err
		}
		if slices.Contains(names[:i], name) {
			return nil, secret.Invalid("regions", "%s is named twice", name)
		}
		one := o
		one.Name, one.Dir = name, filepath.Join(o.Dir, string(name))
		if hosts, ok := o.HostsIn[name]; ok {
			one.Hosts = hosts
		}
		region, err := open(one)
		if err != nil {
			return nil, fmt.Errorf("region %s: %w", name, err)
		}
		r.all = append(r.all, region)
	}
	return r, r.introduce(o.Via)
}

// maxRegions bounds the regions on one machine.
const maxRegions = 5

// takenIn returns the first ports of the regions that were planned below dir.
func takenIn(dir string) (map[int]bool, error) {
	taken := map[int]bool{}
	paths, err := filepath.Glob(filepath.Join(dir, "*", layoutName))
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var plan layout
		if json.Unmarshal(data, &plan) == nil && len(plan.Processes) > 0 { // who opens it says what is wrong
			taken[plan.Processes[0].Ports.Public] = true
		}
	}
	return taken, nil
}

// introduce names to each region all others, and writes the configurations.
func (r *Regions) introduce(via func(from, to secret.RegionName, target string) (string, error)) error {
	for _, region := range r.all {
		region.peers = nil
		for _, other := range r.all {
			if other == region {
				continue
			}
			peer := config.Peer{Region: other.Name(), CAFile: other.CAFile()}
			for _, control := range other.controls {
				address := local(control.ports.Region)
				if via != nil {
					var err error
					if address, err = via(region.Name(), other.Name(), address); err != nil {
						return err
					}
				}
				peer.Addresses = append(peer.Addresses, address)
			}
			region.peers = append(region.peers, peer)
		}
		if err := region.prepare(); err != nil {
			return fmt.Errorf("region %s: %w", region.Name(), err)
		}
	}
	return nil
}

// All are the regions in the order in which they were named.
func (r *Regions) All() []*Region { return r.all }

// Region returns one by its name, nil if there is none.
func (r *Regions) Region(name secret.RegionName) *Region {
	for _, region := range r.all {
		if region.Name() == name {
			return region
		}
	}
	return nil
}

// StartInProcess starts all regions at the same time, as Region.StartInProcess
// does, and waits until they are linked. On an error what was started is stopped.
func (r *Regions) StartInProcess(ctx context.Context) error {
	return r.start(ctx, func(ctx context.Context, region *Region) error { return region.StartInProcess(ctx) })
}

// StartChildren does the same as Region.StartChildren does.
func (r *Regions) StartChildren(ctx context.Context, binary string) error {
	return r.start(ctx, func(ctx context.Context, region *Region) error { return region.StartChildren(ctx, binary) })
}

func (r *Regions) start(ctx context.Context, one func(context.Context, *Region) error) error {
	var starting errgroup.Group
	for _, region := range r.all {
		starting.Go(func() error {
			if err := one(ctx, region); err != nil {
				return fmt.Errorf("region %s: %w", region.Name(), err)
			}
			return nil
		})
	}
	err := starting.Wait()
	if err == nil {
		err = r.WaitLinked(ctx)
	}
	if err != nil {
		return errors.Join(err, r.Close())
	}
	return nil
}

// WaitLinked waits until each region reaches every other one and has admitted it.
func (r *Regions) WaitLinked(ctx context.Context) error {
	for _, region := range r.all {
		if err := region.waitLinked(ctx); err != nil {
			return fmt.Errorf("region %s: %w", region.Name(), err)
		}
	}
	return nil
}

func (r *Region) waitLinked(ctx context.Context) error {
	if len(r.peers) == 0 {
		return nil
	}
	c, err := r.operatorClient()
	if err != nil {
		return err
	}
	defer c.Close()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		answer, err := c.ListPeers(ctx, &lifeboatv1.ListPeersRequest{})
		if err == nil {
			err = linked(answer)
		}
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-tick.C:
		}
	}
}

// linked returns which peer is not, nil if there is none.
func linked(answer *lifeboatv1.ListPeersResponse) error {
	for _, p := range answer.GetPeers() {
		if !p.GetReachable() || p.GetPinnedIncarnation() == "" || p.GetPinnedIncarnation() != p.GetIncarnation() {
			return fmt.Errorf("region %s has no link with %s yet: %s", answer.GetRegion(), p.GetRegion(), p.GetError())
		}
	}
	return nil
}

// Close stops what runs, all regions at the same time.
func (r *Regions) Close() error {
	errs := make([]error, len(r.all))
	var stopping sync.WaitGroup
	for i, region := range r.all {
		stopping.Go(func() { errs[i] = region.Close() })
	}
	stopping.Wait()
	return errors.Join(errs...)
}

// Wait waits until a process of a region ends by itself, and returns why, or until
// ctx ends.
func (r *Regions) Wait(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(r.all))
	var waiting sync.WaitGroup
	for i, region := range r.all {
		waiting.Go(func() {
			defer cancel()
			if err := region.Wait(ctx); !errors.Is(err, context.Canceled) {
				errs[i] = fmt.Errorf("region %s: %w", region.Name(), err)
			}
		})
	}
	waiting.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return ctx.Err()
}
