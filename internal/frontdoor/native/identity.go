package native

import (
	"context"
	"encoding/hex"
	"math"
	"time"

	"connectrpc.com/connect"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/authn"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

type identityHandler struct{ dialect }

// What RFC 8693 calls the parts of an exchange.
const (
	grantTypeExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
	tokenTypeAccess   = "urn:ietf:params:oauth:token-type:access_token" //nolint:gosec // a name, no credential
	tokenTypeJWT      = "urn:ietf:params:oauth:token-type:jwt"          //nolint:gosec // as above
)

func checkExchange(m *lifeboatv1.ExchangeTokenRequest) error {
	switch {
	case m.GetGrantType() != "" && m.GetGrantType() != grantTypeExchange:
		return secret.Invalid("grant_type", "must be %s or empty", grantTypeExchange)
	case m.GetRequestedTokenType() != "" && m.GetRequestedTokenType() != tokenTypeAccess:
		return secret.Invalid("requested_token_type", "must be %s or empty", tokenTypeAccess)
	}
	switch m.GetSubjectTokenType() {
	case "", tokenTypeAccess, tokenTypeJWT:
		return nil
	}
	return secret.Invalid("subject_token_type", "must be %s, %s or empty", tokenTypeJWT, tokenTypeAccess)
}

// ExchangeToken implements lifeboatv1connect.IdentityServiceHandler, as do the
// other methods.
func (h identityHandler) ExchangeToken(ctx context.Context, req *connect.Request[lifeboatv1.ExchangeTokenRequest]) (*connect.Response[lifeboatv1.ExchangeTokenResponse], error) {
	m := req.Msg
	if err := checkExchange(m); err != nil {
		return refuse[lifeboatv1.ExchangeTokenResponse](ctx, h.dialect, "ExchangeToken", err)
	}
	if r := service.RequestFrom(ctx); r != nil {
		if m.GetSubjectToken() != "" {
			r.Presented.Bearer, r.Presented.Chain = m.GetSubjectToken(), nil
		}
		if m.GetAccount() != "" {
			r.Presented.Account = m.GetAccount()
		}
	}
	made, err := h.Service.ExchangeToken(ctx, time.Duration(m.GetExpiresIn())*time.Second)
	if err != nil {
		return nil, h.fail(ctx, err)
	}
	return connect.NewResponse(&lifeboatv1.ExchangeTokenResponse{
		AccessToken: string(made.Token.Reveal()), IssuedTokenType: tokenTypeAccess, TokenType: "Bearer",
		ExpiresIn: uint32(max(0, min(made.Lifetime.Seconds(), math.MaxUint32))), ExpiresAt: timestamp(made.ExpiresAt),
		Principal: principal(made.Principal),
	}), nil
}

func trustBundle(t *secret.TrustBundle) *lifeboatv1.TrustBundle {
	b := &lifeboatv1.TrustBundle{
		AccountId: string(t.Account), Name: t.Name, Description: t.Description, CaPem: t.CAPEM, Ownership: ownership(t.Ownership),
		CreatedAt: timestamp(t.CreatedAt), UpdatedAt: timestamp(t.UpdatedAt),
	}
	authorities, _ := secret.Authorities("ca_pem", t.CAPEM) // it was checked before it was stored
	for _, c := range authorities {
		fingerprint := secret.FingerprintOf(c)
		b.Authorities = append(b.Authorities, &lifeboatv1.TrustedAuthority{
			Subject: c.Subject.String(), Fingerprint: hex.EncodeToString(fingerprint[:]), NotAfter: timestamp(c.NotAfter),
		})
	}
	return b
}

func (h identityHandler) CreateTrust(ctx context.Context, req *connect.Request[lifeboatv1.CreateTrustRequest]) (*connect.Response[lifeboatv1.CreateTrustResponse], error) {
	m := req.Msg
	t, err := h.Service.CreateTrust(ctx, service.NewTrust{Account: m.GetAccount(), Name: m.GetName(), Description: m.GetDescription(), CAPEM: m.GetCaPem()})
	if err != nil {
		return nil, h.fail(ctx, err)
	}
	return connect.NewResponse(&lifeboatv1.CreateTrustResponse{Trust: trustBundle(t)}), nil
}

func (h identityHandler) UpdateTrust(ctx context.Context, req *connect.Request[lifeboatv1.UpdateTrustRequest]) (*connect.Response[lifeboatv1.UpdateTrustResponse], error) {
	m := req.Msg
	t, err := h.Service.UpdateTrust(ctx, m.GetAccount(), m.GetName(), m.GetCaPem())
	if err != nil {
		return nil, h.fail(ctx, err)
	}
	return connect.NewResponse(&lifeboatv1.UpdateTrustResponse{Trust: trustBundle(t)}), nil
}

func (h identityHandler) ListTrusts(ctx context.Context, req *connect.Request[lifeboatv1.ListTrustsRequest]) (*connect.Response[lifeboatv1.ListTrustsResponse], error) {
	m := req.Msg
	ts, next, err := h.Service.ListTrusts(ctx, m.GetAccount(), int(m.GetPageSize()), m.GetPageToken())
	return reply(ctx, h.dialect, &lifeboatv1.ListTrustsResponse{Trusts: each(ts, trustBundle), NextPageToken: next}, err)
}

func (h identityHandler) DeleteTrust(ctx context.Context, req *connect.Request[lifeboatv1.DeleteTrustRequest]) (*connect.Response[lifeboatv1.DeleteTrustResponse], error) {
	err := h.Service.DeleteTrust(ctx, req.Msg.GetAccount(), req.Msg.GetName())
	return reply(ctx, h.dialect, &lifeboatv1.DeleteTrustResponse{}, err)
}

func binding(b *secret.Binding) *lifeboatv1.Binding {
	return &lifeboatv1.Binding{
		Id: string(b.ID), AccountId: string(b.Account), PrincipalId: string(b.Principal), Uri: b.URI, Trust: b.Trust,
		Ownership: ownership(b.Ownership), CreatedAt: timestamp(b.CreatedAt),
	}
}

func (h identityHandler) BindPrincipal(ctx context.Context, req *connect.Request[lifeboatv1.BindPrincipalRequest]) (*connect.Response[lifeboatv1.BindPrincipalResponse], error) {
	m := req.Msg
	b, err := h.Service.BindPrincipal(ctx, service.NewBinding{Account: m.GetAccount(), Principal: m.GetPrincipal(), URI: m.GetUri(), Trust: m.GetTrust()})
	if err != nil {
		return nil, h.fail(ctx, err)
	}
	return connect.NewResponse(&lifeboatv1.BindPrincipalResponse{Binding: binding(b)}), nil
}

func (h identityHandler) UnbindPrincipal(ctx context.Context, req *connect.Request[lifeboatv1.UnbindPrincipalRequest]) (*connect.Response[lifeboatv1.UnbindPrincipalResponse], error) {
	m := req.Msg
	err := h.Service.UnbindPrincipal(ctx, m.GetAccount(), m.GetPrincipal(), m.GetBinding())
	return reply(ctx, h.dialect, &lifeboatv1.UnbindPrincipalResponse{}, err)
}

func (h identityHandler) ListBindings(ctx context.Context, req *connect.Request[lifeboatv1.ListBindingsRequest]) (*connect.Response[lifeboatv1.ListBindingsResponse], error) {
	m := req.Msg
	bs, next, err := h.Service.ListBindings(ctx, m.GetAccount(), m.GetPrincipal(), int(m.GetPageSize()), m.GetPageToken())
	return reply(ctx, h.dialect, &lifeboatv1.ListBindingsResponse{Bindings: each(bs, binding), NextPageToken: next}, err)
}

var keySources = map[secret.KeySource]lifeboatv1.KeySource{
	secret.KeysByDiscovery: lifeboatv1.KeySource_KEY_SOURCE_DISCOVERY, secret.KeysByURL: lifeboatv1.KeySource_KEY_SOURCE_JWKS_URL,
	secret.KeysStatic: lifeboatv1.KeySource_KEY_SOURCE_STATIC,
}

func keySourceOf(s lifeboatv1.KeySource) secret.KeySource {
	for source, wire := range keySources {
		if wire == s {
			return source
		}
	}
	return "" // Issuer.Check refuses it
}

func issuer(s service.IssuerState) *lifeboatv1.Issuer {
	i := s.Issuer
	wire := &lifeboatv1.Issuer{
		Id: string(i.ID), AccountId: string(i.Account), Name: i.Name, Description: i.Description, Url: i.URL,
		Audiences: i.Audiences, Algorithms: i.Algorithms, KeySource: keySources[i.Source], JwksUrl: i.KeysURL, CaPem: i.CAPEM,
		Leeway: duration(i.Leeway), MaxLifetime: duration(i.MaxLifetime), RefreshEvery: duration(i.RefreshEvery), MaxKeyAge: duration(i.MaxKeyAge),
		Ownership: ownership(i.Ownership), CreatedAt: timestamp(i.CreatedAt), UpdatedAt: timestamp(i.UpdatedAt),
	}
	for n := range i.Rules {
		r := &i.Rules[n]
		wire.Rules = append(wire.Rules, &lifeboatv1.MappingRule{Claims: r.Claims, Principal: string(r.Principal), Template: r.Template})
	}
	if s.Keys != nil {
		wire.Keys = issuerKeys(s.Keys)
	}
	return wire
}

func issuerKeys(k *secret.IssuerKeys) *lifeboatv1.IssuerKeys {
	return &lifeboatv1.IssuerKeys{
		KeyIds: authn.KeyIDs(k.Set), FetchedAt: timestamp(k.FetchedAt), LastError: k.LastError, FailedAt: timestamp(k.FailedAt),
	}
}

func rulesFrom(rules []*lifeboatv1.MappingRule) []secret.MappingRule {
	var from []secret.MappingRule
	for _, r := range rules {
		from = append(from, secret.MappingRule{Claims: r.GetClaims(), Principal: secret.PrincipalID(r.GetPrincipal()), Template: r.GetTemplate()})
	}
	return from
}

// newIssuer returns what a request asks to make.
func newIssuer(m *lifeboatv1.CreateIssuerRequest) (service.NewIssuer, error) {
	n := service.NewIssuer{Account: m.GetAccount(), Keys: m.GetJwks(), Issuer: secret.Issuer{
		Name: m.GetName(), Description: m.GetDescription(), URL: m.GetUrl(), Audiences: m.GetAudiences(), Algorithms: m.GetAlgorithms(),
		Rules: rulesFrom(m.GetRules()), Source: keySourceOf(m.GetKeySource()), KeysURL: m.GetJwksUrl(), CAPEM: m.GetCaPem(),
	}}
	var errs [4]error
	n.Issuer.Leeway, errs[0] = durationOf("leeway", m.GetLeeway())
	n.Issuer.MaxLifetime, errs[1] = durationOf("max_lifetime", m.GetMaxLifetime())
	n.Issuer.RefreshEvery, errs[2] = durationOf("refresh_every", m.GetRefreshEvery())
	n.Issuer.MaxKeyAge, errs[3] = durationOf("max_key_age", m.GetMaxKeyAge())
	for _, err := range errs {
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func (h identityHandler) CreateIssuer(ctx context.Context, req *connect.Request[lifeboatv1.CreateIssuerRequest]) (*connect.Response[lifeboatv1.CreateIssuerResponse], error) {
	n, err := newIssuer(req.Msg)
	if err != nil {
		return refuse[lifeboatv1.CreateIssuerResponse](ctx, h.dialect, "CreateIssuer", err)
	}
	state, err := h.Service.CreateIssuer(ctx, n)
	if err != nil {
		return nil, h.fail(ctx, err)
	}
	return connect.NewResponse(&lifeboatv1.CreateIssuerResponse{Issuer: issuer(state)}), nil
}

func (h identityHandler) GetIssuer(ctx context.Context, req *connect.Request[lifeboatv1.GetIssuerRequest]) (*connect.Response[lifeboatv1.GetIssuerResponse], error) {
	state, err := h.Service.GetIssuer(ctx, req.Msg.GetAccount(), req.Msg.GetName())
	if err != nil {
		return nil, h.fail(ctx, err)
	}
	return connect.NewResponse(&lifeboatv1.GetIssuerResponse{Issuer: issuer(state)}), nil
}

func (h identityHandler) ListIssuers(ctx context.Context, req *connect.Request[lifeboatv1.ListIssuersRequest]) (*connect.Response[lifeboatv1.ListIssuersResponse], error) {
	m := req.Msg
	states, next, err := h.Service.ListIssuers(ctx, m.GetAccount(), int(m.GetPageSize()), m.GetPageToken())
	if err != nil {
		return nil, h.fail(ctx, err)
	}
	return connect.NewResponse(&lifeboatv1.ListIssuersResponse{Issuers: each(states, issuer), NextPageToken: next}), nil
}

func (h identityHandler) UpdateIssuer(ctx context.Context, req *connect.Request[lifeboatv1.UpdateIssuerRequest]) (*connect.Response[lifeboatv1.UpdateIssuerResponse], error) {
	m := req.Msg
	state, err := h.Service.UpdateIssuer(ctx, service.IssuerUpdate{
		Account: m.GetAccount(), Name: m.GetName(), Description: m.Description, Audiences: m.GetAudiences(), Algorithms: m.GetAlgorithms(),
		Rules: rulesFrom(m.GetRules()), Keys: m.GetJwks(), CAPEM: m.CaPem,
	})
	if err != nil {
		return nil, h.fail(ctx, err)
	}
	return connect.NewResponse(&lifeboatv1.UpdateIssuerResponse{Issuer: issuer(state)}), nil
}

func (h identityHandler) DeleteIssuer(ctx context.Context, req *connect.Request[lifeboatv1.DeleteIssuerRequest]) (*connect.Response[lifeboatv1.DeleteIssuerResponse], error) {
	err := h.Service.DeleteIssuer(ctx, req.Msg.GetAccount(), req.Msg.GetName())
	return reply(ctx, h.dialect, &lifeboatv1.DeleteIssuerResponse{}, err)
}

func (h identityHandler) RefreshIssuer(ctx context.Context, req *connect.Request[lifeboatv1.RefreshIssuerRequest]) (*connect.Response[lifeboatv1.RefreshIssuerResponse], error) {
	state, err := h.Service.RefreshIssuer(ctx, req.Msg.GetAccount(), req.Msg.GetName())
	if err != nil {
		return nil, h.fail(ctx, err)
	}
	return connect.NewResponse(&lifeboatv1.RefreshIssuerResponse{Issuer: issuer(state)}), nil
}
