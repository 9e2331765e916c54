package pki

import (
	"crypto/tls"
	"crypto/x509"
	"sync/atomic"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// AuthoritiesOptions say which authorities sign the processes of a region.
type AuthoritiesOptions struct {
	Region secret.RegionName
	// CAFile holds their certificates in PEM form.
	CAFile string
	// Every, OnError and Now are as in ReloaderOptions.
	Every   time.Duration
	OnError func(error)
	Now     func() time.Time
}

// Authorities are those that sign the processes of one region. Like a Reloader
// they are read again when their file has changed.
type Authorities struct {
	region   secret.RegionName
	reloader *Reloader
	// accepted is what was last found to be good, so that a connection need not
	// be verified anew for each request.
	accepted atomic.Pointer[accepted]
}

type accepted struct {
	leaf *x509.Certificate
	pool *x509.CertPool
}

// NewAuthorities reads the file for the first time. It returns
// secret.CodeInvalid if it cannot be used.
func NewAuthorities(o AuthoritiesOptions) (*Authorities, error) {
	if err := secret.CheckRegionName("region", o.Region); err != nil {
		return nil, err
	}
	if o.CAFile == "" {
		return nil, secret.Invalid("ca_file", "must not be empty")
	}
	r, err := NewReloader(ReloaderOptions{CAFile: o.CAFile, Every: o.Every, OnError: o.OnError, Now: o.Now})
	if err != nil {
		return nil, err
	}
	return &Authorities{region: o.Region, reloader: r}, nil
}

// Err looks at the file and returns why it cannot be used, nil if it can.
func (a *Authorities) Err() error { return a.reloader.Err() }

// check checks a connection whose other end says that it is of the region.
func (a *Authorities) check(state *tls.ConnectionState, usage x509.ExtKeyUsage) error {
	return checkChain(state, a.reloader.get().pool, usage, a.reloader.o.Now())
}

// Trust holds the authorities of each region that this one has links with. It
// must not be changed.
type Trust map[secret.RegionName]*Authorities

// NewTrust returns the trust in the authorities of some regions.
func NewTrust(regions ...*Authorities) Trust {
	t := make(Trust, len(regions))
	for _, a := range regions {
		t[a.region] = a
	}
	return t
}

func (t Trust) of(state *tls.ConnectionState) (Identity, *Authorities, error) {
	peer, err := PeerOf(state)
	if err != nil {
		return peer, nil, err
	}
	a, ok := t[peer.Region]
	if !ok {
		return peer, nil, secret.Errorf(secret.CodeUnauthenticated, "region %s is not a peer of this one", peer.Region)
	}
	return peer, a, nil
}

// LinkServerTLS accepts only processes of the regions in t, each with a
// certificate that the authorities of its very region signed. TLS 1.3 and HTTP/2
// only.
func LinkServerTLS(own *Reloader, t Trust) *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS13,
		NextProtos:     []string{"h2"},
		GetCertificate: own.GetCertificate,
		ClientAuth:     tls.RequireAnyClientCert, // VerifyConnection verifies, with authorities that reload
		VerifyConnection: func(state tls.ConnectionState) error {
			_, a, err := t.of(&state)
			if err != nil {
				return err
			}
			return a.check(&state, x509.ExtKeyUsageClientAuth)
		},
		Time: own.o.Now,
	}
}

// LinkClientTLS connects only to processes of one region in t, with a
// certificate that its authorities signed, under whatever host name. TLS 1.3 and
// HTTP/2 only.
func LinkClientTLS(own *Reloader, t Trust, region secret.RegionName) *tls.Config {
	return &tls.Config{
		MinVersion:           tls.VersionTLS13,
		NextProtos:           []string{"h2"},
		GetClientCertificate: own.GetClientCertificate,
		// VerifyConnection verifies chain and identity; the standard check is of
		// host names and cannot reload its authorities.
		InsecureSkipVerify: true, //nolint:gosec // see above
		VerifyConnection:   func(state tls.ConnectionState) error { return t.CheckServer(&state, region) },
		Time:               own.o.Now,
	}
}

// CheckServer checks again a connection that was made with LinkClientTLS:
// authorities change and certificates expire while it is open.
func (t Trust) CheckServer(state *tls.ConnectionState, region secret.RegionName) error {
	peer, a, err := t.of(state)
	if err != nil {
		return err
	}
	if peer.Region != region {
		return secret.Errorf(secret.CodeUnauthenticated, "the peer is a process of region %s, not of %s", peer.Region, region)
	}
	return a.check(state, x509.ExtKeyUsageServerAuth)
}

// CheckClient checks again a connection that was accepted with LinkServerTLS, and
// returns whose it is; with an error that is only what the certificate says. It is
// cheap enough to be called for each request.
func (t Trust) CheckClient(state *tls.ConnectionState) (Identity, error) {
	peer, a, err := t.of(state)
	if err != nil {
		return peer, err
	}
	leaf, pool := state.PeerCertificates[0], a.reloader.get().pool
	if last := a.accepted.Load(); last != nil && last.leaf == leaf && last.pool == pool && a.reloader.o.Now().Before(leaf.NotAfter) {
		return peer, nil
	}
	if err := a.check(state, x509.ExtKeyUsageClientAuth); err != nil {
		return peer, err
	}
	a.accepted.Store(&accepted{leaf, pool})
	return peer, nil
}
