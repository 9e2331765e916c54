package region

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	peerv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// currency knows how current the replicas here are: for each peer the last moment of
// which is known that all that the peer's hosts had then is here. Control processes learn
// it from the peers, hosts from the control processes. Reading it takes no lock.
type currency struct {
	mu    sync.Mutex // of writers
	known atomic.Pointer[map[secret.RegionName]time.Time]
}

// note takes a moment that was told; an earlier one than is known tells nothing.
func (c *currency) note(peer secret.RegionName, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	changed := map[secret.RegionName]time.Time{}
	if known := c.known.Load(); known != nil {
		if !at.After((*known)[peer]) {
			return
		}
		changed = maps.Clone(*known)
	}
	changed[peer] = at
	c.known.Store(&changed)
}

// forget is for another life of this region, which has what it was restored with.
func (c *currency) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known.Store(nil)
}

// age returns how long ago that was, false if it is not known of the peer.
func (c *currency) age(peer secret.RegionName) (time.Duration, bool) {
	known := c.known.Load()
	if known == nil {
		return 0, false
	}
	at, ok := (*known)[peer]
	return max(0, time.Since(at)), ok
}

// ages returns them of all peers, in seconds.
func (c *currency) ages() map[string]float64 {
	ages := map[string]float64{}
	if known := c.known.Load(); known != nil {
		for peer, at := range *known {
			ages[string(peer)] = time.Since(at).Seconds()
		}
	}
	return ages
}

// take takes what a control process answered to a report that was sent at a time. What
// the control process says was true after that.
func (c *currency) take(sent time.Time, answer *peerv1.ReportProgressResponse) {
	for peer, age := range answer.GetPeerAgeSeconds() {
		c.note(secret.RegionName(peer), sent.Add(-time.Duration(age*float64(time.Second))))
	}
}

// behind returns how long ago the oldest mutation committed that a peer lacks, as far as
// this process knows; false if it knows nothing yet.
func (p *Process) behind(peer secret.RegionName) (time.Duration, bool) {
	if p.outbound == nil || !p.local.Position().Synced {
		return 0, false
	}
	queue := p.outbound.Queue.Status(peer)
	behind := queue.Age
	if mark := queue.Resynchronisation; mark != nil {
		behind = max(behind, p.clock().Sub(record.FromNanos(mark.GetWantedAt())))
	}
	return behind + p.local.Position().Age, true
}
