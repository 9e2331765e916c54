package issuer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const (
	// fetchTimeout bounds one fetch, discovery included.
	fetchTimeout = 10 * time.Second
	// maxAnswerBytes bounds an answer: no key set that is accepted is longer.
	maxAnswerBytes = secret.MaxKeySetBytes
)

// Fetch returns the key set that an issuer publishes now. Errors:
// CodeUnavailable; they do not say what was answered, which may be from where
// the caller's account may not look.
func Fetch(ctx context.Context, i *secret.Issuer) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	client, err := newClient(i)
	if err != nil {
		return nil, err
	}
	defer client.CloseIdleConnections()
	url := i.KeysURL
	if i.Source == secret.KeysByDiscovery {
		if url, err = discover(oidc.ClientContext(ctx, client), i); err != nil {
			return nil, err
		}
	}
	return get(ctx, client, url)
}

// discover returns the URL of the keys that the issuer's OpenID configuration
// names. The configuration must be that of the very issuer.
func discover(ctx context.Context, i *secret.Issuer) (string, error) {
	provider, err := oidc.NewProvider(ctx, i.URL)
	if mismatch, ok := errors.AsType[*oidc.IssuerMismatchError](err); ok && mismatch != nil {
		return "", failed(err, "the OpenID configuration is that of another issuer")
	}
	if err != nil {
		return "", failed(err, "the OpenID configuration "+reason(err))
	}
	var found struct {
		URL string `json:"jwks_uri"`
	}
	if err := provider.Claims(&found); err != nil || secret.CheckIssuerURL("jwks_uri", found.URL) != nil {
		return "", failed(err, "the OpenID configuration names no https URL of keys")
	}
	return found.URL, nil
}

func get(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, failed(err, "the URL of the keys cannot be used")
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	answer, err := client.Do(request)
	if err != nil {
		return nil, failed(err, "the keys "+reason(err))
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return nil, failed(nil, "the keys cannot be had: the answer is "+http.StatusText(answer.StatusCode))
	}
	set, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswerBytes+1))
	if err != nil {
		return nil, failed(err, "the keys were not sent to their end")
	}
	if len(set) > maxAnswerBytes {
		return nil, failed(nil, "the keys are too long")
	}
	return set, nil
}

func failed(cause error, message string) error {
	return &secret.Error{Code: secret.CodeUnavailable, Message: message, Err: cause}
}

// reason says why an answer was not had, in words that an account's manager can
// act on.
func reason(err error) string {
	var untrusted *tls.CertificateVerificationError
	var lookup *net.DNSError
	var dial *net.OpError
	switch {
	case errors.As(err, &untrusted):
		return "cannot be had: the issuer's certificate is not trusted"
	case errors.As(err, &lookup):
		return "cannot be had: the issuer's host is not found"
	case errors.Is(err, context.DeadlineExceeded):
		return "cannot be had in time"
	case errors.As(err, &dial):
		return "cannot be had: the issuer is not reached"
	}
	return "cannot be had"
}

// newClient returns a client that trusts the authorities of an issuer and follows
// no redirect, since that could lead to a place nobody named.
func newClient(i *secret.Issuer) (*http.Client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if i.CAPEM != "" {
		authorities, err := secret.Authorities("ca_pem", i.CAPEM)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		for _, c := range authorities {
			config.RootCAs.AddCert(c)
		}
	}
	return &http.Client{
		Transport: limited{&http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, ForceAttemptHTTP2: true, TLSHandshakeTimeout: fetchTimeout / 2,
			MaxResponseHeaderBytes: 64 << 10,
		}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// limited bounds every answer, those that a library reads to their end too.
type limited struct{ *http.Transport }

// RoundTrip implements http.RoundTripper.
func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := l.Transport.RoundTrip(r)
	if err == nil {
		answer.Body = body{io.LimitReader(answer.Body, maxAnswerBytes+1), answer.Body}
	}
	return answer, err
}

type body struct {
	io.Reader
	io.Closer
}
