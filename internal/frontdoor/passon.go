package frontdoor

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// NewHome is the home of records that this region has handed over.
type NewHome interface {
	// Hold waits, within bounds, until a record that was handed over has arrived at
	// its new home, and calls pass with what takes requests there, which reports whether
	// the request is answered. It returns an error if it is not, or pass was not called:
	// the record has not arrived in time, or too many wait.
	Hold(ctx context.Context, home secret.RegionName, key record.Key, pass func(Forwarder) (answered bool)) error
}

// withheld is an answer that was kept back.
type withheld struct {
	status int
	body   []byte
}

// serveOrPassOn serves a mutation. If it is refused because this region has handed over
// what it is about, it is held until that has arrived, and passed on to the new home,
// with the caller's own credential. That refuses, commits and audits like any request;
// here the audit log says not_home. If it cannot be passed on, the refusal is the answer.
func (h *Handler) serveOrPassOn(x *exchange, r *http.Request) {
	body, err := readAll(r)
	if err != nil {
		h.refuse(x, r, secret.Invalid("body", "cannot be read to its end"))
		return
	}
	defer clear(body) // it held a value in the clear
	header := maps.Clone(x.Header())
	r.Body = io.NopCloser(bytes.NewReader(body))
	// Without an Authorization header it is the client certificate that proves who
	// calls, and only the client can show that.
	x.withholds = r.Header.Get("Authorization") != ""
	h.Dialect.ServeHTTP(x, r)
	x.withholds = false
	if x.withheld == nil {
		return
	}
	key, home, _ := x.request.HandedOver()
	if h.NewHome.Hold(r.Context(), home, key, func(f Forwarder) bool { return h.passOn(x, r, f, header, body) }) != nil {
		x.answerWithheld()
	}
}

// passOn passes a mutation on to the new home. It returns false if nothing was done
// there, and nothing answered.
func (h *Handler) passOn(x *exchange, r *http.Request, f Forwarder, header http.Header, body []byte) bool {
	out := r.Clone(r.Context())
	h.vouch(x, out)
	out.Header.Del(headerForwardedCertificate)
	for _, hop := range []string{"Connection", "Expect", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade"} {
		out.Header.Del(hop)
	}
	refusal, refusedWith := x.withheld, maps.Clone(x.Header())
	restore := func(to http.Header) {
		clear(x.Header())
		maps.Copy(x.Header(), to)
	}
	restore(header)
	x.withheld, x.passed = nil, true
	answered, sent := f.Forward(x, out, body)
	switch {
	case answered:
		return true
	case sent:
		x.passed = false
		h.unreachable(x, r, true)
		return true
	}
	restore(refusedWith)
	x.withheld, x.passed = refusal, false
	return false
}

// answerWithheld lets an answer leave that was kept back.
func (x *exchange) answerWithheld() {
	w := x.withheld
	x.withheld = nil
	x.WriteHeader(w.status)
	_, _ = x.Write(w.body)
}
