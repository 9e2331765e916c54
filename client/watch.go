package client

import (
	"context"
	"errors"
	"iter"
	"slices"
	"time"

	"connectrpc.com/connect"
	"github.com/cenkalti/backoff/v5"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
)

// WatchSecrets yields the events of a vault, first those after the resume token,
// then new ones as they come, until ctx ends or the loop does. It connects again
// after an interruption and goes on where it was; no event is missed, one
// may come twice. Answers without an event are heartbeats: they carry a newer resume
// token. CodeResumeGone means that events were missed: list, then watch anew. So it
// ends too if the region that was watched does not answer for ten seconds and another
// one does, since each region has events of its own.
func (c *Client) WatchSecrets(ctx context.Context, in *lifeboatv1.WatchSecretsRequest) iter.Seq2[*lifeboatv1.WatchSecretsResponse, error] {
	return func(yield func(*lifeboatv1.WatchSecretsResponse, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		w := watch{client: c, vault: in.GetVault(), resume: in.GetResumeToken(), waits: backoff.NewExponentialBackOff()}
		w.waits.InitialInterval, w.waits.MaxInterval = firstRetryAfter, lastRetryAfter
		for {
			err := w.once(ctx, yield)
			if errors.Is(err, errStopped) {
				return
			}
			e := errorOf(ctx, err)
			if w.lacks(e) {
				continue
			}
			if !mayRepeat(e, harmless) {
				yield(nil, e)
				return
			}
			select {
			case <-ctx.Done():
				yield(nil, errorOf(ctx, connect.NewError(connect.CodeCanceled, ctx.Err())))
				return
			case <-time.After(max(w.waits.NextBackOff(), e.RetryAfter)):
			}
		}
	}
}

// defaultPatience is how long a watch waits for the region whose events it yields until
// it gives up what it might miss.
const defaultPatience = 10 * time.Second

var errStopped = errors.New("the loop ended")

type watch struct {
	client        *Client
	vault, resume string
	waits         *backoff.ExponentialBackOff

	// region is the one that is watched, nil before the first answer; lostAt is when
	// it was first found not to answer.
	region *region
	lostAt time.Time
	// asked is where the last connection went; absent are the regions that do not hold
	// the vault.
	asked  *region
	absent []*region
}

// lacks reports whether the region that was asked does not hold the vault, but another
// one may.
func (w *watch) lacks(e *Error) bool {
	absent := isAbsent(e, about{vault: w.vault}) || e.Code == CodeResumeGone // the token may be of another region
	if w.asked == nil || w.region != nil || !absent {
		return false
	}
	w.absent = append(w.absent, w.asked)
	return len(w.absent) < len(w.client.in)
}

// next returns where to connect: to the region that is watched, while there is hope, or
// else to the first that answers.
func (w *watch) next() *endpoint {
	w.client.probeDue()
	if w.region != nil && (w.lostAt.IsZero() || time.Since(w.lostAt) < w.client.patience) {
		return append(w.region.available(), w.region.endpoints...)[0]
	}
	var first *endpoint
	for _, r := range w.client.order(about{vault: w.vault}, "") {
		if slices.Contains(w.absent, r) && len(w.absent) < len(w.client.in) {
			continue
		}
		if open := r.available(); len(open) > 0 {
			return open[0]
		}
		if first == nil {
			first = r.endpoints[0]
		}
	}
	return first
}

// once watches over one connection.
func (w *watch) once(ctx context.Context, yield func(*lifeboatv1.WatchSecretsResponse, error) bool) error {
	at := w.next()
	w.asked = at.region
	request := connect.NewRequest(&lifeboatv1.WatchSecretsRequest{Vault: w.vault, ResumeToken: w.resume})
	if err := w.client.authorize(ctx, request.Header()); err != nil {
		return err
	}
	stream, err := at.WatchSecrets(ctx, request)
	if err != nil {
		return w.failed(ctx, at, err)
	}
	defer func() { _ = stream.Close() }()
	for stream.Receive() {
		w.waits.Reset()
		at.breaker.answered()
		w.region, w.lostAt = at.region, time.Time{}
		if token := stream.Msg().GetResumeToken(); token != "" {
			w.resume = token
		}
		if !yield(stream.Msg(), nil) {
			return errStopped
		}
	}
	if err := stream.Err(); err != nil {
		return w.failed(ctx, at, err)
	}
	// The host ended the stream, as it does when it stops.
	return &Error{Code: CodeUnavailable, Message: "the host ended the watch"}
}

// failed takes note of why a connection ended.
func (w *watch) failed(ctx context.Context, at *endpoint, err error) error {
	e := errorOf(ctx, err)
	e.Region = at.region.name
	switch {
	case e.Code == CodeUnreachable:
		at.breaker.broke()
		if w.lostAt.IsZero() {
			w.lostAt = time.Now()
		}
	case e.Code != CodeCanceled:
		at.breaker.answered()
	}
	return e
}
