package secret

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"
	"time"
)

// Limits on what proves identities.
const (
	// MaxBundleBytes bounds the PEM text of a trust bundle, MaxBundleAuthorities
	// the certificates in it.
	MaxBundleBytes       = 64 << 10
	MaxBundleAuthorities = 32
	// MaxURIBytes bounds the URI of a certificate and a pattern for URIs.
	MaxURIBytes = 512
	// MaxURISegments bounds the segments of the path of such a URI: each costs a
	// look-up.
	MaxURISegments = 16
)

// TrustBundle holds the authorities that sign client certificates of an account.
type TrustBundle struct {
	Account     AccountID
	Name        string
	Description string
	// CAPEM are the certificates of the authorities, PEM.
	CAPEM     string
	Ownership Ownership
	CreatedAt time.Time
	UpdatedAt time.Time
}

// BindingID names a binding: a ULID.
type BindingID string

// Binding lets the holder of a client certificate act as a principal.
type Binding struct {
	ID        BindingID
	Account   AccountID
	Principal PrincipalID
	// URI is the one in the certificate, or a pattern for it: see CheckURIPattern.
	URI string
	// Trust is the name of the account's trust bundle that must have signed it.
	Trust     string
	Ownership Ownership
	CreatedAt time.Time
}

// Authorities returns the certificates of a bundle. It returns a CodeInvalid
// error for anything but 1 to MaxBundleAuthorities certificates of authorities.
func Authorities(field, text string) ([]*x509.Certificate, error) {
	if len(text) > MaxBundleBytes {
		return nil, Invalid(field, "is %d bytes long; the limit is %d", len(text), MaxBundleBytes)
	}
	var found []*x509.Certificate
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			if len(strings.TrimSpace(string(rest))) > 0 {
				return nil, Invalid(field, "has text that is not PEM after certificate %d", len(found))
			}
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, Invalid(field, "holds a %q; only certificates are allowed", clipped(block.Type))
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, &Error{Code: CodeInvalid, Field: field, Message: "holds a certificate that cannot be read", Err: err}
		}
		if !cert.IsCA || !cert.BasicConstraintsValid {
			return nil, Invalid(field, "holds a certificate, number %d, that is not an authority's", len(found)+1)
		}
		found = append(found, cert)
	}
	if n := len(found); n == 0 || n > MaxBundleAuthorities {
		return nil, Invalid(field, "holds %d certificates; allowed are 1 to %d", n, MaxBundleAuthorities)
	}
	return found, nil
}

func clipped(s string) string { return s[:min(len(s), 40)] }

// Fingerprint is the SHA-256 of a certificate.
type Fingerprint [sha256.Size]byte

// FingerprintOf returns that of a certificate.
func FingerprintOf(cert *x509.Certificate) Fingerprint { return sha256.Sum256(cert.Raw) }

const uriScheme = "spiffe://"

const (
	trustDomainChars = "abcdefghijklmnopqrstuvwxyz" + digits + ".-_"
	segmentChars     = letters + digits + ".-_"
)

// CheckURI checks the URI of a certificate: spiffe://DOMAIN/PATH, with a domain
// of lower-case letters, digits and any of .-_ and a path of 1 to MaxURISegments
// segments of letters, digits and any of .-_ , none of them . or ..
func CheckURI(field, uri string) error { return checkURI(field, uri, false) }

// CheckURIPattern checks a pattern for such URIs: one of them, or a beginning of
// one, up to a slash, followed by * for all that lie below.
func CheckURIPattern(field, pattern string) error { return checkURI(field, pattern, true) }

func checkURI(field, uri string, pattern bool) error {
	rest, ok := strings.CutPrefix(uri, uriScheme)
	switch {
	case len(uri) > MaxURIBytes:
		return Invalid(field, "is %d bytes long; the limit is %d", len(uri), MaxURIBytes)
	case !ok:
		return Invalid(field, "must begin with %s", uriScheme)
	}
	segments := strings.Split(rest, "/")
	if err := checkChars(field, segments[0], 255, trustDomainChars, "lower-case letters, digits and .-_ before the first slash"); err != nil {
		return err
	}
	segments = segments[1:]
	if n := len(segments); n == 0 || n > MaxURISegments {
		return Invalid(field, "has a path of %d segments; allowed are 1 to %d", n, MaxURISegments)
	}
	for i, s := range segments {
		if pattern && s == "*" && i == len(segments)-1 {
			break
		}
		if s == "" || s == "." || s == ".." {
			return Invalid(field, "has a segment %q in its path", s)
		}
		if err := checkChars(field, s, MaxURIBytes, segmentChars, "letters, digits and .-_ , and one * at the end of a pattern, alone after a slash"); err != nil {
			return err
		}
	}
	return nil
}

// URIPatterns returns the patterns that match a URI that CheckURI passed: itself,
// then the others, the closest first.
func URIPatterns(uri string) []string {
	patterns := []string{uri}
	for i := len(uri) - 1; i > len(uriScheme); i-- {
		if uri[i] == '/' {
			patterns = append(patterns, uri[:i+1]+"*")
		}
	}
	return patterns
}

// MatchURI reports whether a pattern matches a URI.
func MatchURI(pattern, uri string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return len(uri) > len(prefix) && strings.HasPrefix(uri, prefix)
	}
	return pattern == uri
}

// Clone returns a deep copy.
func (t *TrustBundle) Clone() *TrustBundle {
	c := *t
	c.Ownership = t.Ownership.clone()
	return &c
}

// Clone returns a deep copy.
func (b *Binding) Clone() *Binding {
	c := *b
	c.Ownership = b.Ownership.clone()
	return &c
}

// Clone returns a deep copy.
func (i *Issuer) Clone() *Issuer {
	c := *i
	c.Audiences, c.Algorithms = slices.Clone(i.Audiences), slices.Clone(i.Algorithms)
	c.Rules = slices.Clone(i.Rules)
	c.Ownership = i.Ownership.clone()
	return &c
}
