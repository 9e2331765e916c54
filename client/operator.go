package client

import (
	"context"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
)

// GetStatus returns the state of the region as the host that answers sees it.
func (c *Client) GetStatus(ctx context.Context, in *lifeboatv1.GetStatusRequest) (*lifeboatv1.GetStatusResponse, error) {
	return readHere(ctx, c, (*endpoint).GetStatus, in)
}

// ListHosts returns the registered hosts.
func (c *Client) ListHosts(ctx context.Context, in *lifeboatv1.ListHostsRequest) (*lifeboatv1.ListHostsResponse, error) {
	return readHere(ctx, c, (*endpoint).ListHosts, in)
}

// RemoveHost takes a host that is gone for good out of the registered set.
func (c *Client) RemoveHost(ctx context.Context, in *lifeboatv1.RemoveHostRequest) (*lifeboatv1.RemoveHostResponse, error) {
	return mutateHere(ctx, c, (*endpoint).RemoveHost, in)
}

// ListFailedMutations returns what hosts could not apply.
func (c *Client) ListFailedMutations(ctx context.Context, in *lifeboatv1.ListFailedMutationsRequest) (*lifeboatv1.ListFailedMutationsResponse, error) {
	return readHere(ctx, c, (*endpoint).ListFailedMutations, in)
}

// RetryFailedMutation makes the hosts try a record again.
func (c *Client) RetryFailedMutation(ctx context.Context, in *lifeboatv1.RetryFailedMutationRequest) (*lifeboatv1.RetryFailedMutationResponse, error) {
	return mutateHere(ctx, c, (*endpoint).RetryFailedMutation, in)
}

// GetFormats returns which formats of records are written and read.
func (c *Client) GetFormats(ctx context.Context, in *lifeboatv1.GetFormatsRequest) (*lifeboatv1.GetFormatsResponse, error) {
	return readHere(ctx, c, (*endpoint).GetFormats, in)
}

// HoldFormats keeps newer formats of records from being written, or ends that.
func (c *Client) HoldFormats(ctx context.Context, in *lifeboatv1.HoldFormatsRequest) (*lifeboatv1.HoldFormatsResponse, error) {
	return mutateHere(ctx, c, (*endpoint).HoldFormats, in)
}

// ListPeers returns the other regions as a control process sees them.
func (c *Client) ListPeers(ctx context.Context, in *lifeboatv1.ListPeersRequest) (*lifeboatv1.ListPeersResponse, error) {
	return readHere(ctx, c, (*endpoint).ListPeers, in)
}

// AdmitPeer has the region accept another life of a peer.
func (c *Client) AdmitPeer(ctx context.Context, in *lifeboatv1.AdmitPeerRequest) (*lifeboatv1.AdmitPeerResponse, error) {
	return mutateHere(ctx, c, (*endpoint).AdmitPeer, in)
}
