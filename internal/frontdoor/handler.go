package frontdoor

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/authn"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
	"github.com/lifeboat-secrets/lifeboat/internal/throttle"
)

// Forwarder passes a request on to a process that can commit mutations.
type Forwarder interface {
	// Forward answers with what that process answered. If none answered nothing
	// is written, and sent says whether one may have carried the request out.
	Forward(w http.ResponseWriter, r *http.Request, body []byte) (answered, sent bool)
}

// Protocol is how the requests of a dialect prove who calls, and how they are
// refused. Without one it is that of the native dialect: bearer tokens or client
// certificates, and the errors of Connect.
type Protocol interface {
	// Action names what a request asks for, for the audit log.
	Action(r *http.Request) string
	// Authenticate returns what proves who calls. Before the dialect has been given
	// the request, what it returns need only tell whether the credential is known.
	Authenticate(r *http.Request, request *service.Request) func(view record.View, now time.Time) (authn.Caller, error)
	// WriteError answers a request with an error.
	WriteError(w http.ResponseWriter, r *http.Request, err error)
}

// Options of a Handler. Service and Dialect are required.
type Options struct {
	Service       *service.Service
	Authenticator *authn.Authenticator
	// Dialect serves the requests.
	Dialect http.Handler
	// Local reports whether this process can serve the request itself; nil means
	// that it can serve all.
	Local func(r *http.Request) bool
	// Protocol is that of a dialect other than the native one.
	Protocol Protocol
	// Forwarder takes the requests that this process cannot serve.
	Forwarder Forwarder
	// NewHome takes the mutations of records that this region has handed over to
	// another one; nil means that they are refused.
	NewHome NewHome
	// Mutates reports whether a request may change something.
	Mutates func(r *http.Request) bool
	// MaxRequestBytes bounds a body.
	MaxRequestBytes int64
	// Limiter bounds the requests in progress.
	Limiter *throttle.Limiter
	// Watch reports whether a path starts a watch, which has slots of its own; nil
	// means that none does.
	Watch func(path string) bool
	// IOTimeout bounds how long a caller may take to send a body, and to take in
	// each part of an answer; default 30 s.
	IOTimeout time.Duration
	// NativeError makes an error of the native dialect.
	NativeError func(ctx context.Context, err error) error
	// Process names this one in what it forwards.
	Process string
}

// Handler is the front door of a process.
type Handler struct {
	Options
}

// NewHandler returns the front door.
func NewHandler(o Options) *Handler {
	if o.IOTimeout == 0 {
		o.IOTimeout = ioTimeout
	}
	return &Handler{Options: o}
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := h.newExchange(w, r)
	header := w.Header()
	header["Lifeboat-Request-Id"] = []string{x.request.ID}
	header["Cache-Control"] = noStore
	if h.Protocol != nil {
		x.action = h.Protocol.Action(r)
		x.request.Authenticate = h.Protocol.Authenticate(r, &x.request)
	} else {
		h.authenticates(x, r)
	}
	r = r.WithContext(service.WithRequest(r.Context(), &x.request))
	slots := h.Limiter.Requests()
	if h.Watch != nil && h.Watch(r.URL.Path) {
		slots = h.Limiter.Watches()
	}
	if err := slots.Enter(); err != nil {
		h.refuse(x, r, err)
		return
	}
	defer slots.Leave()
	if busy := slots.Crowded(); busy != nil && !h.known(x) {
		slots.Refuse()
		h.refuse(x, r, busy)
		return
	}
	x.limitBody(r, h.IOTimeout)
	if err := h.bound(x, r); err != nil {
		h.refuse(x, r, err)
		return
	}
	if h.Local != nil && !h.Local(r) {
		h.forward(x, r)
		return
	}
	if h.NewHome != nil && x.request.FromRegion == "" && h.Mutates(r) {
		h.serveOrPassOn(x, r)
		return
	}
	h.Dialect.ServeHTTP(x, r)
}

// authenticates has the request prove who calls by a bearer token, or else by the
// client certificate.
func (h *Handler) authenticates(x *exchange, r *http.Request) {
	ctx := r.Context()
	authorization := r.Header.Get("Authorization")
	token, ok := bearer(authorization)
	x.request.Presented.Bearer = token
	x.request.Authenticate = func(view record.View, now time.Time) (authn.Caller, error) {
		if p := &x.request.Presented; !ok && p.Bearer == "" && (authorization != "" || len(p.Chain) == 0) {
			return authn.Caller{}, secret.Errorf(secret.CodeUnauthenticated, "the request carries no bearer token").
				WithHint("send the header Authorization: Bearer TOKEN")
		}
		return h.Authenticator.Present(ctx, view, x.request.Presented, now)
	}
}

// known reports whether the local store knows the caller. Before the body has
// been read that takes part of the slots from those who have no credential.
func (h *Handler) known(x *exchange) bool {
	return h.Service.Local.View(func(view record.View) error {
		_, err := x.request.Authenticate(view, h.Service.Now())
		return err
	}) == nil
}

// bound refuses a body that is larger than the limit. One of unknown length is
// read first, so that it is refused like any other.
func (h *Handler) bound(x *exchange, r *http.Request) error {
	if r.ContentLength > h.MaxRequestBytes {
		return h.tooLarge()
	}
	if r.ContentLength >= 0 {
		return nil // of which the server reads no more
	}
	r.Body = http.MaxBytesReader(x, r.Body, h.MaxRequestBytes)
	body, err := readAll(r)
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return h.tooLarge()
	}
	if err != nil {
		return secret.Invalid("body", "cannot be read to its end")
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}

func (h *Handler) tooLarge() error {
	return secret.Invalid("body", "is larger than %d bytes, the limit", h.MaxRequestBytes)
}

var noStore = []string{"no-store"}

func bearer(authorization string) (string, bool) {
	scheme, token, ok := strings.Cut(authorization, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", false
	}
	return token, true
}

// vouch says in a request that is passed on whose it is.
func (h *Handler) vouch(x *exchange, out *http.Request) {
	out.Header.Set(headerForwardedBy, h.Process)
	out.Header.Set(headerForwardedSource, x.request.Source.String())
	out.Header.Set(headerRequestID, x.request.ID)
}

// forward passes a mutation on. The process that commits it audits it.
func (h *Handler) forward(x *exchange, r *http.Request) {
	body, err := readAll(r)
	if err != nil {
		h.refuse(x, r, secret.Invalid("body", "cannot be read to its end"))
		return
	}
	out := r.Clone(context.WithoutCancel(r.Context()))
	ctx, cancel := context.WithCancel(out.Context())
	defer cancel()
	stop := context.AfterFunc(r.Context(), cancel)
	defer stop()
	out = out.WithContext(ctx)
	h.vouch(x, out)
	if err := forwardChain(out.Header, x.request.Presented.Chain); err != nil {
		h.refuse(x, r, err)
		return
	}
	x.passed = true
	answered, sent := h.Forwarder.Forward(x, out, body)
	if answered {
		return
	}
	x.passed = false
	h.unreachable(x, r, sent)
}
