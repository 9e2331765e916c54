package frontdoor

import (
	"crypto/x509"
	"encoding/base64"
	"net/http"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// headerForwardedCertificate carries the certificates that a client showed to the
// host that passes its request on, its own first, each in base64. The host has
// seen that the client holds the key; who signed it is verified anew.
const headerForwardedCertificate = "Lifeboat-Forwarded-Certificate"

const (
	// maxForwardedCertificates is more than authentication accepts, so that who
	// shows too many is told so.
	maxForwardedCertificates = 11
	maxForwardedBytes        = 32 << 10
)

// presentedBy returns the certificates that the client of a request has shown,
// nil if none or if they cannot be read. Only of a peer of the region that passes
// a request on is it believed what it says of the client.
func presentedBy(r *http.Request, peer, forwarded bool) []*x509.Certificate {
	switch {
	case forwarded:
		return forwardedChain(r.Header.Values(headerForwardedCertificate))
	case !peer && r.TLS != nil:
		return r.TLS.PeerCertificates
	}
	return nil
}

func forwardedChain(values []string) []*x509.Certificate {
	if len(values) > maxForwardedCertificates {
		return nil
	}
	var chain []*x509.Certificate
	for _, v := range values {
		der, err := base64.StdEncoding.Strict().DecodeString(v)
		if err != nil {
			return nil
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil
		}
		chain = append(chain, cert)
	}
	return chain
}

// forwardChain puts a client's certificates into a request that is passed on, and
// nothing that the client itself may have put there.
func forwardChain(h http.Header, chain []*x509.Certificate) error {
	h.Del(headerForwardedCertificate)
	size := 0
	for _, c := range chain[:min(len(chain), maxForwardedCertificates)] {
		if size += len(c.Raw); size > maxForwardedBytes {
			return secret.Errorf(secret.CodeUnauthenticated, "the client certificate and its authorities are larger than %d bytes", maxForwardedBytes)
		}
		h.Add(headerForwardedCertificate, base64.StdEncoding.EncodeToString(c.Raw))
	}
	return nil
}
