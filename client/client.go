package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// DefaultTimeout bounds a call, its retries included.
const DefaultTimeout = 30 * time.Second

// Config says which regions to talk to, and as whom. Address or Regions is required.
type Config struct {
	// Address is the URL of any host of the region, https://HOST:PORT. Plain
	// http is accepted for a loopback address only.
	Address string
	// Regions, in place of Address, are those that the client may use, in order of
	// preference; at most 16 with at most 16 addresses each. See "Several regions" in
	// the description of the package.
	Regions []Region
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
	// HedgeAfter is how long a read waits for an address before the next one is asked
	// beside it; default DefaultHedgeAfter. With one address there is no next one.
	HedgeAfter time.Duration
	// UserAgent is added to requests; default "lifeboat-go".
	UserAgent string
}

// DefaultHedgeAfter is long enough for a connection to another continent to be made.
const DefaultHedgeAfter = 300 * time.Millisecond

// Client talks to one or several regions. It is safe for concurrent use.
type Client struct {
	*core
	// in are the regions that this client uses, in order of preference.
	in []*region
	// view is set if it is not the one that New made.
	view bool
}

// core is what the clients of Client.At share.
type core struct {
	regions    []*region
	homes      homes
	absences   absences
	budget     budget
	session    *session // nil without a Login
	account    string
	token      func(context.Context) (Value, error)
	timeout    time.Duration
	hedgeAfter time.Duration
	userAgent  string
	patience   time.Duration // of watches

	life    context.Context //nolint:containedctx // of the probes, until Close
	end     context.CancelFunc
	running group
}

// New returns a client. It does not connect yet. Close it after use.
func New(c Config) (*Client, error) {
	regions, err := c.regions()
	if err != nil {
		return nil, err
	}
	shared := &core{token: c.TokenSource, timeout: c.Timeout, hedgeAfter: c.HedgeAfter, userAgent: c.UserAgent, account: c.Account, patience: defaultPatience}
	for _, r := range regions {
		made, err := newRegion(c, r)
		if err != nil {
			return nil, err
		}
		shared.regions = append(shared.regions, made)
	}
	client := &Client{core: shared, in: shared.regions}
	if c.Login != nil {
		if err := c.Login.check(); err != nil {
			return nil, err
		}
		shared.session = &session{client: client, login: *c.Login}
		shared.token = shared.session.get
	}
	if shared.token == nil {
		shared.token = func(context.Context) (Value, error) { return c.Token, nil }
	}
	if shared.timeout <= 0 {
		shared.timeout = DefaultTimeout
	}
	if shared.hedgeAfter <= 0 {
		shared.hedgeAfter = DefaultHedgeAfter
	}
	if shared.userAgent == "" {
		shared.userAgent = "lifeboat-go"
	}
	shared.life, shared.end = context.WithCancel(context.Background())
	return client, nil
}

// At returns a client that uses one of the regions only, by its name: for calls that
// are about a region itself, and for who wants no other one to answer. It shares the
// connections of c, and need not be closed.
func (c *Client) At(name string) (*Client, error) {
	for _, r := range c.in {
		if r.name == name {
			return &Client{core: c.core, in: []*region{r}, view: true}, nil
		}
	}
	return nil, fmt.Errorf("client: region %q is not among those of the configuration", name)
}

// Regions returns the names of the regions that the client uses, in order of
// preference; one that was given by Address alone has none.
func (c *Client) Regions() []string {
	names := make([]string, len(c.in))
	for i, r := range c.in {
		names[i] = r.name
	}
	return names
}

// Close ends probes and closes idle connections.
func (c *Client) Close() {
	if c.view {
		return
	}
	c.end()
	c.running.close()
	for _, r := range c.regions {
		r.http.CloseIdleConnections()
	}
}

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

// A dial that gets no answer is given up after dialTimeout, a connection that is
// silent after silentFor and pingTimeout, so that a host that vanished holds up
// neither mutations nor watches.
const (
	dialTimeout = 5 * time.Second
	silentFor   = 5 * time.Second
	pingTimeout = 3 * time.Second
)

func newHTTPClient(c Config) (*http.Client, error) {
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
	transport := &http.Transport{
		DialContext:     (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig: tlsConfig, ForceAttemptHTTP2: true, TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: 90 * time.Second,
		HTTP2: &http.HTTP2Config{SendPingTimeout: silentFor, PingTimeout: pingTimeout},
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
