package pipeline

import (
	"slices"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
)

// enlist takes note of a host of the durable set; mu is held.
func (p *Pipeline) enlist(id string, host *recordpb.Host) {
	if _, known := p.noted[id]; !known {
		p.noted[id] = p.Now()
	}
	p.registered[id] = host
}

// look notices that the process did not run for a while, in which hosts could not
// report to it; mu is held. While reports or the loop come in, looks are at most
// idleCheck apart.
func (p *Pipeline) look() {
	now := p.Now()
	if now.Sub(p.looked) > p.LiveFor {
		p.listening = now
	}
	p.looked = now
}

// liveHosts returns the last reports of the registered hosts that count as live;
// mu is held. known is false while that of one is missing: this process has only
// begun to listen to it, so that it may well serve reads. Such a host has applied
// nothing, and so has one whose report is of another life of the store.
func (p *Pipeline) liveHosts() (live []Report, known bool) {
	now, known := p.Now(), true
	for id := range p.registered {
		r := p.reports[id]
		switch {
		case p.heard(r, now):
		case now.Sub(p.listening) <= p.LiveFor || now.Sub(p.noted[id]) <= p.LiveFor:
			r.Host, r.Applied, known = id, 0, false
		default:
			continue
		}
		if r.life() != p.life {
			r.Applied, r.Quarantined, r.failing = 0, nil, nil
		}
		live = append(live, r)
	}
	return live, known
}

// advance recomputes the cleared revision; mu is held. It never falls in a life: a host
// that comes back with an old copy does not unmake what had been cleared.
func (p *Pipeline) advance() {
	p.look()
	if !p.loaded || !p.Local.Synced() {
		return // a host may be missing in the set that is known
	}
	live, known := p.liveHosts()
	if !known || len(p.registered) == 0 || 2*len(live) <= len(p.registered) {
		return
	}
	lowest := live[0].Applied
	for _, r := range live[1:] {
		lowest = min(lowest, r.Applied)
	}
	p.cleared = max(p.cleared, lowest)
}

// quarantined reports whether one of the live hosts could not apply the record.
func quarantined(live []Report, key record.Key) bool {
	return slices.ContainsFunc(live, func(r Report) bool {
		_, failing := r.failing[key]
		return failing
	})
}

// heard reports whether the last report is young enough for its host to count.
func (p *Pipeline) heard(r Report, now time.Time) bool {
	return !r.At.IsZero() && now.Sub(r.At) <= p.LiveFor
}
