package lifeboattest

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/localregion"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// RegionProcesses are regions whose processes are processes of the system, so that
// they can be killed as a power failure kills them. The type of a region is
// internal: this is for the module's own tests.
type RegionProcesses struct {
	*localregion.Regions
	links  links
	dir    string
	ownDir bool
}

// ProcessOptions are of regions of processes.
type ProcessOptions struct {
	// Dir keeps everything; default a temporary directory that Close removes.
	Dir string
	// Hosts is how many data-plane hosts each region has, 1 to 9; default 1.
	Hosts int
	// Controls is how many control processes each region has, 1 to 3; default 1. One
	// alone also is the store, several have it in a process of its own.
	Controls int
	// Configure is as that of Options.
	Configure func(process string, c *config.Config)
}

// StartRegionProcesses is StartRegions with processes of the system, which run
// `binary server --config FILE`.
func StartRegionProcesses(t testing.TB, binary string, o ProcessOptions, names ...string) *RegionProcesses {
	t.Helper()
	r, err := OpenRegionProcesses(t.Context(), binary, o, names...)
	if err != nil {
		t.Fatalf("start the regions: %v", err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("close the regions: %v", err)
		}
	})
	return r
}

// OpenRegionProcesses is OpenRegions with processes of the system; see
// StartRegionProcesses.
func OpenRegionProcesses(ctx context.Context, binary string, o ProcessOptions, names ...string) (*RegionProcesses, error) {
	r := &RegionProcesses{links: links{}, dir: o.Dir}
	var err error
	if r.dir == "" {
		r.ownDir = true
		if r.dir, err = os.MkdirTemp("", "lb-"); err != nil { // short: the path of a socket is bounded
			return nil, err
		}
	}
	regions := make([]secret.RegionName, len(names))
	for i, name := range names {
		regions[i] = secret.RegionName(name)
	}
	r.Regions, err = localregion.PlanRegions(localregion.Options{
		Dir: r.dir, Hosts: max(o.Hosts, 1), Controls: o.Controls, Configure: o.Configure, Via: func(from, to secret.RegionName, target string) (string, error) {
			return r.links.add(string(from), string(to), target)
		},
	}, regions...)
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, startTimeout)
		defer cancel()
		err = r.StartChildren(ctx, binary)
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// Link is as that of Regions.
func (r *RegionProcesses) Link(from, to string) Link { return r.links.get(from, to) }

// Isolate cuts all links from and to a region.
func (r *RegionProcesses) Isolate(region string) { r.links.each(region, Link.Cut) }

// Rejoin heals all links from and to a region.
func (r *RegionProcesses) Rejoin(region string) { r.links.each(region, Link.Heal) }

// RoundTrip is as that of Regions.
func (r *RegionProcesses) RoundTrip(d time.Duration) { r.links.roundTrip(d) }

// Close stops all processes and removes the regions' files unless Options.Dir was
// given.
func (r *RegionProcesses) Close() error {
	var errs []error
	if r.Regions != nil {
		errs = append(errs, r.Regions.Close())
	}
	errs = append(errs, r.links.close())
	if r.ownDir {
		errs = append(errs, os.RemoveAll(r.dir))
	}
	return errors.Join(errs...)
}
