package region

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/frontdoor"
	"github.com/lifeboat-secrets/lifeboat/internal/link"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/router"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const (
	// holdFor is how long a mutation waits for its record to arrive at the new home.
	holdFor = 2 * time.Second
	// maxHeld bounds the mutations of records that were handed over which wait, or are
	// passed on, at once in a process: half of what a link serves of this region.
	maxHeld = 64
	// passedOnFor bounds how long the new home may take.
	passedOnFor = 30 * time.Second
)

// newHome implements frontdoor.NewHome.
type newHome struct {
	p    *Process
	held chan struct{}
}

// Hold implements frontdoor.NewHome.
func (n newHome) Hold(ctx context.Context, home secret.RegionName, key record.Key, pass func(frontdoor.Forwarder) (answered bool)) error {
	err := n.hold(ctx, home, key, pass)
	n.p.handedOver.note(err)
	return err
}

func (n newHome) hold(ctx context.Context, home secret.RegionName, key record.Key, pass func(frontdoor.Forwarder) (answered bool)) error {
	select {
	case n.held <- struct{}{}:
		n.p.handedOver.held.Inc()
		defer func() {
			<-n.held
			n.p.handedOver.held.Dec()
		}()
	default:
		return secret.Errorf(secret.CodeThrottled, "%d mutations of records that were handed over are held; more are not at once", maxHeld)
	}
	if s, ok := n.p.links.PeerStatus(home); !ok || !s.Reachable {
		return secret.Errorf(secret.CodeUnavailable, "region %s is not reachable", home)
	}
	client, err := n.p.links.Client(home)
	if err != nil {
		return err
	}
	began := time.Now()
	waiting, cancel := context.WithTimeout(ctx, holdFor)
	defer cancel()
	refused, err := handovers{n.p}.Await(waiting, home, []record.Key{key})
	if err != nil {
		return err
	}
	if len(refused) > 0 {
		return secret.Errorf(secret.CodeUnavailable, "region %s refuses the record", home)
	}
	n.p.handedOver.arrived(time.Since(began))
	answered := pass(passingOn{router.NewForwarder(router.Options{
		Addresses: []string{string(home)}, Transport: client.Transport, Unsent: refusedByLink, Logger: n.p.log.With("part", "router"),
	})})
	if !answered {
		return secret.Errorf(secret.CodeUnavailable, "region %s was not reached", home)
	}
	return nil
}

// refusedByLink reports whether a link refused a request, or none could be made.
func refusedByLink(err error) bool {
	_, ok := errors.AsType[*secret.Error](err)
	return ok
}

// passingOn bounds how long what is passed on may take.
type passingOn struct{ *router.Forwarder }

// Forward implements frontdoor.Forwarder.
func (f passingOn) Forward(w http.ResponseWriter, r *http.Request, body []byte) (answered, sent bool) {
	ctx, cancel := context.WithTimeout(r.Context(), passedOnFor)
	defer cancel()
	return f.Forwarder.Forward(w, r.WithContext(ctx), body)
}

// servePassedOn serves a mutation that another region passes on, of a record that it
// has handed over to this one. Who calls is proved by what the client itself sent.
func (p *Process) servePassedOn(w http.ResponseWriter, r *http.Request) {
	peer, ok := link.PeerFrom(r.Context())
	if !ok {
		http.Error(w, "the peer is unknown", http.StatusForbidden)
		return
	}
	p.handler.ServeHTTP(w, r.WithContext(frontdoor.WithRegion(r.Context(), peer.Region, peer.Process)))
}
