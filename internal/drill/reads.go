package drill

import (
	"context"
	"slices"
	"sync"
	"time"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
)

const (
	readEvery = 5 * time.Millisecond
	// readTimeout bounds one read: one that takes longer counts as failed.
	readTimeout = 5 * time.Second
)

// reader reads the drill's secrets in turn through one client.
type reader struct {
	through string
	client  *client.Client
	// ordered is set if no answer may be older than one before.
	ordered bool

	mu     sync.Mutex
	report ReadReport
	took   []float64
	newest map[string]uint64
}

// readers returns one for each region that is left, and one for all regions together if
// there is such a client.
func (d *drill) newReaders() (all []*reader) {
	for _, region := range []Region{d.Heir, d.Third} {
		all = append(all, &reader{through: region.Name, client: region.Client, ordered: true})
	}
	if d.All != nil {
		all = append(all, &reader{through: "a client of all regions", client: d.All})
	}
	for _, r := range all {
		r.newest = map[string]uint64{}
	}
	return all
}

// run reads until ctx ends.
func (r *reader) run(ctx context.Context, d *drill) {
	for i := 0; ; i++ {
		r.read(ctx, d, d.names[i%len(d.names)])
		if !rest(ctx, readEvery) {
			return
		}
	}
}

func (r *reader) read(ctx context.Context, d *drill, secret string) {
	began := time.Now()
	bounded, cancel := context.WithTimeout(ctx, readTimeout)
	got, err := r.client.GetSecretValue(bounded, &lifeboatv1.GetSecretValueRequest{Vault: d.vault.ID, Secret: secret})
	cancel()
	if ctx.Err() != nil {
		return // it was stopped
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Reads++
	r.took = append(r.took, time.Since(began).Seconds())
	switch {
	case err != nil:
		if r.report.Failed++; r.report.FirstFailure == "" {
			r.report.FirstFailure = err.Error()
		}
	case !d.ledger.wrote(secret, string(got.GetValue())):
		r.report.Wrong++
	case r.ordered && got.GetVersionNumber() < r.newest[secret]:
		r.report.WentBack++
	}
	r.newest[secret] = max(r.newest[secret], got.GetVersionNumber())
}

// result says what was met. The reader must have ended.
func (r *reader) result() ReadReport {
	r.mu.Lock()
	defer r.mu.Unlock()
	report := r.report
	report.Through = r.through
	if len(r.took) > 0 {
		slices.Sort(r.took)
		report.Max = r.took[len(r.took)-1]
		report.P99 = r.took[(len(r.took)-1)*99/100]
	}
	return report
}
