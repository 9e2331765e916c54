package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const (
	// DefaultAuthorityLifetime is ten years.
	DefaultAuthorityLifetime = 10 * 365 * 24 * time.Hour
	// DefaultLifetime of an issued certificate is 90 days.
	DefaultLifetime = 90 * 24 * time.Hour

	// backdate allows for clocks that are behind.
	backdate = 5 * time.Minute
)

// Use says what a certificate is for.
type Use int

// The uses.
const (
	Server Use = iota + 1 // the public front door, or a member of a store
	Peer                  // a process of the region, as server and as client
	Client                // a client, e.g. of a store; never accepted as a peer
)

// AuthorityOptions configure a new authority.
type AuthorityOptions struct {
	Region secret.RegionName
	// Lifetime defaults to DefaultAuthorityLifetime.
	Lifetime time.Duration
	// Now defaults to time.Now.
	Now func() time.Time
}

// Authority signs certificates of one region with an ECDSA P-256 key. It is
// safe for concurrent use.
type Authority struct {
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	region secret.RegionName
	now    func() time.Time
}

// NewAuthority makes a new key and a certificate for it, signed by itself.
func NewAuthority(o AuthorityOptions) (*Authority, error) {
	if err := secret.CheckRegionName("region", o.Region); err != nil {
		return nil, err
	}
	if o.Lifetime <= 0 {
		o.Lifetime = DefaultAuthorityLifetime
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, secret.Wrap(secret.CodeInternal, err, "cannot make a key")
	}
	now := o.Now()
	template := &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{"Lifeboat"}, CommonName: "Lifeboat region " + string(o.Region)},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(o.Lifetime),
		IsCA:                  true,
		MaxPathLenZero:        true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		URIs:                  []*url.URL{{Scheme: "spiffe", Host: string(o.Region)}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, secret.Wrap(secret.CodeInternal, err, "cannot sign the authority's certificate")
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, secret.Wrap(secret.CodeInternal, err, "cannot parse the authority's certificate")
	}
	return &Authority{cert: cert, key: key, region: o.Region, now: o.Now}, nil
}

// LoadAuthority reads what Save wrote. It returns secret.CodeInvalid if the
// files are not an authority of a region.
func LoadAuthority(certFile, keyFile string) (*Authority, error) {
	pair, err := readPair(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	cert := pair.Leaf
	switch {
	case !ok || !cert.IsCA:
		return nil, secret.Errorf(secret.CodeInvalid, "%s is not the certificate of an authority made here", certFile)
	case len(cert.URIs) != 1 || cert.URIs[0].Scheme != "spiffe" || cert.URIs[0].Path != "":
		return nil, secret.Errorf(secret.CodeInvalid, "%s does not name its region", certFile)
	}
	region := secret.RegionName(cert.URIs[0].Host)
	return &Authority{cert: cert, key: key, region: region, now: time.Now}, nil
}

// Save writes certificate and key, each atomically and readable by the owner
// only. It refuses to replace an existing key (secret.CodeExists): what that key
// signed would be lost.
func (a *Authority) Save(certFile, keyFile string) error {
	if _, err := os.Lstat(keyFile); err == nil {
		return secret.Errorf(secret.CodeExists, "the authority's key %s exists", keyFile)
	}
	pair, err := newPair(a.key, a.cert)
	if err != nil {
		return err
	}
	return pair.Save(certFile, keyFile)
}

// CertPEM returns the certificate that others must trust.
func (a *Authority) CertPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// Region returns the region of the authority.
func (a *Authority) Region() secret.RegionName { return a.region }

// Request asks for a certificate.
type Request struct {
	Use Use
	// Name is the ID of the process, or the name of a client.
	Name string
	// Hosts are DNS names and IP addresses; needed but for clients.
	Hosts []string
	// URI, spiffe://DOMAIN/PATH, is by whom a client is known to the region's
	// accounts; empty for none. It may not be that of a process.
	URI string
	// Lifetime defaults to DefaultLifetime; it ends with that of the authority.
	Lifetime time.Duration
}

// Issue makes a new key and signs a certificate for it. It returns
// secret.CodeInvalid for a bad request.
func (a *Authority) Issue(r Request) (*Pair, error) {
	template, err := a.template(r)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, secret.Wrap(secret.CodeInternal, err, "cannot make a key")
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, secret.Wrap(secret.CodeInternal, err, "cannot sign the certificate")
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, secret.Wrap(secret.CodeInternal, err, "cannot parse the certificate")
	}
	return newPair(key, cert)
}

func (a *Authority) template(r Request) (*x509.Certificate, error) {
	if err := secret.CheckContainerName("name", r.Name); err != nil {
		return nil, err
	}
	if r.Lifetime <= 0 {
		r.Lifetime = DefaultLifetime
	}
	now := a.now()
	t := &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{"Lifeboat"}, CommonName: commonName(r.Name)},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(r.Lifetime),
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
	}
	if t.NotAfter.After(a.cert.NotAfter) {
		t.NotAfter = a.cert.NotAfter
	}
	switch r.Use {
	case Server:
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	case Peer:
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
		t.URIs = []*url.URL{Identity{Region: a.region, Process: r.Name}.URI()}
	case Client:
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	default:
		return nil, secret.Invalid("use", "is unknown")
	}
	if err := addURI(t, r); err != nil {
		return nil, err
	}
	return t, addHosts(t, r)
}

// addURI adds that of a client. One of a process would make it a peer.
func addURI(t *x509.Certificate, r Request) error {
	if r.URI == "" {
		return nil
	}
	if r.Use != Client {
		return secret.Invalid("uri", "is only for clients")
	}
	if err := secret.CheckURI("uri", r.URI); err != nil {
		return err
	}
	u, err := url.Parse(r.URI)
	if err != nil || strings.HasPrefix(u.Path, processPath) {
		return secret.Invalid("uri", "is that of a process of a region")
	}
	t.URIs = []*url.URL{u}
	return nil
}

// commonName cuts a name to the 64 characters that X.520 allows.
func commonName(name string) string { return name[:min(len(name), 64)] }

func addHosts(t *x509.Certificate, r Request) error {
	if len(r.Hosts) == 0 && r.Use != Client {
		return secret.Invalid("hosts", "must not be empty")
	}
	for i, h := range r.Hosts {
		if ip, err := netip.ParseAddr(h); err == nil {
			t.IPAddresses = append(t.IPAddresses, ip.WithZone("").Unmap().AsSlice())
			continue
		}
		if !validHost(h) {
			return secret.Invalid(fmt.Sprintf("hosts[%d]", i), "is %q, neither a DNS name nor an IP address", h)
		}
		t.DNSNames = append(t.DNSNames, h)
	}
	return nil
}

// validHost reports whether h has the characters and length of a DNS name;
// underscores occur in names of container networks.
func validHost(h string) bool {
	if h == "" || len(h) > 253 {
		return false
	}
	for _, c := range h {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (c < '0' || c > '9') && c != '.' && c != '-' && c != '_' && c != '*' {
			return false
		}
	}
	return true
}
