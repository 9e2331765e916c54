package client

import (
	"context"
	"iter"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
)

// ReplicateVault sets to which regions the secrets of a vault are replicated.
func (c *Client) ReplicateVault(ctx context.Context, in *lifeboatv1.ReplicateVaultRequest) (*lifeboatv1.ReplicateVaultResponse, error) {
	return mutate(ctx, c, (*endpoint).ReplicateVault, in)
}

// ReplicateSecret sets to which regions a secret is replicated besides those of its
// vault.
func (c *Client) ReplicateSecret(ctx context.Context, in *lifeboatv1.ReplicateSecretRequest) (*lifeboatv1.ReplicateSecretResponse, error) {
	return mutate(ctx, c, (*endpoint).ReplicateSecret, in)
}

// PromoteSecret makes a replica a secret of its own, in the region that the client asks
// first. It does not follow the home. Asked for again it changes nothing.
func (c *Client) PromoteSecret(ctx context.Context, in *lifeboatv1.PromoteSecretRequest) (*lifeboatv1.PromoteSecretResponse, error) {
	return call(ctx, c, (*endpoint).PromoteSecret, in, toHere, idempotent)
}

// GetSecretReplication returns how far a secret is at each target.
func (c *Client) GetSecretReplication(ctx context.Context, in *lifeboatv1.GetSecretReplicationRequest) (*lifeboatv1.GetSecretReplicationResponse, error) {
	return readHome(ctx, c, (*endpoint).GetSecretReplication, in)
}

// GetVaultReplication returns how far the secrets of a vault are at each target.
func (c *Client) GetVaultReplication(ctx context.Context, in *lifeboatv1.GetVaultReplicationRequest) (*lifeboatv1.GetVaultReplicationResponse, error) {
	return readHome(ctx, c, (*endpoint).GetVaultReplication, in)
}

// CompareVault compares a vault with a target by digest and enqueues what differs.
func (c *Client) CompareVault(ctx context.Context, in *lifeboatv1.CompareVaultRequest) (*lifeboatv1.CompareVaultResponse, error) {
	return mutate(ctx, c, (*endpoint).CompareVault, in)
}

// ListQueues returns the state of the queue of each target.
func (c *Client) ListQueues(ctx context.Context, in *lifeboatv1.ListQueuesRequest) (*lifeboatv1.ListQueuesResponse, error) {
	return readHere(ctx, c, (*endpoint).ListQueues, in)
}

// PauseQueue has nothing more sent to a target.
func (c *Client) PauseQueue(ctx context.Context, in *lifeboatv1.PauseQueueRequest) (*lifeboatv1.PauseQueueResponse, error) {
	return mutateHere(ctx, c, (*endpoint).PauseQueue, in)
}

// ResumeQueue ends a pause.
func (c *Client) ResumeQueue(ctx context.Context, in *lifeboatv1.ResumeQueueRequest) (*lifeboatv1.ResumeQueueResponse, error) {
	return mutateHere(ctx, c, (*endpoint).ResumeQueue, in)
}

// RetryQueue has what failed tried again at once.
func (c *Client) RetryQueue(ctx context.Context, in *lifeboatv1.RetryQueueRequest) (*lifeboatv1.RetryQueueResponse, error) {
	return mutateHere(ctx, c, (*endpoint).RetryQueue, in)
}

// ListFailures yields the records that a target refused. It gets pages as they are
// needed and ends with the first error.
func (c *Client) ListFailures(ctx context.Context, in *lifeboatv1.ListFailuresRequest) iter.Seq2[*lifeboatv1.Failure, error] {
	return pages(in, func(page *lifeboatv1.ListFailuresRequest) ([]*lifeboatv1.Failure, string, error) {
		answer, err := readHere(ctx, c, (*endpoint).ListFailures, page)
		return answer.GetFailures(), answer.GetNextPageToken(), err
	}, func(page *lifeboatv1.ListFailuresRequest, token string) { page.PageToken = token })
}
