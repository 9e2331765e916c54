package link

import (
	"context"
	"io"
	"net/http"

	"connectrpc.com/connect"

	"github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1/peerv1connect"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Headers of requests and answers.
const (
	// headerIncarnation is the life of the region that calls, headerExpected that
	// of the region which is meant.
	headerIncarnation = "Lifeboat-Incarnation"
	headerExpected    = "Lifeboat-Expected-Incarnation"
	// headerRefused is the code of the error of a request that the link refused:
	// nothing was done.
	headerRefused = "Lifeboat-Link-Refused"
	// headerReason says why, for people.
	headerReason = "Lifeboat-Link-Reason"
)

// isHello reports whether a path is that of the call which needs no pinned life.
func isHello(path string) bool { return path == peerv1connect.RegionServiceHelloProcedure }

// caller sends requests to one peer. It implements http.RoundTripper.
type caller struct{ *peer }

// RoundTrip implements http.RoundTripper. A refusal by the link at the other end
// is a typed error.
func (c caller) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	if err := c.sign(r); err != nil {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, err
	}
	answer, err := c.transport.RoundTrip(r)
	if err != nil {
		return nil, unavailable(r.Context(), err)
	}
	code := secret.Code(answer.Header.Get(headerRefused))
	if code == "" {
		return answer, nil
	}
	_, _ = io.CopyN(io.Discard, answer.Body, 1<<10)
	_ = answer.Body.Close()
	return nil, secret.Errorf(code, "region %s refuses: %s", c.region, answer.Header.Get(headerReason))
}

// unavailable gives an error of the network its code, unless the caller gave up:
// Connect takes a connection that was reset for one that the caller closed.
func unavailable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return err
	}
	return connect.NewError(connect.CodeUnavailable, err)
}

// sign says whose request it is, and whom it is meant for.
func (c caller) sign(r *http.Request) error {
	own := c.links.Life().Incarnation
	r.Header.Set(headerIncarnation, string(own))
	if isHello(r.URL.Path) {
		return nil
	}
	pin, err := c.links.Pinned(c.region)
	switch {
	case err != nil:
		return err
	case own == "":
		return secret.Errorf(secret.CodeUnavailable, "this region is not initialized, or its life is not known here yet")
	case pin.refuses(c.region) != nil:
		return pin.refuses(c.region)
	case pin.Incarnation == "":
		return secret.Errorf(secret.CodeUnavailable, "region %s was not met yet", c.region)
	}
	r.Header.Set(headerExpected, string(pin.Incarnation))
	return nil
}
