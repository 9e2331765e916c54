package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1/lifeboatv1connect"
)

// DefaultTimeout bounds a call, its retries included.
const DefaultTimeout = 30 * time.Second

// Config says which region to talk to, and as whom. Address is required.
type Config struct {
	// Address is the URL of any host of the region, https://HOST:PORT. Plain
	// http is accepted for a loopback address only.
	Address string
	// Token is the bearer token.
	Token Value
	// TokenSource, if set, is asked for the token before each attempt, in place
	// of Token. It must be safe for concurrent use.
	TokenSource func(context.Context) (Value, error)
	// Login, if set, takes the place of Token and TokenSource: the SDK gets
	// short-lived tokens for it and renews them by itself.
	Login *Login
	// Account, an ID or a name, is yours. It is needed only with a client certificate
	// or a JWT that stand for principals of several accounts.
	Account string
	// CAFile names a PEM file with the authorities to trust; empty means those
	// of the system, or TLS.
	CAFile string
	// TLS, if set, is used for connections, with the authorities of CAFile added.
	TLS *tls.Config
	// HTTPClient, if set, makes the requests; CAFile and TLS must be empty then.
	// Its Timeout would cut watches short.
	HTTPClient *http.Client
	// Timeout bounds a call, its retries included, but not watches; default
	// DefaultTimeout. A context can only shorten it.
	Timeout time.Duration
	// UserAgent is added to requests; default "lifeboat-go".
	UserAgent string
}

// Client talks to a region. It is safe for concurrent use.
type Client struct {
	secrets     lifeboatv1connect.SecretServiceClient
	vaults      lifeboatv1connect.VaultServiceClient
	accounts    lifeboatv1connect.AccountServiceClient
	operator    lifeboatv1connect.OperatorServiceClient
	keys        lifeboatv1connect.KeyServiceClient
	replication lifeboatv1connect.ReplicationServiceClient
	identities  lifeboatv1connect.IdentityServiceClient
	session     *session // nil without a Login
	account     string
	token       func(context.Context) (Value, error)
	timeout     time.Duration
	userAgent   string
	http        *http.Client
}

// New returns a client. It does not connect yet. Close it after use.
func New(c Config) (*Client, error) {
	address, err := checkAddress(c.Address)
	if err != nil {
		return nil, err
	}
	httpClient := c.HTTPClient
	switch {
	case httpClient == nil:
		if httpClient, err = newHTTPClient(c, address.Scheme); err != nil {
			return nil, err
		}
	case c.CAFile != "" || c.TLS != nil:
		return nil, errors.New("client: CAFile and TLS cannot be used together with HTTPClient")
	}
	client := &Client{token: c.TokenSource, timeout: c.Timeout, userAgent: c.UserAgent, http: httpClient, account: c.Account}
	if c.Login != nil {
		if err := c.Login.check(); err != nil {
			return nil, err
		}
		client.session = &session{client: client, login: *c.Login}
		client.token = client.session.get
	}
	if client.token == nil {
		client.token = func(context.Context) (Value, error) { return c.Token, nil }
	}
	if client.timeout <= 0 {
		client.timeout = DefaultTimeout
	}
	if client.userAgent == "" {
		client.userAgent = "lifeboat-go"
	}
	base := address.Scheme + "://" + address.Host
	client.secrets = lifeboatv1connect.NewSecretServiceClient(httpClient, base)
	client.vaults = lifeboatv1connect.NewVaultServiceClient(httpClient, base)
	client.accounts = lifeboatv1connect.NewAccountServiceClient(httpClient, base)
	client.operator = lifeboatv1connect.NewOperatorServiceClient(httpClient, base)
	client.keys = lifeboatv1connect.NewKeyServiceClient(httpClient, base)
	client.replication = lifeboatv1connect.NewReplicationServiceClient(httpClient, base)
	client.identities = lifeboatv1connect.NewIdentityServiceClient(httpClient, base)
	return client, nil
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// checkAddress refuses what would send a token in the clear.
func checkAddress(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Path != "" && u.Path != "/" {
		return nil, fmt.Errorf("client: address must be a URL like https://lifeboat.example:8200")
	}
	switch u.Scheme {
	case "https":
		return u, nil
	case "http":
		if h := u.Hostname(); h == "127.0.0.1" || h == "::1" || h == "localhost" {
			return u, nil
		}
		return nil, fmt.Errorf("client: address %s is http beyond the loopback, which would show the token to the network; use https", u.Host)
	}
	return nil, errors.New("client: address must begin with https://")
}

func newHTTPClient(c Config, scheme string) (*http.Client, error) {
	tlsConfig := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.TLS != nil {
		tlsConfig = c.TLS.Clone()
	}
	if c.CAFile != "" {
		if tlsConfig.RootCAs == nil {
			tlsConfig.RootCAs = x509.NewCertPool()
		} else {
			tlsConfig.RootCAs = tlsConfig.RootCAs.Clone()
		}
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("client: read the authorities: %w", err)
		}
		if !tlsConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("client: %s holds no certificate", c.CAFile)
		}
	}
	if scheme == "http" {
		return &http.Client{Transport: &http.Transport{}, CheckRedirect: noRedirect}, nil
	}
	// A silent connection is given up after about 20 seconds, so that a host that
	// vanished does not hold up watches.
	transport := &http.Transport{
		TLSClientConfig: tlsConfig, ForceAttemptHTTP2: true, TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: 90 * time.Second,
		HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 5 * time.Second},
	}
	return &http.Client{Transport: transport, CheckRedirect: noRedirect}, nil
}

// noRedirect keeps the token from following a redirect.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// authorize adds who calls to a request's header.
func (c *Client) authorize(ctx context.Context, header http.Header) error {
	token, err := c.token(ctx)
	if err != nil {
		return fmt.Errorf("client: get the token: %w", err)
	}
	if !token.Empty() {
		header.Set("Authorization", "Bearer "+string(token.Reveal()))
	}
	c.describe(header)
	return nil
}

// expired reports whether a call that was refused may be tried once more with a new
// token, because the one that it carried came from a Login.
func (c *Client) expired(e *Error, header http.Header) bool {
	if c.session == nil || e.Code != CodeUnauthenticated {
		return false
	}
	return c.session.refused(strings.TrimPrefix(header.Get("Authorization"), "Bearer "))
}
