package replication

import (
	"context"

	"connectrpc.com/connect"

	peerv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// ConfirmDeleted implements peerv1connect.ReplicationServiceHandler. It looks at a
// copy that has the horizon, so that nothing live can come after what it says.
func (r *Receiver) ConfirmDeleted(ctx context.Context, req *connect.Request[peerv1.ConfirmDeletedRequest]) (*connect.Response[peerv1.ConfirmDeletedResponse], error) {
	from, leave, err := r.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	keys, err := keysOf(req.Msg.GetRecords())
	if err != nil {
		return nil, r.fail(err)
	}
	said := secret.Moment{Incarnation: secret.Incarnation(req.Msg.GetIncarnation()), Revision: req.Msg.GetRevision()}
	revision, err := r.Service.RaiseHorizon(ctx, from.Region, said)
	if err == nil {
		err = r.Local.WaitApplied(ctx, revision)
	}
	if err != nil {
		return nil, r.fail(err)
	}
	answer := &peerv1.ConfirmDeletedResponse{}
	err = r.Local.View(func(view record.View) error {
		live, at, err := r.Service.LiveOf(view, keys)
		answer.Live, answer.Incarnation, answer.Revision = namesOf(live), string(at.Incarnation), at.Revision
		return err
	})
	if err != nil {
		return nil, r.fail(err)
	}
	return connect.NewResponse(answer), nil
}

// GetForgotten implements peerv1connect.ReplicationServiceHandler.
func (r *Receiver) GetForgotten(ctx context.Context, req *connect.Request[peerv1.GetForgottenRequest]) (*connect.Response[peerv1.GetForgottenResponse], error) {
	from, leave, err := r.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	keys, err := keysOf(req.Msg.GetRecords())
	if err != nil {
		return nil, r.fail(err)
	}
	answer := &peerv1.GetForgottenResponse{}
	err = r.Local.View(func(view record.View) error {
		forgotten, at, err := r.Service.ForgottenOf(view, from.Region, keys)
		answer.Records, answer.Incarnation, answer.Revision = namesOf(forgotten), string(at.Incarnation), at.Revision
		return err
	})
	if err != nil {
		return nil, r.fail(err)
	}
	return connect.NewResponse(answer), nil
}

func keysOf(names []string) ([]record.Key, error) {
	if n := len(names); n > maxHeld {
		return nil, secret.Invalid("records", "has %d entries; the limit is %d", n, maxHeld)
	}
	keys := make([]record.Key, len(names))
	for i, name := range names {
		keys[i] = record.Key(name)
	}
	return keys, nil
}

func namesOf(keys []record.Key) []string {
	names := make([]string, len(keys))
	for i, key := range keys {
		names[i] = string(key)
	}
	return names
}
