package native

import (
	"context"

	"connectrpc.com/connect"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/authz"
)

// Operations is what an operator can ask of this process.
type Operations interface {
	// Status answers the state of the region as this process sees it.
	Status(ctx context.Context) (*lifeboatv1.GetStatusResponse, error)
	// RemoveHost takes a host out of the registered set.
	RemoveHost(ctx context.Context, host string) error
	// FailedMutations lists what hosts could not apply.
	FailedMutations(ctx context.Context) ([]*lifeboatv1.FailedMutation, error)
	// RetryFailedMutation makes hosts try a record again.
	RetryFailedMutation(ctx context.Context, record string) error
	// Formats answers which formats are written and read.
	Formats() *lifeboatv1.GetFormatsResponse
	// HoldFormats keeps newer formats from being written, or ends that.
	HoldFormats(ctx context.Context, held bool) error
	// Peers lists the other regions as this process sees them.
	Peers(ctx context.Context) (*lifeboatv1.ListPeersResponse, error)
	// AdmitPeer accepts another life of a peer; older also if deleted records may come
	// back with it.
	AdmitPeer(ctx context.Context, region, incarnation string, older bool) error
}

type operatorHandler struct{ dialect }

// GetStatus implements lifeboatv1connect.OperatorServiceHandler, as do the other
// methods.
func (h operatorHandler) GetStatus(ctx context.Context, _ *connect.Request[lifeboatv1.GetStatusRequest]) (*connect.Response[lifeboatv1.GetStatusResponse], error) {
	var answer *lifeboatv1.GetStatusResponse
	err := h.Service.Operate(ctx, authz.GetStatus, false, "", func(ctx context.Context) (err error) {
		answer, err = h.Operations.Status(ctx)
		return err
	})
	return reply(ctx, h.dialect, answer, err)
}

func (h operatorHandler) ListHosts(ctx context.Context, _ *connect.Request[lifeboatv1.ListHostsRequest]) (*connect.Response[lifeboatv1.ListHostsResponse], error) {
	answer := &lifeboatv1.ListHostsResponse{}
	err := h.Service.Operate(ctx, authz.ListHosts, false, "", func(ctx context.Context) error {
		status, err := h.Operations.Status(ctx)
		answer.Hosts = status.GetHosts()
		return err
	})
	return reply(ctx, h.dialect, answer, err)
}

func (h operatorHandler) RemoveHost(ctx context.Context, req *connect.Request[lifeboatv1.RemoveHostRequest]) (*connect.Response[lifeboatv1.RemoveHostResponse], error) {
	err := h.Service.Operate(ctx, authz.RemoveHost, true, req.Msg.GetHost(), func(ctx context.Context) error {
		return h.Operations.RemoveHost(ctx, req.Msg.GetHost())
	})
	return reply(ctx, h.dialect, &lifeboatv1.RemoveHostResponse{}, err)
}

func (h operatorHandler) ListFailedMutations(ctx context.Context, _ *connect.Request[lifeboatv1.ListFailedMutationsRequest]) (*connect.Response[lifeboatv1.ListFailedMutationsResponse], error) {
	answer := &lifeboatv1.ListFailedMutationsResponse{}
	err := h.Service.Operate(ctx, authz.ListFailedMutations, false, "", func(ctx context.Context) (err error) {
		answer.Mutations, err = h.Operations.FailedMutations(ctx)
		return err
	})
	return reply(ctx, h.dialect, answer, err)
}

func (h operatorHandler) RetryFailedMutation(ctx context.Context, req *connect.Request[lifeboatv1.RetryFailedMutationRequest]) (*connect.Response[lifeboatv1.RetryFailedMutationResponse], error) {
	err := h.Service.Operate(ctx, authz.RetryFailedMutation, true, req.Msg.GetRecord(), func(ctx context.Context) error {
		return h.Operations.RetryFailedMutation(ctx, req.Msg.GetRecord())
	})
	return reply(ctx, h.dialect, &lifeboatv1.RetryFailedMutationResponse{}, err)
}

func (h operatorHandler) GetFormats(ctx context.Context, _ *connect.Request[lifeboatv1.GetFormatsRequest]) (*connect.Response[lifeboatv1.GetFormatsResponse], error) {
	var answer *lifeboatv1.GetFormatsResponse
	err := h.Service.Operate(ctx, authz.GetFormats, false, "", func(context.Context) error {
		answer = h.Operations.Formats()
		return nil
	})
	return reply(ctx, h.dialect, answer, err)
}

func (h operatorHandler) HoldFormats(ctx context.Context, req *connect.Request[lifeboatv1.HoldFormatsRequest]) (*connect.Response[lifeboatv1.HoldFormatsResponse], error) {
	err := h.Service.Operate(ctx, authz.HoldFormats, true, "", func(ctx context.Context) error {
		return h.Operations.HoldFormats(ctx, req.Msg.GetHeld())
	})
	return reply(ctx, h.dialect, &lifeboatv1.HoldFormatsResponse{}, err)
}

func (h operatorHandler) ListPeers(ctx context.Context, _ *connect.Request[lifeboatv1.ListPeersRequest]) (*connect.Response[lifeboatv1.ListPeersResponse], error) {
	var answer *lifeboatv1.ListPeersResponse
	err := h.Service.Operate(ctx, authz.ListPeers, false, "", func(ctx context.Context) (err error) {
		answer, err = h.Operations.Peers(ctx)
		return err
	})
	return reply(ctx, h.dialect, answer, err)
}

func (h operatorHandler) AdmitPeer(ctx context.Context, req *connect.Request[lifeboatv1.AdmitPeerRequest]) (*connect.Response[lifeboatv1.AdmitPeerResponse], error) {
	err := h.Service.Operate(ctx, authz.AdmitPeer, true, req.Msg.GetRegion(), func(ctx context.Context) error {
		return h.Operations.AdmitPeer(ctx, req.Msg.GetRegion(), req.Msg.GetIncarnation(), req.Msg.GetOlderBackup())
	})
	return reply(ctx, h.dialect, &lifeboatv1.AdmitPeerResponse{}, err)
}
