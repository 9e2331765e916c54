package config

import (
	"fmt"
	"slices"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Limits on the links of a region.
const (
	maxPeers         = 10
	maxPeerAddresses = 10
)

// validatePeers checks what links this region with others.
func (c *Config) validatePeers(p *problems) {
	l := c.Listen
	if l.RegionAddress != "" {
		address(p, "listen.region_address", l.RegionAddress)
		if !c.Process.Has(Control) {
			p.add("listen.region_address", "needs the role control; hosts have no links with other regions")
		}
	}
	switch {
	case l.RegionAdvertise == "":
	case l.RegionAddress == "":
		p.add("listen.region_address", "must not be empty with listen.region_advertise")
	default:
		reachable(p, "listen.region_advertise", l.RegionAdvertise)
	}
	if len(c.Peers) == 0 {
		return
	}
	switch {
	case !c.Process.Has(Control):
		p.add("peers", "needs the role control; hosts have no links with other regions")
	case l.RegionAddress == "":
		p.add("listen.region_address", "must not be empty with peers: links go both ways")
	}
	if len(c.Peers) > maxPeers {
		p.add("peers", "has %d entries; the limit is %d", len(c.Peers), maxPeers)
	}
	for i := range c.Peers {
		c.validatePeer(p, i)
	}
}

func (c *Config) validatePeer(p *problems, i int) {
	peer, at := c.Peers[i], fmt.Sprintf("peers[%d].", i)
	p.check(secret.CheckRegionName(at+"region", peer.Region))
	switch same := func(other Peer) bool { return other.Region == peer.Region }; {
	case peer.Region == "":
	case peer.Region == c.Region.Name:
		p.add(at+"region", "is %s, this region itself", peer.Region)
	case slices.ContainsFunc(c.Peers[:i], same):
		p.add(at+"region", "%s is listed twice", peer.Region)
	}
	required(p, at+"ca_file", peer.CAFile)
	if n := len(peer.Addresses); n < 1 || n > maxPeerAddresses {
		p.add(at+"addresses", "has %d entries; 1 to %d are needed", n, maxPeerAddresses)
	}
	for j, a := range peer.Addresses {
		key := fmt.Sprintf("%saddresses[%d]", at, j)
		reachable(p, key, a)
		if slices.Contains(peer.Addresses[:j], a) {
			p.add(key, "%s is listed twice", a)
		}
		if a != "" && a == c.Listen.RegionAdvertise {
			p.add(key, "is %s, where this process itself listens", a)
		}
	}
}
