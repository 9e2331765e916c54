package client

import (
	"context"
	"iter"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
)

// CreateAccount makes an account with a first user, admin, and its token. Only operators.
func (c *Client) CreateAccount(ctx context.Context, in *lifeboatv1.CreateAccountRequest) (*lifeboatv1.CreateAccountResponse, error) {
	return mutateHere(ctx, c, (*endpoint).CreateAccount, in)
}

// GetAccount returns an account.
func (c *Client) GetAccount(ctx context.Context, in *lifeboatv1.GetAccountRequest) (*lifeboatv1.GetAccountResponse, error) {
	return read(ctx, c, (*endpoint).GetAccount, in)
}

// ListAccounts yields all accounts. It gets pages as they are needed and ends with the first
// error.
func (c *Client) ListAccounts(ctx context.Context, in *lifeboatv1.ListAccountsRequest) iter.Seq2[*lifeboatv1.Account, error] {
	return pages(in, func(page *lifeboatv1.ListAccountsRequest) ([]*lifeboatv1.Account, string, error) {
		answer, err := readHere(ctx, c, (*endpoint).ListAccounts, page)
		return answer.GetAccounts(), answer.GetNextPageToken(), err
	}, func(page *lifeboatv1.ListAccountsRequest, token string) { page.PageToken = token })
}

// CreatePrincipal makes a principal.
func (c *Client) CreatePrincipal(ctx context.Context, in *lifeboatv1.CreatePrincipalRequest) (*lifeboatv1.CreatePrincipalResponse, error) {
	return mutate(ctx, c, (*endpoint).CreatePrincipal, in)
}

// GetPrincipal returns a principal.
func (c *Client) GetPrincipal(ctx context.Context, in *lifeboatv1.GetPrincipalRequest) (*lifeboatv1.GetPrincipalResponse, error) {
	return read(ctx, c, (*endpoint).GetPrincipal, in)
}

// ListPrincipals yields the principals of an account. It gets pages as they are needed and ends with the first
// error.
func (c *Client) ListPrincipals(ctx context.Context, in *lifeboatv1.ListPrincipalsRequest) iter.Seq2[*lifeboatv1.Principal, error] {
	return pages(in, func(page *lifeboatv1.ListPrincipalsRequest) ([]*lifeboatv1.Principal, string, error) {
		answer, err := read(ctx, c, (*endpoint).ListPrincipals, page)
		return answer.GetPrincipals(), answer.GetNextPageToken(), err
	}, func(page *lifeboatv1.ListPrincipalsRequest, token string) { page.PageToken = token })
}

// UpdatePrincipal changes roles, disables or enables.
func (c *Client) UpdatePrincipal(ctx context.Context, in *lifeboatv1.UpdatePrincipalRequest) (*lifeboatv1.UpdatePrincipalResponse, error) {
	return mutate(ctx, c, (*endpoint).UpdatePrincipal, in)
}

// DeletePrincipal deletes a principal and its credentials.
func (c *Client) DeletePrincipal(ctx context.Context, in *lifeboatv1.DeletePrincipalRequest) (*lifeboatv1.DeletePrincipalResponse, error) {
	return mutate(ctx, c, (*endpoint).DeletePrincipal, in)
}

// WhoAmI says who the caller is.
func (c *Client) WhoAmI(ctx context.Context, in *lifeboatv1.WhoAmIRequest) (*lifeboatv1.WhoAmIResponse, error) {
	return read(ctx, c, (*endpoint).WhoAmI, in)
}

// CreateToken makes a bearer token. It is shown once.
func (c *Client) CreateToken(ctx context.Context, in *lifeboatv1.CreateTokenRequest) (*lifeboatv1.CreateTokenResponse, error) {
	return mutate(ctx, c, (*endpoint).CreateToken, in)
}

// CreateAccessKey makes an access key pair. The secret half is shown once.
func (c *Client) CreateAccessKey(ctx context.Context, in *lifeboatv1.CreateAccessKeyRequest) (*lifeboatv1.CreateAccessKeyResponse, error) {
	return mutate(ctx, c, (*endpoint).CreateAccessKey, in)
}

// ListCredentials yields credentials, without what proves them. It gets pages as they are needed and ends with the first
// error.
func (c *Client) ListCredentials(ctx context.Context, in *lifeboatv1.ListCredentialsRequest) iter.Seq2[*lifeboatv1.Credential, error] {
	return pages(in, func(page *lifeboatv1.ListCredentialsRequest) ([]*lifeboatv1.Credential, string, error) {
		answer, err := read(ctx, c, (*endpoint).ListCredentials, page)
		return answer.GetCredentials(), answer.GetNextPageToken(), err
	}, func(page *lifeboatv1.ListCredentialsRequest, token string) { page.PageToken = token })
}

// RevokeCredential stops a credential for good.
func (c *Client) RevokeCredential(ctx context.Context, in *lifeboatv1.RevokeCredentialRequest) (*lifeboatv1.RevokeCredentialResponse, error) {
	return mutate(ctx, c, (*endpoint).RevokeCredential, in)
}

// PutPolicy makes or replaces a policy.
func (c *Client) PutPolicy(ctx context.Context, in *lifeboatv1.PutPolicyRequest) (*lifeboatv1.PutPolicyResponse, error) {
	return mutate(ctx, c, (*endpoint).PutPolicy, in)
}

// GetPolicy returns a policy.
func (c *Client) GetPolicy(ctx context.Context, in *lifeboatv1.GetPolicyRequest) (*lifeboatv1.GetPolicyResponse, error) {
	return read(ctx, c, (*endpoint).GetPolicy, in)
}

// ListPolicies yields the policies of an account. It gets pages as they are needed and ends with the first
// error.
func (c *Client) ListPolicies(ctx context.Context, in *lifeboatv1.ListPoliciesRequest) iter.Seq2[*lifeboatv1.Policy, error] {
	return pages(in, func(page *lifeboatv1.ListPoliciesRequest) ([]*lifeboatv1.Policy, string, error) {
		answer, err := read(ctx, c, (*endpoint).ListPolicies, page)
		return answer.GetPolicies(), answer.GetNextPageToken(), err
	}, func(page *lifeboatv1.ListPoliciesRequest, token string) { page.PageToken = token })
}

// DeletePolicy deletes a policy.
func (c *Client) DeletePolicy(ctx context.Context, in *lifeboatv1.DeletePolicyRequest) (*lifeboatv1.DeletePolicyResponse, error) {
	return mutate(ctx, c, (*endpoint).DeletePolicy, in)
}
