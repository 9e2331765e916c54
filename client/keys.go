package client

import (
	"context"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
)

// RotateDataKey makes a new generation of the data key of a vault or an account
// and has what older ones sealed sealed again in the background.
func (c *Client) RotateDataKey(ctx context.Context, in *lifeboatv1.RotateDataKeyRequest) (*lifeboatv1.RotateDataKeyResponse, error) {
	return mutateHere(ctx, c, (*endpoint).RotateDataKey, in)
}

// GetDataKeys returns the data keys of a vault or an account, never the keys
// themselves, and how far their rotation is.
func (c *Client) GetDataKeys(ctx context.Context, in *lifeboatv1.GetDataKeysRequest) (*lifeboatv1.GetDataKeysResponse, error) {
	return readHere(ctx, c, (*endpoint).GetDataKeys, in)
}

// RetireDataKeys deletes generations of data keys that nothing needs any more.
// Only operators.
func (c *Client) RetireDataKeys(ctx context.Context, in *lifeboatv1.RetireDataKeysRequest) (*lifeboatv1.RetireDataKeysResponse, error) {
	return mutateHere(ctx, c, (*endpoint).RetireDataKeys, in)
}

// RotateMasterKey has all data keys wrapped again by the active master keys, after
// the key service has made a new one if it can. Only operators.
func (c *Client) RotateMasterKey(ctx context.Context, in *lifeboatv1.RotateMasterKeyRequest) (*lifeboatv1.RotateMasterKeyResponse, error) {
	return mutateHere(ctx, c, (*endpoint).RotateMasterKey, in)
}

// GetKeyStatus returns what the keys of the region are like. Only operators.
func (c *Client) GetKeyStatus(ctx context.Context, in *lifeboatv1.GetKeyStatusRequest) (*lifeboatv1.GetKeyStatusResponse, error) {
	return readHere(ctx, c, (*endpoint).GetKeyStatus, in)
}

// ShredVault deletes a vault with all its secrets by destroying its data keys.
func (c *Client) ShredVault(ctx context.Context, in *lifeboatv1.ShredVaultRequest) (*lifeboatv1.ShredVaultResponse, error) {
	return mutate(ctx, c, (*endpoint).ShredVault, in)
}
