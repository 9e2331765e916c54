package region

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const (
	readsPath  = "/health/reads"
	writesPath = "/health/writes"
	// servingFor is how long what was found counts, so that who asks often, or means
	// harm, costs no more than one look.
	servingFor = time.Second
	// servingTimeout bounds a look; it is longer than those of its parts.
	servingTimeout = 2 * time.Second
)

// servingAnswer says what can be done through a process, for load balancers. It is
// answered to everybody, so it holds nothing that tells one vault from another.
type servingAnswer struct {
	Region secret.RegionName `json:"region"`
	Reads  bool              `json:"reads"`
	Writes bool              `json:"writes"`
}

// serving remembers the last answer.
type serving struct {
	look singleflight.Group
	mu   sync.Mutex
	last servingAnswer
	at   time.Time
}

// addServing adds the questions of load balancers: can secrets be read and written
// through this process, of the region as a whole and of one vault by its ID. Who knows
// a vault's ID, of which 80 bits are random, learns whether this region serves it now;
// a vault that never was, and one that others serve, get the same answer.
func (p *Process) addServing(mux *http.ServeMux) {
	reads := func(a servingAnswer) bool { return a.Reads }
	writes := func(a servingAnswer) bool { return a.Writes }
	for path, holds := range map[string]func(servingAnswer) bool{"reads": reads, "writes": writes} {
		mux.HandleFunc("GET /health/"+path, func(w http.ResponseWriter, _ *http.Request) {
			a := p.serves()
			p.answerServing(w, a, holds(a))
		})
		mux.HandleFunc("GET /health/vaults/{vault}/"+path, func(w http.ResponseWriter, r *http.Request) {
			a := p.serves()
			held, home := p.service.HoldsVault(secret.VaultID(r.PathValue("vault")))
			a.Reads, a.Writes = a.Reads && held, a.Writes && home
			p.answerServing(w, a, holds(a))
		})
	}
}

func (p *Process) answerServing(w http.ResponseWriter, a servingAnswer, holds bool) {
	w.Header().Set("Content-Type", "application/json")
	w.Header()["Cache-Control"] = []string{"no-store"}
	if !holds {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(a)
}

// serves returns what can be done through this process, as it was found at most a
// second ago.
func (p *Process) serves() servingAnswer {
	s := &p.serving
	s.mu.Lock()
	last, at := s.last, s.at
	s.mu.Unlock()
	if time.Since(at) < servingFor {
		return last
	}
	found, _, _ := s.look.Do("", func() (any, error) {
		// Others wait for it too, so it does not end with who asked first.
		ctx, cancel := context.WithTimeout(context.Background(), servingTimeout)
		defer cancel()
		a := p.lookServing(ctx)
		s.mu.Lock()
		s.last, s.at = a, time.Now()
		s.mu.Unlock()
		return a, nil
	})
	return found.(servingAnswer)
}

// lookServing looks: reads need what is vital but the store, writes a control process
// with its store, here or elsewhere in the region.
func (p *Process) lookServing(ctx context.Context) servingAnswer {
	a := servingAnswer{Region: p.config.Region.Name, Reads: true}
	store := false
	for _, c := range p.checks(ctx) {
		switch {
		case c.name == checkNameStore:
			store = c.err == nil
		case c.vital && c.err != nil:
			a.Reads = false
		}
	}
	switch {
	case !a.Reads:
	case p.isControl():
		a.Writes = store && p.service.TakesMutations() == nil
	default:
		a.Writes = p.forward.Reaches(ctx, writesPath)
	}
	return a
}
