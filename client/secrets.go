package client

import (
	"context"
	"iter"
	"slices"

	"google.golang.org/protobuf/proto"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
)

// CreateSecretRequest and the others are the most used messages.
type (
	// CreateSecretRequest is the message of package lifeboatv1.
	CreateSecretRequest = lifeboatv1.CreateSecretRequest
	// PutSecretVersionRequest is the message of package lifeboatv1.
	PutSecretVersionRequest = lifeboatv1.PutSecretVersionRequest
	// GetSecretValueRequest is the message of package lifeboatv1.
	GetSecretValueRequest = lifeboatv1.GetSecretValueRequest
	// GetSecretValueResponse is the message of package lifeboatv1.
	GetSecretValueResponse = lifeboatv1.GetSecretValueResponse
	// DescribeSecretRequest is the message of package lifeboatv1.
	DescribeSecretRequest = lifeboatv1.DescribeSecretRequest
	// ListSecretsRequest is the message of package lifeboatv1.
	ListSecretsRequest = lifeboatv1.ListSecretsRequest
	// Secret is the message of package lifeboatv1.
	Secret = lifeboatv1.Secret
	// SecretVersion is the message of package lifeboatv1.
	SecretVersion = lifeboatv1.SecretVersion
	// PutSecretVersionResponse is the message of package lifeboatv1.
	PutSecretVersionResponse = lifeboatv1.PutSecretVersionResponse
)

// GetSecretValue returns a version's value; by default that of CURRENT. With a
// revision token of an earlier answer it is never older than that.
func (c *Client) GetSecretValue(ctx context.Context, in *lifeboatv1.GetSecretValueRequest) (*lifeboatv1.GetSecretValueResponse, error) {
	return read(ctx, c, (*endpoint).GetSecretValue, in)
}

// BatchGetSecretValues returns up to 100 values; each may fail by itself. Those that
// the region does not hold come from their home, if the client uses it.
func (c *Client) BatchGetSecretValues(ctx context.Context, in *lifeboatv1.BatchGetSecretValuesRequest) (*lifeboatv1.BatchGetSecretValuesResponse, error) {
	answer, err := read(ctx, c, (*endpoint).BatchGetSecretValues, in)
	if err != nil || len(c.in) == 1 {
		return answer, err
	}
	elsewhere := map[string][]string{} // secrets by home
	for _, e := range answer.GetErrors() {
		if Code(e.GetCode()) == CodeNotFound && e.GetHomeRegion() != answer.GetRegion() {
			elsewhere[e.GetHomeRegion()] = append(elsewhere[e.GetHomeRegion()], e.GetSecret())
		}
	}
	for home, secrets := range elsewhere {
		if at, err := c.At(home); err == nil {
			completeBatch(ctx, at, in, secrets, answer)
		}
	}
	return answer, nil
}

// completeBatch asks the home of secrets that a region does not hold for their values,
// and puts what it answers in place of the errors.
func completeBatch(ctx context.Context, at *Client, in *lifeboatv1.BatchGetSecretValuesRequest, secrets []string, answer *lifeboatv1.BatchGetSecretValuesResponse) {
	asked := proto.CloneOf(in)
	asked.Secrets = secrets
	more, err := read(ctx, at, (*endpoint).BatchGetSecretValues, asked)
	if err != nil { // that they do not exist is not certain
		for _, e := range answer.GetErrors() {
			if slices.Contains(secrets, e.GetSecret()) {
				e.Code, e.Message = string(CodeOf(err)), at.in[0].name+", which may have it, fails: "+err.Error()
			}
		}
		return
	}
	answer.Errors = slices.DeleteFunc(answer.GetErrors(), func(e *lifeboatv1.BatchError) bool { return slices.Contains(secrets, e.GetSecret()) })
	answer.Values, answer.Errors = append(answer.GetValues(), more.GetValues()...), append(answer.GetErrors(), more.GetErrors()...)
}

// DescribeSecret returns all but the value.
func (c *Client) DescribeSecret(ctx context.Context, in *lifeboatv1.DescribeSecretRequest) (*lifeboatv1.DescribeSecretResponse, error) {
	answer, err := read(ctx, c, (*endpoint).DescribeSecret, in)
	c.learn(aboutOf(in), answer.GetSecret().GetOwnership().GetHomeRegion())
	return answer, err
}

// ListSecrets yields the secrets that match, in the order of their names. It
// gets pages as they are needed and ends with the first error.
func (c *Client) ListSecrets(ctx context.Context, in *lifeboatv1.ListSecretsRequest) iter.Seq2[*lifeboatv1.Secret, error] {
	return pages(in, func(page *lifeboatv1.ListSecretsRequest) ([]*lifeboatv1.Secret, string, error) {
		answer, err := read(ctx, c, (*endpoint).ListSecrets, page)
		return answer.GetSecrets(), answer.GetNextPageToken(), err
	}, func(page *lifeboatv1.ListSecretsRequest, token string) { page.PageToken = token })
}

// CreateSecret makes a secret, with a first version unless the value is empty.
// A name that is taken is CodeExists.
func (c *Client) CreateSecret(ctx context.Context, in *lifeboatv1.CreateSecretRequest) (*lifeboatv1.CreateSecretResponse, error) {
	return mutate(ctx, c, (*endpoint).CreateSecret, in)
}

// PutSecretVersion adds a version; by default it becomes CURRENT. A secret that
// does not exist is CodeNotFound; see PutSecret.
func (c *Client) PutSecretVersion(ctx context.Context, in *lifeboatv1.PutSecretVersionRequest) (*lifeboatv1.PutSecretVersionResponse, error) {
	return mutate(ctx, c, (*endpoint).PutSecretVersion, in)
}

// Put is what PutSecret did.
type Put struct {
	Secret *lifeboatv1.Secret
	// Version is the one that was added; nil for a secret that was made.
	Version *lifeboatv1.SecretVersion
	// Created is set if the secret did not exist.
	Created bool
	// RevisionToken is for reads that must not see an older state, in any region.
	RevisionToken string
	// Cleared is set if every live host has the new version.
	Cleared bool
	// Replicated says which targets have received it; nil if none were waited for.
	Replicated *lifeboatv1.Replicated
	// PublicKey is of an SSH key pair that was generated.
	PublicKey string
}

// PutSecret adds a version to a secret, or makes the secret if the vault has
// none of that name. It needs the permission for both. It cannot make a secret
// if the request has stages, a version ID or expectations.
func (c *Client) PutSecret(ctx context.Context, in *lifeboatv1.PutSecretVersionRequest) (*Put, error) {
	put, err := c.putVersion(ctx, in)
	if CodeOf(err) != CodeNotFound || !creates(in, err) {
		return put, err
	}
	made, err := c.CreateSecret(ctx, &lifeboatv1.CreateSecretRequest{
		Vault: in.GetVault(), Name: in.GetSecret(), Value: in.GetValue(), RequestToken: in.GetRequestToken(), Wait: in.GetWait(),
		AckTargets: in.GetAckTargets(), Generate: in.GetGenerate(),
	})
	if CodeOf(err) == CodeExists { // someone else made it in between
		return c.putVersion(ctx, in)
	}
	if err != nil {
		return nil, err
	}
	return &Put{
		Secret: made.GetSecret(), Version: made.GetVersion(), Created: true,
		RevisionToken: made.GetRevisionToken(), Cleared: made.GetCleared(), Replicated: made.GetReplicated(),
		PublicKey: made.GetPublicKey(),
	}, nil
}

func (c *Client) putVersion(ctx context.Context, in *lifeboatv1.PutSecretVersionRequest) (*Put, error) {
	added, err := c.PutSecretVersion(ctx, in)
	if err != nil {
		return nil, err
	}
	return &Put{
		Secret: added.GetSecret(), Version: added.GetVersion(), RevisionToken: added.GetRevisionToken(), Cleared: added.GetCleared(), Replicated: added.GetReplicated(),
		PublicKey: added.GetPublicKey(),
	}, nil
}

// creates reports whether a secret that was not found can be made instead.
func creates(in *lifeboatv1.PutSecretVersionRequest, err error) bool {
	e, ok := err.(*Error) //nolint:errorlint // calls return it unwrapped
	return ok && e.Field == "secret" && len(in.GetStages()) == 0 && in.GetVersionId() == "" && in.GetExpiresAt() == nil &&
		in.GetExpectedOrder() == nil && in.GetExpectedCurrentVersionId() == ""
}

// UpdateSecret changes all but values.
func (c *Client) UpdateSecret(ctx context.Context, in *lifeboatv1.UpdateSecretRequest) (*lifeboatv1.UpdateSecretResponse, error) {
	return mutate(ctx, c, (*endpoint).UpdateSecret, in)
}

// MoveStage moves a stage or label to a version, or takes it off.
func (c *Client) MoveStage(ctx context.Context, in *lifeboatv1.MoveStageRequest) (*lifeboatv1.MoveStageResponse, error) {
	return mutate(ctx, c, (*endpoint).MoveStage, in)
}

// DeleteSecret schedules the deletion, or purges at once.
func (c *Client) DeleteSecret(ctx context.Context, in *lifeboatv1.DeleteSecretRequest) (*lifeboatv1.DeleteSecretResponse, error) {
	return mutate(ctx, c, (*endpoint).DeleteSecret, in)
}

// RestoreSecret takes a scheduled deletion back.
func (c *Client) RestoreSecret(ctx context.Context, in *lifeboatv1.RestoreSecretRequest) (*lifeboatv1.RestoreSecretResponse, error) {
	return mutate(ctx, c, (*endpoint).RestoreSecret, in)
}

// GenerateValue returns random bytes or a password; nothing is stored.
func (c *Client) GenerateValue(ctx context.Context, in *lifeboatv1.GenerateValueRequest) (*lifeboatv1.GenerateValueResponse, error) {
	return read(ctx, c, (*endpoint).GenerateValue, in)
}
