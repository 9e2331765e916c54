package pipeline

import "slices"

// Behind returns the registered hosts, live or not, that are not known to have
// applied everything up to a revision: their last report to this process is
// older, is of another life of the store, or tells of a record that they could
// not apply. known is false while this process cannot tell which hosts there are,
// or there is none.
func (p *Pipeline) Behind(revision int64) (hosts []string, known bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.loaded || !p.Local.Synced() || len(p.registered) == 0 {
		return nil, false
	}
	for id := range p.registered {
		r := p.reports[id]
		if r.life() != p.life || r.Applied < revision || len(r.Quarantined) > 0 {
			hosts = append(hosts, id)
		}
	}
	slices.Sort(hosts)
	return hosts, true
}
