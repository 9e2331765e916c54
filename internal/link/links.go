package link

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/lifeboat-secrets/lifeboat/internal/pki"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Peer is another region.
type Peer struct {
	Region secret.RegionName
	// Addresses are host:port, where its control processes serve other regions.
	Addresses []string
	// Authorities sign the certificates of its processes.
	Authorities *pki.Authorities
}

// Life is one life of a region.
type Life struct {
	// Incarnation is empty while the region is not initialised.
	Incarnation  secret.Incarnation
	RestoreEpoch uint64
}

// Pin is the one life of a peer that is accepted.
type Pin struct {
	// Incarnation is empty if the peer was never met, or was forgotten.
	Incarnation secret.Incarnation
	AdmittedAt  time.Time
	// Forgotten are lives that are never accepted again. ForgottenAt is when the last of
	// them was forgotten, as long as no other one is accepted since.
	Forgotten   []secret.Incarnation
	ForgottenAt time.Time
	// Heir is set if one of them had been taken over here.
	Heir bool
}

// Forgets reports whether a life is never accepted again.
func (p Pin) Forgets(shown secret.Incarnation) bool { return slices.Contains(p.Forgotten, shown) }

// refuses returns why no life of a region that was forgotten is accepted yet, nil if it
// was not.
func (p Pin) refuses(region secret.RegionName) error {
	if p.ForgottenAt.IsZero() {
		return nil
	}
	return secret.Errorf(secret.CodeUnknownIncarnation, "region %s was forgotten, and no new one was admitted in its place", region)
}

// Admits reports whether it is the life that a peer shows.
func (p Pin) Admits(shown secret.Incarnation) bool {
	return p.Incarnation != "" && shown == p.Incarnation
}

// Options of Links. Those without a default are required.
type Options struct {
	Region secret.RegionName
	// Process and Release are what peers are told.
	Process, Release string
	// ReplicationSchema is the highest version that this process reads.
	ReplicationSchema uint32
	// Certificate is that of this process; nil only without peers.
	Certificate *pki.Reloader
	Peers       []Peer
	// Life returns the present life of this region. It is called for each request.
	Life func() Life
	// Origins returns the backups that led to the present life; may be nil.
	Origins func() []secret.Moment
	// Pinned returns which life of a peer is accepted. It is called for each
	// request.
	Pinned func(secret.RegionName) (Pin, error)
	// Behind returns how long ago the oldest mutation committed that a peer lacks, false
	// if that is not known; nil means never known.
	Behind func(secret.RegionName) (time.Duration, bool)
	// Current, if set, is told that all that a peer had cleared by a time is here. It
	// must not block.
	Current func(peer secret.RegionName, at time.Time)
	// Reached, if set, is told that a peer answers which did not before. It must not block.
	Reached func(peer secret.RegionName)
	// TakenOver reports whether this region has taken a peer over that has not caught up
	// since, and the records that it lacks if these are all that is missing; nil means
	// never.
	TakenOver func(secret.RegionName) (taken bool, heldUp []string)
	// StatusOf maps the typed error of a refusal to the protocol's code.
	StatusOf func(error) connect.Code
	Logger   *slog.Logger
	Now      func() time.Time
	// ProbeEvery is how often, about, each peer is asked how it is; default 2 s.
	ProbeEvery time.Duration
	// MaxRequests bounds the requests of one peer that are served at once;
	// default 128. More are refused with secret.CodeThrottled.
	MaxRequests int
}

// Links are those of this process with all peers. Safe for concurrent use.
type Links struct {
	Options
	trust  pki.Trust
	peers  map[secret.RegionName]*peer
	met    chan struct{}
	cancel context.CancelFunc
}

// New returns the links with some peers. Nothing is connected yet. Close them
// after use, and Run the prober.
func New(o Options) *Links {
	o.ProbeEvery = cmp.Or(o.ProbeEvery, 2*time.Second)
	o.MaxRequests = cmp.Or(o.MaxRequests, 128)
	if o.Origins == nil {
		o.Origins = func() []secret.Moment { return nil }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	life, cancel := context.WithCancel(context.Background())
	l := &Links{Options: o, peers: make(map[secret.RegionName]*peer, len(o.Peers)), met: make(chan struct{}, 1), cancel: cancel}
	var authorities []*pki.Authorities
	for _, p := range o.Peers {
		authorities = append(authorities, p.Authorities)
	}
	l.trust = pki.NewTrust(authorities...)
	for _, p := range o.Peers {
		l.peers[p.Region] = newPeer(life, l, p)
	}
	return l
}

// Close breaks the connections that this side made and waits until what was under
// way has ended.
func (l *Links) Close() error {
	l.cancel()
	for _, p := range l.peers {
		p.close()
	}
	return nil
}

// Peers returns the names of the peers, in the order of the configuration.
func (l *Links) Peers() []secret.RegionName {
	names := make([]secret.RegionName, len(l.Options.Peers))
	for i, p := range l.Options.Peers {
		names[i] = p.Region
	}
	return names
}

// URL is what requests to a peer begin with. It names no address: the link knows
// those.
func URL(region secret.RegionName) string { return "https://" + string(region) }

// Client returns the client for requests to a peer, whose URLs begin with URL. It
// is shared; do not change or close it. Beside those of the network its errors
// are: CodeUnavailable while no life of the peer was met or this region has none,
// and what the peer refused with: CodeUnknownIncarnation, CodeUnauthenticated,
// CodeThrottled, CodeUnavailable. The error of Client itself is CodeNotFound if the
// region is no peer.
func (l *Links) Client(region secret.RegionName) (*http.Client, error) {
	p, ok := l.peers[region]
	if !ok {
		return nil, NotPeer(region)
	}
	return p.client, nil
}

// NotPeer returns the error for a region that is no peer, CodeNotFound.
func NotPeer(region secret.RegionName) error {
	return &secret.Error{
		Code: secret.CodeNotFound, Field: "region", Message: "region " + string(region) + " is not a peer of this one",
		Hint: "peers are named in the configuration of control processes",
	}
}

// ServerTLS is for the listener on which peers are served.
func (l *Links) ServerTLS() *tls.Config { return pki.LinkServerTLS(l.Certificate, l.trust) }

// Run asks each peer how it is until ctx ends, which it then returns.
func (l *Links) Run(ctx context.Context) error {
	var running sync.WaitGroup
	for _, p := range l.peers {
		running.Go(func() { p.run(ctx) })
	}
	<-ctx.Done()
	running.Wait()
	return ctx.Err()
}

// Met receives after a peer has shown a life that is not the pinned one. It may
// receive too often.
func (l *Links) Met() <-chan struct{} { return l.met }

// Status returns what is known of each peer, in the order of the configuration.
func (l *Links) Status() []Status {
	all := make([]Status, 0, len(l.peers))
	for _, p := range l.Options.Peers {
		all = append(all, l.peers[p.Region].state())
	}
	return all
}

// PeerStatus returns what is known of one peer; ok is false if it is none.
func (l *Links) PeerStatus(region secret.RegionName) (s Status, ok bool) {
	p, ok := l.peers[region]
	if !ok {
		return Status{}, false
	}
	return p.state(), true
}

// CertificateErr returns why changed authorities of a peer cannot be used.
func (l *Links) CertificateErr() error {
	var errs []error
	for _, p := range l.Options.Peers {
		errs = append(errs, p.Authorities.Err())
	}
	return errors.Join(errs...)
}
