package lifeboattest

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Regions are regions that know each other as peers.
type Regions struct {
	all   []*Region
	links links
}

// StartRegions is Start for several regions, each with the same options but its
// own name, and waits until they are linked. The account named test of each is its
// own.
func StartRegions(t testing.TB, o Options, names ...string) *Regions {
	t.Helper()
	r, err := OpenRegions(t.Context(), o, names...)
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

// OpenRegions is Open for several regions; see StartRegions. Options.Dir then has a
// directory for each.
func OpenRegions(ctx context.Context, o Options, names ...string) (*Regions, error) {
	r := &Regions{links: links{}}
	if err := r.plan(o, names); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	var starting errgroup.Group
	for _, region := range r.all {
		starting.Go(func() error { return region.start(ctx) })
	}
	err := starting.Wait()
	if err == nil {
		err = r.WaitLinked(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (r *Regions) plan(o Options, names []string) error {
	for _, name := range names {
		one := o
		one.Name = name
		if o.Dir != "" {
			one.Dir = filepath.Join(o.Dir, name)
		}
		region, err := plan(one)
		if err != nil {
			return err
		}
		r.all = append(r.all, region)
	}
	for _, from := range r.all {
		for _, to := range r.all {
			if from == to {
				continue
			}
			address, err := r.links.add(from.Name(), to.Name(), to.control.ports.region)
			if err != nil {
				return err
			}
			from.peers = append(from.peers, config.Peer{
				Region: secret.RegionName(to.Name()), Addresses: []string{address}, CAFile: to.caFile(),
			})
		}
	}
	return nil
}

// All are the regions in the order in which they were named.
func (r *Regions) All() []*Region { return r.all }

// Region returns one by its name, which must be one of those that were started.
func (r *Regions) Region(name string) *Region {
	for _, region := range r.all {
		if region.Name() == name {
			return region
		}
	}
	panic("there is no region " + name)
}

// ForClients returns the regions, in the order in which they were named, as the Go SDK
// takes them: client.Config{Regions: regions.ForClients()}.
func (r *Regions) ForClients() []client.Region {
	var regions []client.Region
	for _, region := range r.all {
		one := client.Region{Name: region.Name(), CAFile: region.CAFile()}
		for _, host := range region.hosts {
			one.Addresses = append(one.Addresses, host.URL())
		}
		if len(region.hosts) == 0 {
			one.Addresses = []string{region.control.URL()}
		}
		regions = append(regions, one)
	}
	return regions
}

// Link is over which one region calls another: requests go one way, answers come
// back over the same connections. Both must be among those that were started.
func (r *Regions) Link(from, to string) Link { return r.links.get(from, to) }

// Isolate cuts all links from and to a region.
func (r *Regions) Isolate(region string) { r.links.each(region, Link.Cut) }

// Rejoin heals all links from and to a region.
func (r *Regions) Rejoin(region string) { r.links.each(region, Link.Heal) }

// RoundTrip has each round trip between two regions take so long, without a bound
// on what they send: 80 ms are those between two coasts. Healing a link ends it.
func (r *Regions) RoundTrip(d time.Duration) { r.links.roundTrip(d) }

// WaitLinked waits until each region that runs reaches every other one and has
// admitted it.
func (r *Regions) WaitLinked(ctx context.Context) error {
	for _, region := range r.all {
		if region.control.Running() == nil {
			continue
		}
		for _, peer := range region.peers {
			if err := region.WaitPeer(ctx, string(peer.Region), Linked); err != nil {
				return err
			}
		}
	}
	return nil
}

// Close closes all regions.
func (r *Regions) Close() error {
	errs := make([]error, len(r.all))
	var closing errgroup.Group
	for i, region := range r.all {
		closing.Go(func() error {
			errs[i] = region.Close()
			return nil
		})
	}
	_ = closing.Wait()
	return errors.Join(errors.Join(errs...), r.links.close())
}

// Linked reports whether a peer is reachable and the life of it that answers is
// the admitted one.
func Linked(p *lifeboatv1.Peer) bool {
	return p.GetReachable() && p.GetPinnedIncarnation() != "" && p.GetPinnedIncarnation() == p.GetIncarnation()
}

// Peer returns what control-1 knows of another region.
func (r *Region) Peer(ctx context.Context, name string) (*lifeboatv1.Peer, error) {
	answer, err := r.Operator().ListPeers(ctx, connect.NewRequest(&lifeboatv1.ListPeersRequest{}))
	if err != nil {
		return nil, err
	}
	for _, p := range answer.Msg.GetPeers() {
		if p.GetRegion() == name {
			return p, nil
		}
	}
	return nil, fmt.Errorf("%s is not a peer of %s", name, r.Name())
}

// WaitPeer waits until what control-1 knows of another region is as wanted.
func (r *Region) WaitPeer(ctx context.Context, name string, wanted func(*lifeboatv1.Peer) bool) error {
	return until(ctx, func() error {
		p, err := r.Peer(ctx, name)
		if err == nil && !wanted(p) {
			err = fmt.Errorf("region %s sees %s as %v", r.Name(), name, p)
		}
		return err
	})
}
