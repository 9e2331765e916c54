package link

import (
	"context"
	"errors"
	"net/http"

	"connectrpc.com/connect"

	"github.com/lifeboat-secrets/lifeboat/internal/pki"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// refusals are the codes with which a link refuses a request.
func refusals() []secret.Code {
	return []secret.Code{secret.CodeUnauthenticated, secret.CodeThrottled, secret.CodeUnknownIncarnation, secret.CodeUnavailable}
}

type identityKey struct{}

// PeerFrom returns the region, and the process of it, that a request which passed
// Accept is from.
func PeerFrom(ctx context.Context) (pki.Identity, bool) {
	id, ok := ctx.Value(identityKey{}).(pki.Identity)
	return id, ok
}

// Accept returns the handler for a listener with ServerTLS. It lets through what
// comes from the accepted life of a peer and is meant for the present life of this
// region, with the peer in the context; and Hello from any life of a peer.
func (l *Links) Accept(next http.Handler) http.Handler {
	errorWriter := connect.NewErrorWriter()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, leave, err := l.enter(w, r)
		if err != nil {
			l.refuse(errorWriter, w, r, id.Region, err)
			return
		}
		defer leave()
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), identityKey{}, id)))
	})
}

// enter decides on a request. If it may be served, leave must be called after.
func (l *Links) enter(w http.ResponseWriter, r *http.Request) (id pki.Identity, leave func(), err error) {
	id, err = l.trust.CheckClient(r.TLS)
	if err != nil {
		w.Header().Set("Connection", "close") // the other end connects anew, perhaps with a new certificate
		return id, nil, err
	}
	p := l.peers[id.Region]
	slots := p.requests
	if isHello(r.URL.Path) {
		slots = p.hellos
	} else if err := l.checkLives(p.region, r.Header); err != nil {
		return id, nil, err
	}
	select {
	case slots <- struct{}{}:
		return id, func() { <-slots }, nil
	default:
		return id, nil, secret.Errorf(secret.CodeThrottled, "%d requests of region %s are in progress; more are not served at once", cap(slots), p.region)
	}
}

// checkLives checks which lives of the two regions a request is between.
func (l *Links) checkLives(peer secret.RegionName, h http.Header) error {
	pin, err := l.Pinned(peer)
	own := l.Life().Incarnation
	from, to := secret.Incarnation(h.Get(headerIncarnation)), secret.Incarnation(h.Get(headerExpected))
	switch {
	case err != nil:
		return secret.Wrap(secret.CodeUnavailable, err, "it is not known here which incarnation of region "+string(peer)+" is accepted")
	case own == "":
		return secret.Errorf(secret.CodeUnavailable, "region %s is not initialized, or its life is not known here yet", l.Region)
	case from == "":
		return secret.Errorf(secret.CodeUnavailable, "the request does not say which incarnation of region %s it is from", peer)
	case pin.Forgets(from):
		return secret.Errorf(secret.CodeUnknownIncarnation, "incarnation %s of region %s was forgotten here for good", from, peer)
	case pin.refuses(peer) != nil:
		return pin.refuses(peer)
	case pin.Incarnation == "":
		return secret.Errorf(secret.CodeUnavailable, "region %s was not met here yet", peer)
	case !pin.Admits(from):
		return secret.Errorf(secret.CodeUnknownIncarnation, "incarnation %s of region %s is not admitted here; %s is", from, peer, pin.Incarnation)
	case to != own:
		return secret.Errorf(secret.CodeUnknownIncarnation, "this is incarnation %s of region %s, not %s", own, l.Region, to)
	}
	return nil
}

func (l *Links) refuse(e *connect.ErrorWriter, w http.ResponseWriter, r *http.Request, region secret.RegionName, err error) {
	code := secret.CodeOf(err)
	if p, ok := l.peers[region]; ok && p.refused[code] != nil {
		p.refused[code].Add(1)
	}
	l.Logger.Debug("a request of a peer is refused", "peer", region, "path", r.URL.Path, "error", err)
	reason := err.Error()
	if typed, ok := errors.AsType[*secret.Error](err); ok {
		reason = typed.Message // causes stay here
	}
	w.Header().Set(headerRefused, string(code))
	w.Header().Set(headerReason, reason)
	wire := connect.NewError(l.StatusOf(err), errors.New(reason))
	if e.IsSupported(r) {
		_ = e.Write(w, r, wire)
		return
	}
	http.Error(w, reason, http.StatusServiceUnavailable)
}
