package lifeboattest

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"

	"connectrpc.com/connect"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1/lifeboatv1connect"
)

// Client calls one process as one principal. Its fields are the API's services.
type Client struct {
	lifeboatv1connect.AccountServiceClient
	lifeboatv1connect.VaultServiceClient
	lifeboatv1connect.SecretServiceClient
	lifeboatv1connect.OperatorServiceClient
	lifeboatv1connect.KeyServiceClient
	lifeboatv1connect.IdentityServiceClient
	lifeboatv1connect.ReplicationServiceClient
	lifeboatv1connect.OwnershipServiceClient
	// URL is the process's, Token what the client presents, HTTP what it sends
	// requests with, which trusts the region and adds no token by itself.
	URL, Token string
	HTTP       *http.Client
}

// Client returns a client of a process that presents a bearer token, or none if
// it is empty. Options such as connect.WithProtoJSON choose the protocol; the
// default is the Connect protocol with binary messages.
func (r *Region) Client(p *Process, token string, options ...connect.ClientOption) *Client {
	h, url := r.http(p), p.URL()
	if token != "" {
		options = append(options, connect.WithInterceptors(bearer(token)))
	}
	return newClient(h, url, token, options)
}

// CertificateClient returns a client of a process that presents a certificate and
// no token. Its connections are its own: close them with HTTP.CloseIdleConnections.
func (r *Region) CertificateClient(p *Process, certificate tls.Certificate, options ...connect.ClientOption) *Client {
	trust := r.trust.Clone()
	trust.Certificates = []tls.Certificate{certificate}
	h, url := &http.Client{Transport: &http.Transport{TLSClientConfig: trust, ForceAttemptHTTP2: true}}, p.URL()
	return newClient(h, url, "", options)
}

func newClient(h *http.Client, url, token string, options []connect.ClientOption) *Client {
	return &Client{
		IdentityServiceClient:    lifeboatv1connect.NewIdentityServiceClient(h, url, options...),
		OwnershipServiceClient:   lifeboatv1connect.NewOwnershipServiceClient(h, url, options...),
		KeyServiceClient:         lifeboatv1connect.NewKeyServiceClient(h, url, options...),
		AccountServiceClient:     lifeboatv1connect.NewAccountServiceClient(h, url, options...),
		VaultServiceClient:       lifeboatv1connect.NewVaultServiceClient(h, url, options...),
		SecretServiceClient:      lifeboatv1connect.NewSecretServiceClient(h, url, options...),
		OperatorServiceClient:    lifeboatv1connect.NewOperatorServiceClient(h, url, options...),
		ReplicationServiceClient: lifeboatv1connect.NewReplicationServiceClient(h, url, options...),
		URL:                      url, Token: token, HTTP: h,
	}
}

// http returns the client for a process, which is shared.
func (r *Region) http(p *Process) *http.Client {
	if h, ok := r.clients.Load(p.ID); ok {
		return h.(*http.Client)
	}
	h, _ := r.clients.LoadOrStore(p.ID, &http.Client{
		Transport: &http.Transport{TLSClientConfig: r.trust.Clone(), ForceAttemptHTTP2: true},
	})
	return h.(*http.Client)
}

func (r *Region) closeClients() {
	r.clients.Range(func(_, h any) bool {
		h.(*http.Client).CloseIdleConnections()
		return true
	})
}

// bearer adds a token to each request.
type bearer string

// WrapUnary implements connect.Interceptor.
func (b bearer) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
		r.Header().Set("Authorization", "Bearer "+string(b))
		return next(ctx, r)
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (b bearer) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		c := next(ctx, spec)
		c.RequestHeader().Set("Authorization", "Bearer "+string(b))
		return c
	}
}

// WrapStreamingHandler implements connect.Interceptor.
func (b bearer) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

// Account is a tenant of the region with one vault of the same name.
type Account struct {
	ID, Name string
	// Vault is the vault's name, VaultID its ID.
	Vault, VaultID string
	// Token is that of the user admin, who may do everything in the account.
	Token string

	region *Region
}

// Client returns a client of a process for the account's admin.
func (a *Account) Client(p *Process, options ...connect.ClientOption) *Client {
	return a.region.Client(p, a.Token, options...)
}

// Account is the one that every region has, named test.
func (r *Region) Account() *Account { return r.account }

// OperatorToken is the first operator's. Operators run the region and may read
// no account's secrets.
func (r *Region) OperatorToken() string { return r.operator }

// Operator returns a client of control-1 for the first operator.
func (r *Region) Operator() *Client { return r.Client(r.control, r.operator) }

// NewAccount makes an account and a vault of the same name in it, and waits until
// every host has them. An empty name means a new one.
func (r *Region) NewAccount(ctx context.Context, name string) (*Account, error) {
	if name == "" {
		r.accounts.Lock()
		r.named++
		name = fmt.Sprint("account-", r.named)
		r.accounts.Unlock()
	}
	made, err := r.Operator().CreateAccount(ctx, connect.NewRequest(&lifeboatv1.CreateAccountRequest{Name: name}))
	if err != nil {
		return nil, fmt.Errorf("make the account %s: %w", name, err)
	}
	a := &Account{ID: made.Msg.GetAccount().GetId(), Name: name, Vault: name, Token: made.Msg.GetToken(), region: r}
	vault, err := a.Client(r.control).CreateVault(ctx, connect.NewRequest(&lifeboatv1.CreateVaultRequest{
		Name: name, Wait: lifeboatv1.Wait_WAIT_CLEARED,
	}))
	if err != nil {
		return nil, fmt.Errorf("make the vault %s: %w", name, err)
	}
	if !vault.Msg.GetCleared() {
		return nil, fmt.Errorf("the vault %s is not on every host", name)
	}
	a.VaultID = vault.Msg.GetVault().GetId()
	return a, nil
}
