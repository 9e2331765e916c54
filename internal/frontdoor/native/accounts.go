package native

import (
	"context"

	"connectrpc.com/connect"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

type accountHandler struct{ dialect }

// CreateAccount implements lifeboatv1connect.AccountServiceHandler, as do the
// other methods.
func (h accountHandler) CreateAccount(ctx context.Context, req *connect.Request[lifeboatv1.CreateAccountRequest]) (*connect.Response[lifeboatv1.CreateAccountResponse], error) {
	r, err := h.Service.CreateAccount(ctx, req.Msg.GetName(), req.Msg.GetRequestToken())
	if err != nil {
		return nil, h.fail(ctx, err)
	}
	answer := &lifeboatv1.CreateAccountResponse{Account: account(r.Account), Admin: principal(r.Admin), Token: string(r.Token.Reveal())}
	if r.Credential != nil {
		answer.Credential = credential(r.Credential)
	}
	return connect.NewResponse(answer), nil
}

func (h accountHandler) GetAccount(ctx context.Context, req *connect.Request[lifeboatv1.GetAccountRequest]) (*connect.Response[lifeboatv1.GetAccountResponse], error) {
	a, err := h.Service.GetAccount(ctx, req.Msg.GetAccount())
	if err != nil {
		return nil, h.fail(ctx, err)
	}
	return connect.NewResponse(&lifeboatv1.GetAccountResponse{Account: account(a)}), nil
}

func (h accountHandler) ListAccounts(ctx context.Context, req *connect.Request[lifeboatv1.ListAccountsRequest]) (*connect.Response[lifeboatv1.ListAccountsResponse], error) {
	as, next, err := h.Service.ListAccounts(ctx, int(req.Msg.GetPageSize()), req.Msg.GetPageToken())
	return reply(ctx, h.dialect, &lifeboatv1.ListAccountsResponse{Accounts: each(as, account), NextPageToken: next}, err)
}

func (h accountHandler) CreatePrincipal(ctx context.Context, req *connect.Request[lifeboatv1.CreatePrincipalRequest]) (*connect.Response[lifeboatv1.CreatePrincipalResponse], error) {
	m := req.Msg
	kind, err := kindOf(m.GetKind())
	if err != nil {
		return refuse[lifeboatv1.CreatePrincipalResponse](ctx, h.dialect, "CreatePrincipal", err)
	}
	p, err := h.Service.CreatePrincipal(ctx, service.NewPrincipal{
		Account: m.GetAccount(), Name: m.GetName(), Kind: kind, Roles: m.GetRoles(), RequestToken: m.GetRequestToken(),
	})
	if err != nil {
		return nil, h.fail(ctx, err)
	}
	return connect.NewResponse(&lifeboatv1.CreatePrincipalResponse{Principal: principal(p)}), nil
}

func (h accountHandler) GetPrincipal(ctx context.Context, req *connect.Request[lifeboatv1.GetPrincipalRequest]) (*connect.Response[lifeboatv1.GetPrincipalResponse], error) {
	p, err := h.Service.GetPrincipal(ctx, req.Msg.GetAccount(), req.Msg.GetPrincipal())
	if err != nil {
		return nil, h.fail(ctx, err)
	}
	return connect.NewResponse(&lifeboatv1.GetPrincipalResponse{Principal: principal(p)}), nil
}

func (h accountHandler) ListPrincipals(ctx context.Context, req *connect.Request[lifeboatv1.ListPrincipalsRequest]) (*connect.Response[lifeboatv1.ListPrincipalsResponse], error) {
	m := req.Msg
	ps, next, err := h.Service.ListPrincipals(ctx, m.GetAccount(), int(m.GetPageSize()), m.GetPageToken())
	return reply(ctx, h.dialect, &lifeboatv1.ListPrincipalsResponse{Principals: each(ps, principal), NextPageToken: next}, err)
}

func (h accountHandler) UpdatePrincipal(ctx context.Context, req *connect.Request[lifeboatv1.UpdatePrincipalRequest]) (*connect.Response[lifeboatv1.UpdatePrincipalResponse], error) {
	m := req.Msg
	u := service.PrincipalUpdate{Account: m.GetAccount(), Principal: m.GetPrincipal(), Disabled: m.Disabled}
	if m.GetSetRoles() {
		roles := m.GetRoles()
		u.Roles = &roles
	}
	p, err := h.Service.UpdatePrincipal(ctx, u)
	if err != nil {
		return nil, h.fail(ctx, err)
	}
	return connect.NewResponse(&lifeboatv1.UpdatePrincipalResponse{Principal: principal(p)}), nil
}

func (h accountHandler) DeletePrincipal(ctx context.Context, req *connect.Request[lifeboatv1.DeletePrincipalRequest]) (*connect.Response[lifeboatv1.DeletePrincipalResponse], error) {
	err := h.Service.DeletePrincipal(ctx, req.Msg.GetAccount(), req.Msg.GetPrincipal())
	return reply(ctx, h.dialect, &lifeboatv1.DeletePrincipalResponse{}, err)
}

func (h accountHandler) WhoAmI(ctx context.Context, _ *connect.Request[lifeboatv1.WhoAmIRequest]) (*connect.Response[lifeboatv1.WhoAmIResponse], error) {
	id, err := h.Service.WhoAmI(ctx)
	if err != nil {
		return nil, h.fail(ctx, err)
	}
	return connect.NewResponse(&lifeboatv1.WhoAmIResponse{
		Principal: principal(id.Principal), Account: account(id.Account), CredentialId: string(id.Credential), Region: string(h.Region),
		Method: id.Method, ExpiresAt: timestamp(id.Until),
	}), nil
}

func (h accountHandler) CreateToken(ctx context.Context, req *connect.Request[lifeboatv1.CreateTokenRequest]) (*connect.Response[lifeboatv1.CreateTokenResponse], error) {
	m := req.Msg
	expires, err := timeOf("expires_at", m.GetExpiresAt())
	if err != nil {
		return refuse[lifeboatv1.CreateTokenResponse](ctx, h.dialect, "CreateToken", err)
	}
	c, token, err := h.Service.CreateToken(ctx, service.NewCredential{
		Account: m.GetAccount(), Principal: m.GetPrincipal(), Description: m.GetDescription(), ExpiresAt: expires,
	})
	if err != nil {
		return nil, h.fail(ctx, err)
	}
	return connect.NewResponse(&lifeboatv1.CreateTokenResponse{Credential: credential(c), Token: string(token.Reveal())}), nil
}

func (h accountHandler) CreateAccessKey(ctx context.Context, req *connect.Request[lifeboatv1.CreateAccessKeyRequest]) (*connect.Response[lifeboatv1.CreateAccessKeyResponse], error) {
	m := req.Msg
	expires, err := timeOf("expires_at", m.GetExpiresAt())
	if err != nil {
		return refuse[lifeboatv1.CreateAccessKeyResponse](ctx, h.dialect, "CreateAccessKey", err)
	}
	c, key, err := h.Service.CreateAccessKey(ctx, service.NewCredential{
		Account: m.GetAccount(), Principal: m.GetPrincipal(), Description: m.GetDescription(), ExpiresAt: expires,
	})
	if err != nil {
		return nil, h.fail(ctx, err)
	}
	return connect.NewResponse(&lifeboatv1.CreateAccessKeyResponse{Credential: credential(c), SecretAccessKey: string(key.Reveal())}), nil
}

func (h accountHandler) ListCredentials(ctx context.Context, req *connect.Request[lifeboatv1.ListCredentialsRequest]) (*connect.Response[lifeboatv1.ListCredentialsResponse], error) {
	m := req.Msg
	cs, next, err := h.Service.ListCredentials(ctx, m.GetAccount(), m.GetPrincipal(), int(m.GetPageSize()), m.GetPageToken())
	return reply(ctx, h.dialect, &lifeboatv1.ListCredentialsResponse{Credentials: each(cs, credential), NextPageToken: next}, err)
}

func (h accountHandler) RevokeCredential(ctx context.Context, req *connect.Request[lifeboatv1.RevokeCredentialRequest]) (*connect.Response[lifeboatv1.RevokeCredentialResponse], error) {
	c, err := h.Service.RevokeCredential(ctx, secret.CredentialID(req.Msg.GetCredentialId()))
	if err != nil {
		return nil, h.fail(ctx, err)
	}
	return connect.NewResponse(&lifeboatv1.RevokeCredentialResponse{Credential: credential(c)}), nil
}

func (h accountHandler) PutPolicy(ctx context.Context, req *connect.Request[lifeboatv1.PutPolicyRequest]) (*connect.Response[lifeboatv1.PutPolicyResponse], error) {
	m := req.Msg
	p, err := h.Service.PutPolicy(ctx, service.NewPolicy{
		Account: m.GetAccount(), Name: m.GetName(), Text: m.GetText(), Description: m.GetDescription(), Expected: orderOf(m.GetExpectedOrder()),
	})
	if err != nil {
		return nil, h.fail(ctx, err)
	}
	return connect.NewResponse(&lifeboatv1.PutPolicyResponse{Policy: policy(p)}), nil
}

func (h accountHandler) GetPolicy(ctx context.Context, req *connect.Request[lifeboatv1.GetPolicyRequest]) (*connect.Response[lifeboatv1.GetPolicyResponse], error) {
	p, err := h.Service.GetPolicy(ctx, req.Msg.GetAccount(), req.Msg.GetName())
	if err != nil {
		return nil, h.fail(ctx, err)
	}
	return connect.NewResponse(&lifeboatv1.GetPolicyResponse{Policy: policy(p)}), nil
}

func (h accountHandler) ListPolicies(ctx context.Context, req *connect.Request[lifeboatv1.ListPoliciesRequest]) (*connect.Response[lifeboatv1.ListPoliciesResponse], error) {
	m := req.Msg
	ps, next, err := h.Service.ListPolicies(ctx, m.GetAccount(), int(m.GetPageSize()), m.GetPageToken())
	return reply(ctx, h.dialect, &lifeboatv1.ListPoliciesResponse{Policies: each(ps, policy), NextPageToken: next}, err)
}

func (h accountHandler) DeletePolicy(ctx context.Context, req *connect.Request[lifeboatv1.DeletePolicyRequest]) (*connect.Response[lifeboatv1.DeletePolicyResponse], error) {
	err := h.Service.DeletePolicy(ctx, req.Msg.GetAccount(), req.Msg.GetName())
	return reply(ctx, h.dialect, &lifeboatv1.DeletePolicyResponse{}, err)
}
