package client

import (
	"context"
	"iter"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
)

// CreateVault makes a vault.
func (c *Client) CreateVault(ctx context.Context, in *lifeboatv1.CreateVaultRequest) (*lifeboatv1.CreateVaultResponse, error) {
	return mutateHere(ctx, c, (*endpoint).CreateVault, in)
}

// GetVault returns a vault.
func (c *Client) GetVault(ctx context.Context, in *lifeboatv1.GetVaultRequest) (*lifeboatv1.GetVaultResponse, error) {
	answer, err := read(ctx, c, (*endpoint).GetVault, in)
	c.learn(aboutOf(in), answer.GetVault().GetOwnership().GetHomeRegion())
	return answer, err
}

// ListVaults yields the vaults of an account. It gets pages as they are needed and ends with the first
// error.
func (c *Client) ListVaults(ctx context.Context, in *lifeboatv1.ListVaultsRequest) iter.Seq2[*lifeboatv1.Vault, error] {
	return pages(in, func(page *lifeboatv1.ListVaultsRequest) ([]*lifeboatv1.Vault, string, error) {
		answer, err := read(ctx, c, (*endpoint).ListVaults, page)
		return answer.GetVaults(), answer.GetNextPageToken(), err
	}, func(page *lifeboatv1.ListVaultsRequest, token string) { page.PageToken = token })
}

// UpdateVault changes a vault.
func (c *Client) UpdateVault(ctx context.Context, in *lifeboatv1.UpdateVaultRequest) (*lifeboatv1.UpdateVaultResponse, error) {
	return mutate(ctx, c, (*endpoint).UpdateVault, in)
}

// DeleteVault deletes an empty vault.
func (c *Client) DeleteVault(ctx context.Context, in *lifeboatv1.DeleteVaultRequest) (*lifeboatv1.DeleteVaultResponse, error) {
	return mutate(ctx, c, (*endpoint).DeleteVault, in)
}
