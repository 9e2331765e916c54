package region

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// conflictMetrics are those of what this region keeps of records past a fork, as its
// local copy has it.
func (p *Process) conflictMetrics() prometheus.Collector {
	s := newReadings("takeover", func() (all service.AccountConflicts) {
		err := p.local.View(func(view record.View) error {
			counts, err := service.CountConflicts(view)
			for _, n := range counts {
				all.All += n.All
				all.OfSecrets += n.OfSecrets
			}
			return err
		})
		if err != nil {
			p.log.Warn("conflicts cannot be counted", "error", err)
		}
		return all
	})
	s.gauge("conflicts", "Conflicts that this region keeps: what it held of records past a fork, until it is adopted or discarded.",
		func(n service.AccountConflicts) float64 { return float64(n.All) })
	s.gauge("conflicts_of_secrets", "Those of them that are of secrets.", func(n service.AccountConflicts) float64 { return float64(n.OfSecrets) })
	return s
}
