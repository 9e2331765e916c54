package pki

import (
	"crypto/tls"
	"crypto/x509"
	"net/url"
	"strings"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// protocols are offered by ALPN: HTTP/2, then HTTP/1.1.
func protocols() []string { return []string{"h2", "http/1.1"} }

// Identity is who a peer is.
type Identity struct {
	Region  secret.RegionName
	Process string
}

// processPath is how the path of a process's URI begins.
const processPath = "/process/"

// URI returns spiffe://<region>/process/<process id>.
func (i Identity) URI() *url.URL {
	return &url.URL{Scheme: "spiffe", Host: string(i.Region), Path: processPath + i.Process}
}

// IdentityOf returns the identity that a certificate states. It returns
// secret.CodeUnauthenticated unless the certificate has exactly one URI and
// that is one of a process. It does not verify who signed the certificate.
func IdentityOf(cert *x509.Certificate) (Identity, error) {
	if len(cert.URIs) == 1 {
		u := cert.URIs[0]
		process, ok := strings.CutPrefix(u.Path, processPath)
		i := Identity{Region: secret.RegionName(u.Host), Process: process}
		valid := ok && secret.CheckRegionName("region", i.Region) == nil && secret.CheckContainerName("process", process) == nil
		if valid && u.String() == i.URI().String() {
			return i, nil
		}
	}
	return Identity{}, secret.Errorf(secret.CodeUnauthenticated, "the certificate is not that of a process of a region")
}

// PeerOf returns the identity of the other end of a connection made with
// PeerServerTLS or PeerClientTLS.
func PeerOf(state *tls.ConnectionState) (Identity, error) {
	if state == nil || len(state.PeerCertificates) == 0 {
		return Identity{}, secret.Errorf(secret.CodeUnauthenticated, "the peer shows no certificate")
	}
	return IdentityOf(state.PeerCertificates[0])
}

// ServerTLS is for the public front door: TLS 1.3, or 1.2 for clients that lack
// it; client certificates are not asked for.
func ServerTLS(r *Reloader) *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     protocols(),
		GetCertificate: r.GetCertificate,
	}
}

// PeerServerTLS accepts only processes of the region that r's authorities
// signed. TLS 1.3 only.
func PeerServerTLS(r *Reloader, region secret.RegionName) *tls.Config {
	return &tls.Config{
		MinVersion:       tls.VersionTLS13,
		NextProtos:       protocols(),
		GetCertificate:   r.GetCertificate,
		ClientAuth:       tls.RequireAnyClientCert, // VerifyConnection verifies, with authorities that reload
		VerifyConnection: verifier(r, region, x509.ExtKeyUsageClientAuth),
		Time:             r.o.Now,
	}
}

// PeerClientTLS connects only to processes of the region that r's authorities
// signed, under whatever host name. TLS 1.3 only.
func PeerClientTLS(r *Reloader, region secret.RegionName) *tls.Config {
	return &tls.Config{
		MinVersion:           tls.VersionTLS13,
		NextProtos:           protocols(),
		GetClientCertificate: r.GetClientCertificate,
		// VerifyConnection verifies chain and identity; the standard check is of
		// host names and cannot reload its authorities.
		InsecureSkipVerify: true, //nolint:gosec // see above
		VerifyConnection:   verifier(r, region, x509.ExtKeyUsageServerAuth),
		Time:               r.o.Now,
	}
}

// verifier checks the chain and the identity of the other end, for each
// connection, resumed ones included.
func verifier(r *Reloader, region secret.RegionName, usage x509.ExtKeyUsage) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		peer, err := PeerOf(&state)
		if err != nil {
			return err
		}
		if peer.Region != region {
			return secret.Errorf(secret.CodeUnauthenticated, "the peer is a process of region %s, not of %s", peer.Region, region)
		}
		return checkChain(&state, r.get().pool, usage, r.o.Now())
	}
}

// checkChain checks that one of the authorities signed the other end's
// certificate, for that use, and that it is valid now.
func checkChain(state *tls.ConnectionState, authorities *x509.CertPool, usage x509.ExtKeyUsage, now time.Time) error {
	if authorities == nil { // x509 would take the system's authorities instead
		return secret.Errorf(secret.CodeUnauthenticated, "no authority for peers is configured")
	}
	between := x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots: authorities, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage},
	})
	if err != nil {
		return secret.Wrap(secret.CodeUnauthenticated, err, "the peer's certificate is not trusted")
	}
	return nil
}

// StoreClientTLS connects to the members of a store that r's authorities signed
// and whose certificate is for one of the hosts. Which one of them answers is all
// the same.
func StoreClientTLS(r *Reloader, hosts []string) *tls.Config {
	return &tls.Config{
		MinVersion:           tls.VersionTLS12,
		GetClientCertificate: r.GetClientCertificate,
		// VerifyConnection verifies chain and host; the standard check cannot reload its
		// authorities.
		InsecureSkipVerify: true, //nolint:gosec // see above
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 {
				return secret.Errorf(secret.CodeUnauthenticated, "the store shows no certificate")
			}
			if err := checkChain(&state, r.get().pool, x509.ExtKeyUsageServerAuth, r.o.Now()); err != nil {
				return err
			}
			for _, host := range hosts {
				if state.PeerCertificates[0].VerifyHostname(host) == nil {
					return nil
				}
			}
			return secret.Errorf(secret.CodeUnauthenticated, "the store's certificate is for none of the endpoints")
		},
		Time: r.o.Now,
	}
}

// ClientTLS is for clients of the public front door. It trusts the authorities
// of a PEM file, or those of the system if caFile is empty.
func ClientTLS(caFile string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: protocols()}
	if caFile == "" {
		return c, nil
	}
	pool, err := readPool(caFile)
	if err != nil {
		return nil, err
	}
	c.RootCAs = pool
	return c, nil
}
