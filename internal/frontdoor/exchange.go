package frontdoor

import (
	"context"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// Headers that peers of the region add when they pass a request on, and that
// count only in requests with WithPeer.
const (
	headerForwardedBy     = "Lifeboat-Forwarded-By"
	headerForwardedSource = "Lifeboat-Forwarded-Source"
	headerRequestID       = "Lifeboat-Request-Id"
)

// headerAccount names the account of the caller, where what it presents stands for
// principals of several.
const headerAccount = "Lifeboat-Account"

// exchange is a request and its answer. As the ResponseWriter it keeps every
// answer back until the audit log has taken the request's line.
type exchange struct {
	http.ResponseWriter
	request service.Request
	service *service.Service
	action  string
	wrote   bool
	// passed is set once another process has audited the request.
	passed bool
	// deadlines sets those of the connection or stream; limited is set while
	// there is one for writing.
	deadlines http.ResponseController
	limited   bool
	// withholds is set while an answer is kept back of a request that was refused
	// because this region has handed over what it is about; withheld is that answer.
	withholds    bool
	withheld     *withheld
	writeTimeout time.Duration
}

// Unwrap lets http.ResponseController reach the connection.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// Flush passes on what has been written, for streams.
func (x *exchange) Flush() {
	if f, ok := x.ResponseWriter.(http.Flusher); ok && x.withheld == nil {
		f.Flush()
		x.unlimitWrite()
	}
}

// WriteHeader lets the answer leave if the request was audited; a request that
// was refused before it reached a use case is audited here.
func (x *exchange) WriteHeader(status int) {
	if x.wrote || x.withheld != nil {
		return
	}
	if _, _, ok := x.request.HandedOver(); ok && x.withholds {
		x.withheld = &withheld{status: status}
		return
	}
	x.wrote = true
	x.limitWrite()
	if !x.request.Audited() && !x.passed {
		if err := x.service.Refuse(&x.request, x.action, codeOfStatus(status)); err != nil {
			x.Header().Del("Content-Length")
			status = StatusOf(err).HTTP
		}
	}
	x.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (x *exchange) Write(b []byte) (int, error) {
	if !x.wrote {
		x.WriteHeader(http.StatusOK)
	}
	if x.withheld != nil {
		x.withheld.body = append(x.withheld.body, b...)
		return len(b), nil
	}
	x.limitWrite()
	return x.ResponseWriter.Write(b)
}

// codeOfStatus says in the audit log why a request never reached a use case.
func codeOfStatus(status int) secret.Code {
	switch {
	case status == http.StatusUnauthorized:
		return secret.CodeUnauthenticated
	case status == http.StatusTooManyRequests:
		return secret.CodeThrottled
	case status == http.StatusNotFound:
		return secret.CodeNotFound
	case status >= 500:
		return secret.CodeUnavailable
	}
	return secret.CodeInvalid
}

// newRequestID returns an ID that need not be hard to guess, only rare to repeat.
func newRequestID() string { return strconv.FormatUint(rand.Uint64(), 36) } //nolint:gosec // as said

// newExchange starts the exchange for a request.
func (h *Handler) newExchange(w http.ResponseWriter, r *http.Request) *exchange {
	x := &exchange{
		ResponseWriter: w, service: h.Service, action: r.URL.Path, deadlines: *http.NewResponseController(w), writeTimeout: h.IOTimeout,
	}
	if addr, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		x.request.Source = addr.Addr().Unmap()
	}
	peer, ok := r.Context().Value(peerKey{}).(string)
	forwarded := ok && r.Header.Get(headerForwardedBy) != ""
	x.request.Presented.Account = r.Header.Get(headerAccount)
	if x.request.FromRegion, _ = r.Context().Value(regionKey{}).(secret.RegionName); x.request.FromRegion == "" {
		x.request.Presented.Chain = presentedBy(r, ok, forwarded)
	}
	if forwarded {
		x.request.ForwardedBy = peer
		x.request.ID = r.Header.Get(headerRequestID)
		if addr, err := netip.ParseAddr(r.Header.Get(headerForwardedSource)); err == nil {
			x.request.Source = addr
		}
	}
	if x.request.ID == "" {
		x.request.ID = newRequestID()
	}
	return x
}

type regionKey struct{}

// WithRegion marks a request as one that a process of another region passes on, as its
// link has proved. The client's address and the request's ID are believed as WithPeer
// says, but no certificate: another region does not vouch for who calls. The request is
// not passed on again.
func WithRegion(ctx context.Context, region secret.RegionName, process string) context.Context {
	ctx = context.WithValue(ctx, regionKey{}, region)
	return WithPeer(ctx, string(region)+"/"+process)
}

type peerKey struct{}

// WithPeer marks a request as that of a process of this region, which the
// listener has found out from its certificate: what the process says of the
// client whose request it passes on is believed.
func WithPeer(ctx context.Context, process string) context.Context {
	return context.WithValue(ctx, peerKey{}, process)
}
