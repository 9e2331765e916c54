package region

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// checkNameStore is the check that a process which only reads can do without.
const checkNameStore = "store"

// check is one part of health. A part that is not vital may be wrong in a
// process that is ready to serve.
type check struct {
	name  string
	err   error
	info  string
	vital bool
	// warning is set for what is right now and will not be for long.
	warning bool
}

func (c check) detail() string {
	if c.err != nil {
		return c.err.Error()
	}
	return c.info
}

// checks asks every part how it is. Vital is what a process needs for its main
// job: a host to answer reads, a control process to commit as well.
func (p *Process) checks(ctx context.Context) []check {
	if p.local == nil {
		return []check{p.checkStore(ctx)}
	}
	position := p.local.Position()
	local := check{name: "local store", vital: true, info: fmt.Sprintf("revision %d, %d records", position.Applied, position.Records)}
	if !position.Synced {
		local.err = errIncomplete
	}
	feed := check{name: "change feed", info: "following the store"}
	if !position.Connected {
		feed.err = fmt.Errorf("not following the store; data is %s old", position.Age.Round(time.Millisecond))
	}
	checks := []check{local, feed, p.checkStore(ctx), p.checkKeyService(ctx), {name: "audit log", vital: true, err: p.audit.Ready()}}
	if p.isHost() {
		checks = append(checks, p.checkReports())
	}
	if position.Quarantined > 0 {
		checks = append(checks, check{name: "quarantine", err: fmt.Errorf("%d records cannot be applied", position.Quarantined)})
	}
	checks = append(checks, p.checkCertificates(time.Now())...)
	checks = append(checks, p.checkPeers()...)
	if p.unanswered() {
		checks = append(checks, check{name: "peers asked", err: errUnanswered})
	}
	if p.keyCache != nil {
		checks = append(checks, p.checkKeyCache())
	}
	if d := p.kms.Describe(); !d.Production {
		checks = append(checks, check{name: "key service driver", info: d.Driver + ": not for production"})
	}
	return checks
}

// storeCheckTimeout leaves the other checks time while the store is silent: a
// host is ready without it.
const storeCheckTimeout = 500 * time.Millisecond

func (p *Process) checkStore(ctx context.Context) check {
	c := check{name: checkNameStore, vital: p.isControl() || p.local == nil}
	shard, err := p.store.get()
	if err != nil {
		c.err = err
		return c
	}
	ctx, cancel := context.WithTimeout(ctx, storeCheckTimeout)
	defer cancel()
	h := shard.Health(ctx)
	switch {
	case h.Err != nil:
		c.err = h.Err
	case h.Corrupt:
		c.err = errors.New("members of the store hold different data; replace the member that is wrong")
	case h.NoSpace:
		c.err = errors.New("the store is full; mutations are refused until there is room")
	default:
		c.info = fmt.Sprintf("revision %d", h.Revision)
	}
	return c
}

type healthAnswer struct {
	Ready  bool                   `json:"ready"`
	Checks map[string]checkAnswer `json:"checks"`
}

type checkAnswer struct {
	Healthy bool   `json:"healthy"`
	Warning bool   `json:"warning,omitempty"`
	Detail  string `json:"detail,omitempty"`
}

// health is what all checks say together.
func (p *Process) health(ctx context.Context) healthAnswer {
	answer := healthAnswer{Ready: true, Checks: map[string]checkAnswer{}}
	for _, c := range p.checks(ctx) {
		answer.Checks[c.name] = checkAnswer{Healthy: c.err == nil, Warning: c.warning, Detail: c.detail()}
		answer.Ready = answer.Ready && (c.err == nil || !c.vital)
	}
	return answer
}

// addHealth adds the questions of load balancers and supervisors: /healthz, is the
// process alive, /readyz, can it do its main job, and what addServing adds.
func (p *Process) addHealth(mux *http.ServeMux) {
	if p.service != nil { // which a process that only runs a member of the store lacks
		p.addServing(mux)
	}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		answer := p.health(ctx)
		w.Header().Set("Content-Type", "application/json")
		if !answer.Ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(answer)
	})
}
