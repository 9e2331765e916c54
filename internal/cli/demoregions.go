package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/faultproxy"
	"github.com/lifeboat-secrets/lifeboat/internal/localregion"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// The regions of the demonstration. lost is the one that is cut off.
const (
	demoFirst secret.RegionName = "east"
	demoLost  secret.RegionName = "west"
	demoThird secret.RegionName = "south"
)

// way is the network from one region to another.
type way struct {
	from, to secret.RegionName
	*faultproxy.Proxy
}

// plan prepares the regions, with a network between them that can fail.
func (d *demo) plan(dir string) (err error) {
	d.regions, err = localregion.PlanRegions(localregion.Options{
		Dir: dir, Hosts: 1, HostsIn: map[secret.RegionName]int{demoFirst: 3}, Release: d.app.Release,
		Via: func(from, to secret.RegionName, target string) (string, error) {
			proxy, err := faultproxy.Start(faultproxy.Options{Target: target})
			if err != nil {
				return "", err
			}
			d.ways = append(d.ways, way{from, to, proxy})
			return proxy.Address(), nil
		},
	}, demoFirst, demoLost, demoThird)
	if err == nil {
		d.region = d.regions.Region(demoFirst)
	}
	return err
}

func (d *demo) close() error {
	for _, c := range d.clients {
		c.Close()
	}
	var errs []error
	if d.regions != nil {
		errs = append(errs, d.regions.Close())
	}
	for _, w := range d.ways {
		errs = append(errs, w.Close())
	}
	return errors.Join(errs...)
}

// each does something with the network between a region and all others.
func (d *demo) each(region secret.RegionName, do func(*faultproxy.Proxy)) {
	for _, w := range d.ways {
		if w.from == region || w.to == region {
			do(w.Proxy)
		}
	}
}

func (d *demo) cutOff(ctx context.Context, _ string) error {
	d.title("Cut %s off from %s and %s", demoLost, demoFirst, demoThird)
	began := time.Now()
	d.each(demoLost, (*faultproxy.Proxy).Cut)
	for _, name := range []secret.RegionName{demoFirst, demoThird} {
		if err := d.waitPeer(ctx, name, demoLost, func(p *lifeboatv1.Peer) bool { return peerState(p) == stateUnreachable }); err != nil {
			return err
		}
	}
	if err := d.waitPeer(ctx, demoFirst, demoThird, func(p *lifeboatv1.Peer) bool { return peerState(p) == stateLinked }); err != nil {
		return err
	}
	d.saw("both know after %.1f s that it is unreachable, and still reach each other", time.Since(began).Seconds())
	if err := d.writeCleared(ctx); err != nil {
		return err
	}
	d.saw("%s takes writes as before", demoFirst)
	return d.compareAll(ctx)
}

func (d *demo) heal(ctx context.Context, _ string) error {
	d.title("Heal the network")
	began := time.Now()
	d.each(demoLost, (*faultproxy.Proxy).Heal)
	if err := d.regions.WaitLinked(ctx); err != nil {
		return err
	}
	d.saw("after %.1f s each region reaches the two others", time.Since(began).Seconds())
	return nil
}

// waitPeer waits until one region sees another as wanted.
func (d *demo) waitPeer(ctx context.Context, region, peer secret.RegionName, wanted func(*lifeboatv1.Peer) bool) error {
	r := d.regions.Region(region)
	token, err := r.OperatorToken()
	if err != nil {
		return err
	}
	c, err := r.Client(r.Control(), token)
	if err != nil {
		return err
	}
	defer c.Close()
	for {
		answer, err := c.ListPeers(ctx, &lifeboatv1.ListPeersRequest{})
		if err != nil {
			return fmt.Errorf("%s: %w", region, err)
		}
		for _, p := range answer.GetPeers() {
			if p.GetRegion() == string(peer) && wanted(p) {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not see %s as it should: %w", region, peer, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}
