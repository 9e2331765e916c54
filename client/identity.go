package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
)

// Login has the SDK exchange what the caller has for short-lived tokens, and get
// new ones before they end, by itself. At most one of its sources is set; with
// none, the client certificate of Config.TLS is exchanged.
type Login struct {
	// JWTFile names a file with a JSON Web Token, read for each exchange: whoever
	// issues it, such as Kubernetes, replaces it before it expires.
	JWTFile string
	// Source is asked for a JWT, or a long-lived token, for each exchange. It must be
	// safe for concurrent use.
	Source func(context.Context) (Value, error)
	// Lifetime is asked for; 0 means the region's default.
	Lifetime time.Duration
}

// ExchangeToken returns a short-lived token for what the client presents, or for
// the request's subject token.
func (c *Client) ExchangeToken(ctx context.Context, in *lifeboatv1.ExchangeTokenRequest) (*lifeboatv1.ExchangeTokenResponse, error) {
	return read(ctx, c, (*endpoint).ExchangeToken, in)
}

// session keeps the token that a Login got.
type session struct {
	client *Client
	login  Login

	mu      sync.Mutex
	token   Value
	renewAt time.Time
	endsAt  time.Time
}

func (l *Login) check() error {
	if l.JWTFile != "" && l.Source != nil {
		return errors.New("client: Login has both JWTFile and Source")
	}
	return nil
}

// subject returns what is exchanged, empty for the client certificate.
func (l *Login) subject(ctx context.Context) (Value, error) {
	switch {
	case l.Source != nil:
		return l.Source(ctx)
	case l.JWTFile == "":
		return Value{}, nil
	}
	data, err := os.ReadFile(l.JWTFile)
	if err != nil {
		return Value{}, fmt.Errorf("client: read the JWT: %w", err)
	}
	return NewValue(strings.TrimSpace(string(data))), nil
}

// get returns a token that works, and exchanges anew when two thirds of the last
// one's time are over. While that fails the last one serves, as long as it works.
func (s *session) get(ctx context.Context) (Value, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if !s.token.Empty() && now.Before(s.renewAt) {
		return s.token, nil
	}
	err := s.exchange(ctx)
	if err != nil && !s.token.Empty() && now.Before(s.endsAt) {
		s.renewAt = now.Add(firstRenewal)
		return s.token, nil
	}
	return s.token, err
}

// firstRenewal is the pause after an exchange that failed.
const firstRenewal = 2 * time.Second

func (s *session) exchange(ctx context.Context) error {
	subject, err := s.login.subject(ctx)
	if err != nil {
		return err
	}
	in := &lifeboatv1.ExchangeTokenRequest{
		SubjectToken: string(subject.Reveal()), ExpiresIn: uint32(max(0, s.login.Lifetime.Seconds())), Account: s.client.account,
	}
	asked := time.Now()
	r := &round[lifeboatv1.ExchangeTokenResponse]{client: s.client, try: func(ctx context.Context, e *endpoint) (*lifeboatv1.ExchangeTokenResponse, *Error) {
		request := connect.NewRequest(in)
		s.client.describe(request.Header())
		return try(ctx, e, (*endpoint).ExchangeToken, request)
	}}
	answer, failure := r.read(ctx)
	if failure != nil {
		return failure
	}
	life := time.Duration(answer.GetExpiresIn()) * time.Second
	s.token = NewValue(answer.GetAccessToken())
	s.renewAt, s.endsAt = asked.Add(life*2/3), asked.Add(life)
	return nil
}

// refused forgets a token that the region does not take any more.
func (s *session) refused(token string) (forgotten bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token.Empty() || string(s.token.Reveal()) != token {
		return false
	}
	s.token, s.renewAt, s.endsAt = Value{}, time.Time{}, time.Time{}
	return true
}

// headerAccount names the account of the caller.
const headerAccount = "Lifeboat-Account"

// describe adds who makes the request, but not what proves it.
func (c *Client) describe(header http.Header) {
	if c.account != "" {
		header.Set(headerAccount, c.account)
	}
	header.Set("User-Agent", c.userAgent+" "+connect.Version)
}

// CreateTrust makes a trust bundle.
func (c *Client) CreateTrust(ctx context.Context, in *lifeboatv1.CreateTrustRequest) (*lifeboatv1.CreateTrustResponse, error) {
	return mutate(ctx, c, (*endpoint).CreateTrust, in)
}

// UpdateTrust replaces the authorities of a bundle.
func (c *Client) UpdateTrust(ctx context.Context, in *lifeboatv1.UpdateTrustRequest) (*lifeboatv1.UpdateTrustResponse, error) {
	return mutate(ctx, c, (*endpoint).UpdateTrust, in)
}

// ListTrusts yields the trust bundles of an account. It gets pages as they are
// needed and ends with the first error.
func (c *Client) ListTrusts(ctx context.Context, in *lifeboatv1.ListTrustsRequest) iter.Seq2[*lifeboatv1.TrustBundle, error] {
	return pages(in, func(page *lifeboatv1.ListTrustsRequest) ([]*lifeboatv1.TrustBundle, string, error) {
		answer, err := read(ctx, c, (*endpoint).ListTrusts, page)
		return answer.GetTrusts(), answer.GetNextPageToken(), err
	}, func(page *lifeboatv1.ListTrustsRequest, token string) { page.PageToken = token })
}

// DeleteTrust deletes a trust bundle.
func (c *Client) DeleteTrust(ctx context.Context, in *lifeboatv1.DeleteTrustRequest) (*lifeboatv1.DeleteTrustResponse, error) {
	return mutate(ctx, c, (*endpoint).DeleteTrust, in)
}

// BindPrincipal lets the holders of certificates act as a principal.
func (c *Client) BindPrincipal(ctx context.Context, in *lifeboatv1.BindPrincipalRequest) (*lifeboatv1.BindPrincipalResponse, error) {
	return mutate(ctx, c, (*endpoint).BindPrincipal, in)
}

// UnbindPrincipal ends that.
func (c *Client) UnbindPrincipal(ctx context.Context, in *lifeboatv1.UnbindPrincipalRequest) (*lifeboatv1.UnbindPrincipalResponse, error) {
	return mutate(ctx, c, (*endpoint).UnbindPrincipal, in)
}

// ListBindings yields bindings. It gets pages as they are needed and ends with the
// first error.
func (c *Client) ListBindings(ctx context.Context, in *lifeboatv1.ListBindingsRequest) iter.Seq2[*lifeboatv1.Binding, error] {
	return pages(in, func(page *lifeboatv1.ListBindingsRequest) ([]*lifeboatv1.Binding, string, error) {
		answer, err := read(ctx, c, (*endpoint).ListBindings, page)
		return answer.GetBindings(), answer.GetNextPageToken(), err
	}, func(page *lifeboatv1.ListBindingsRequest, token string) { page.PageToken = token })
}

// CreateIssuer trusts an issuer of JSON Web Tokens.
func (c *Client) CreateIssuer(ctx context.Context, in *lifeboatv1.CreateIssuerRequest) (*lifeboatv1.CreateIssuerResponse, error) {
	return mutate(ctx, c, (*endpoint).CreateIssuer, in)
}

// GetIssuer returns an issuer and what is known of its keys.
func (c *Client) GetIssuer(ctx context.Context, in *lifeboatv1.GetIssuerRequest) (*lifeboatv1.GetIssuerResponse, error) {
	return read(ctx, c, (*endpoint).GetIssuer, in)
}

// ListIssuers yields the issuers of an account. It gets pages as they are needed
// and ends with the first error.
func (c *Client) ListIssuers(ctx context.Context, in *lifeboatv1.ListIssuersRequest) iter.Seq2[*lifeboatv1.Issuer, error] {
	return pages(in, func(page *lifeboatv1.ListIssuersRequest) ([]*lifeboatv1.Issuer, string, error) {
		answer, err := read(ctx, c, (*endpoint).ListIssuers, page)
		return answer.GetIssuers(), answer.GetNextPageToken(), err
	}, func(page *lifeboatv1.ListIssuersRequest, token string) { page.PageToken = token })
}

// UpdateIssuer changes an issuer.
func (c *Client) UpdateIssuer(ctx context.Context, in *lifeboatv1.UpdateIssuerRequest) (*lifeboatv1.UpdateIssuerResponse, error) {
	return mutate(ctx, c, (*endpoint).UpdateIssuer, in)
}

// DeleteIssuer stops trusting an issuer.
func (c *Client) DeleteIssuer(ctx context.Context, in *lifeboatv1.DeleteIssuerRequest) (*lifeboatv1.DeleteIssuerResponse, error) {
	return mutate(ctx, c, (*endpoint).DeleteIssuer, in)
}

// RefreshIssuer fetches an issuer's keys now.
func (c *Client) RefreshIssuer(ctx context.Context, in *lifeboatv1.RefreshIssuerRequest) (*lifeboatv1.RefreshIssuerResponse, error) {
	return mutate(ctx, c, (*endpoint).RefreshIssuer, in)
}
