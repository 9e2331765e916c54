package client

import (
	"context"
	"errors"
	"iter"
	"time"

	"connectrpc.com/connect"
	"github.com/cenkalti/backoff/v5"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
)

// WatchSecrets yields the events of a vault, first those after the resume token,
// then new ones as they come, until ctx ends or the loop does. It connects again
// after an interruption and goes on where it was; no event is missed, one
// may come twice. Answers without an event are heartbeats: they carry a newer resume
// token. CodeResumeGone means that events were missed: list, then watch anew.
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
			if !mayRepeat(e, idempotent) {
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

var errStopped = errors.New("the loop ended")

type watch struct {
	client        *Client
	vault, resume string
	waits         *backoff.ExponentialBackOff
}

// once watches over one connection.
func (w *watch) once(ctx context.Context, yield func(*lifeboatv1.WatchSecretsResponse, error) bool) error {
	request := connect.NewRequest(&lifeboatv1.WatchSecretsRequest{Vault: w.vault, ResumeToken: w.resume})
	if err := w.client.authorize(ctx, request.Header()); err != nil {
		return err
	}
	stream, err := w.client.secrets.WatchSecrets(ctx, request)
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	for stream.Receive() {
		w.waits.Reset()
		if token := stream.Msg().GetResumeToken(); token != "" {
			w.resume = token
		}
		if !yield(stream.Msg(), nil) {
			return errStopped
		}
	}
	if err := stream.Err(); err != nil {
		return err
	}
	// The host ended the stream, as it does when it stops.
	return &Error{Code: CodeUnavailable, Message: "the host ended the watch"}
}
