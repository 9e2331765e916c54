package authn

import (
	"crypto/x509"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// maxChain bounds the certificates that a client may present.
const maxChain = 10

// CertificateURI returns the URI that a client certificate proves: it has exactly
// one, of the form that secret.CheckURI wants, and may be used to sign as a
// client. Who signed it is not looked at. Errors: CodeUnauthenticated.
func CertificateURI(leaf *x509.Certificate) (string, error) {
	switch {
	case len(leaf.URIs) != 1:
		return "", unfit("has %d URIs; it must have one", len(leaf.URIs))
	case leaf.IsCA:
		return "", unfit("is that of an authority")
	case leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return "", unfit("may not be used for signatures")
	}
	uri := leaf.URIs[0].String()
	if secret.CheckURI("", uri) != nil {
		return "", unfit("has a URI that is not of the form spiffe://DOMAIN/PATH")
	}
	return uri, nil
}

func unfit(format string, args ...any) error {
	return secret.Errorf(secret.CodeUnauthenticated, "the client certificate "+format, args...)
}

// proveCertificate finds the principal that a certificate is bound to.
func proveCertificate(t *transcript, p *proof, chain []*x509.Certificate, account secret.AccountID, now time.Time) error {
	leaf := chain[0]
	uri, err := CertificateURI(leaf)
	switch {
	case err != nil:
		return err
	case len(chain) > maxChain:
		return unfit("comes with %d others; the limit is %d", len(chain)-1, maxChain-1)
	case now.Before(leaf.NotBefore):
		return unfit("is not valid before %s", leaf.NotBefore.UTC().Format(time.RFC3339))
	case now.After(leaf.NotAfter):
		return unfit("expired at %s", leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	var bound *secret.Binding
	var failed error
	for _, pattern := range secret.URIPatterns(uri) {
		key := func(account secret.AccountID) record.Key { return record.BindingURIKey(pattern, account) }
		err := indexed(t, key, account, func(account secret.AccountID, ref string) error {
			this := &proof{}
			b, err := this.verifyBinding(t, chain, pattern, account, ref, now)
			switch {
			case err != nil:
				failed = err
			case bound == nil:
				bound, *p = b, *this
			case bound.Account != b.Account || bound.Principal != b.Principal:
				return ambiguous()
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	switch {
	case bound == nil && failed != nil:
		return failed
	case bound == nil:
		return unfit("is bound to no principal")
	}
	fingerprint := secret.FingerprintOf(leaf)
	p.caller.Credential = secret.CredentialID(bound.ID)
	p.caller.Proof = "sha256:" + hex.EncodeToString(fingerprint[:])
	p.caller.origin.kind, p.caller.origin.name = originCertificate, string(bound.ID)
	return p.standsFor(t, bound.Account, bound.Principal)
}

// verifyBinding returns the binding that an index entry names if its trust bundle
// has signed the certificate.
func (p *proof) verifyBinding(t *transcript, chain []*x509.Certificate, pattern string, account secret.AccountID, ref string, now time.Time) (*secret.Binding, error) {
	principal, id, _ := strings.Cut(ref, "/")
	b, _, err := record.Load(t, record.Bindings, record.BindingKey(account, secret.PrincipalID(principal), secret.BindingID(id)))
	if errors.Is(err, record.ErrNotFound) {
		return nil, unfit("is bound to no principal")
	}
	if err != nil {
		return nil, err
	}
	if b.URI != pattern || b.Account != account {
		return nil, secret.Errorf(secret.CodeCorrupt, "binding %s is of another URI or account than its index says", b.ID)
	}
	bundle, err := loadParsed(t, record.TrustKey(account, b.Trust), parseTrust)
	if err != nil {
		return nil, err
	}
	if bundle == nil {
		return nil, unfit("is bound by way of a trust bundle that was deleted")
	}
	return b, p.verifyChain(bundle, chain, now)
}

// verifyChain verifies a certificate by a bundle. It narrows the proof to the
// time for which that holds, and notes which authority it rests on.
func (p *proof) verifyChain(bundle *trust, chain []*x509.Certificate, now time.Time) error {
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	chains, err := chain[0].Verify(x509.VerifyOptions{
		Roots: bundle.pool, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return secret.Wrap(secret.CodeUnauthenticated, err, "the client certificate is not signed by an authority that the account trusts, or not for clients")
	}
	best := &proof{}
	var anchor secret.Fingerprint
	for _, c := range chains {
		this := &proof{}
		for _, cert := range c {
			this.narrow(cert.NotBefore, cert.NotAfter)
		}
		if best.until.Before(this.until) {
			best, anchor = this, secret.FingerprintOf(c[len(c)-1])
		}
	}
	p.narrow(best.from, best.until)
	p.caller.origin.mark = anchor
	return nil
}
