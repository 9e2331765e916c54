package client

import (
	"context"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
)

// TakeOverRegion makes the region that answers the home of everything of a lost one
// of which it holds a replica.
func (c *Client) TakeOverRegion(ctx context.Context, in *lifeboatv1.TakeOverRegionRequest) (*lifeboatv1.TakeOverRegionResponse, error) {
	return mutateHere(ctx, c, (*endpoint).TakeOverRegion, in)
}

// CutDrillVault cuts a vault that was made for a drill off from all other regions, in the
// region that answers, or ends that.
func (c *Client) CutDrillVault(ctx context.Context, in *lifeboatv1.CutDrillVaultRequest) (*lifeboatv1.CutDrillVaultResponse, error) {
	return mutateHere(ctx, c, (*endpoint).CutDrillVault, in)
}

// ListTakeovers returns the regions that were taken over and have not caught up since.
func (c *Client) ListTakeovers(ctx context.Context, in *lifeboatv1.ListTakeoversRequest) (*lifeboatv1.ListTakeoversResponse, error) {
	return readHere(ctx, c, (*endpoint).ListTakeovers, in)
}

// ForgetRegion has the region that answers never accept the known lives of a region
// again, and ends what waits there for its return.
func (c *Client) ForgetRegion(ctx context.Context, in *lifeboatv1.ForgetRegionRequest) (*lifeboatv1.ForgetRegionResponse, error) {
	return mutateHere(ctx, c, (*endpoint).ForgetRegion, in)
}

// MoveVault hands a vault over to another region, with its secrets, in the background.
func (c *Client) MoveVault(ctx context.Context, in *lifeboatv1.MoveVaultRequest) (*lifeboatv1.MoveVaultResponse, error) {
	return mutate(ctx, c, (*endpoint).MoveVault, in)
}

// MoveRegion hands over everything whose home is a region, which must be one that the
// client uses, to another one, in the background.
func (c *Client) MoveRegion(ctx context.Context, in *lifeboatv1.MoveRegionRequest) (*lifeboatv1.MoveRegionResponse, error) {
	return mutate(ctx, c, (*endpoint).MoveRegion, in)
}

// ListMoves returns the moves that are under way out of a region, the one that answers
// if none is named.
func (c *Client) ListMoves(ctx context.Context, in *lifeboatv1.ListMovesRequest) (*lifeboatv1.ListMovesResponse, error) {
	if in.GetRegion() == "" {
		return readHere(ctx, c, (*endpoint).ListMoves, in)
	}
	return readHome(ctx, c, (*endpoint).ListMoves, in)
}

// AbortMove ends the move of a vault out of the region that answers, or the move of a
// region, where it is.
func (c *Client) AbortMove(ctx context.Context, in *lifeboatv1.AbortMoveRequest) (*lifeboatv1.AbortMoveResponse, error) {
	if in.GetRegion() == "" {
		return mutateHere(ctx, c, (*endpoint).AbortMove, in)
	}
	return mutate(ctx, c, (*endpoint).AbortMove, in)
}
