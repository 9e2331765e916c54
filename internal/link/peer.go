package link

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1/peerv1connect"
	"github.com/lifeboat-secrets/lifeboat/internal/pki"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const (
	// silentFor is how long a connection may be silent before it is pinged, and
	// pingTimeout how long the answer may take: a link that is full is not dead.
	silentFor   = 2 * time.Second
	pingTimeout = 5 * time.Second
	// receiveBuffer is the flow control window, as large as net/http allows: a
	// stream can carry so much in one round trip.
	receiveBuffer = 4<<20 - 1
	// maxHellos bounds how many Hellos of one peer are answered at once, beside
	// its other requests.
	maxHellos = 16
)

// HTTP2 is how both ends of a link speak HTTP/2.
func HTTP2() *http.HTTP2Config {
	return &http.HTTP2Config{
		SendPingTimeout: silentFor, PingTimeout: pingTimeout,
		MaxReceiveBufferPerConnection: receiveBuffer, MaxReceiveBufferPerStream: receiveBuffer,
	}
}

// peer is both directions of the links with one peer.
type peer struct {
	links     *Links
	region    secret.RegionName
	dialer    *dialer
	transport *http.Transport
	client    *http.Client
	hello     peerv1connect.RegionServiceClient

	// requests and hellos bound what is served to the peer at once.
	requests, hellos chan struct{}
	refused          map[secret.Code]*atomic.Uint64

	mu     sync.Mutex
	status Status
}

func newPeer(life context.Context, l *Links, o Peer) *peer {
	p := &peer{
		links: l, region: o.Region, requests: make(chan struct{}, l.MaxRequests), hellos: make(chan struct{}, maxHellos),
		refused: make(map[secret.Code]*atomic.Uint64), status: Status{Region: o.Region},
	}
	for _, code := range refusals() {
		p.refused[code] = &atomic.Uint64{}
	}
	p.dialer = &dialer{
		addresses: o.Addresses, tls: pki.LinkClientTLS(l.Certificate, l.trust, o.Region), life: life, open: make(map[*conn]struct{}),
	}
	var protocols http.Protocols
	protocols.SetHTTP2(true)
	p.transport = &http.Transport{
		DialTLSContext: p.dialer.dial, Protocols: &protocols, ForceAttemptHTTP2: true, HTTP2: HTTP2(), DisableCompression: true,
	}
	p.client = &http.Client{
		Transport:     caller{p},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	p.hello = peerv1connect.NewRegionServiceClient(p.client, URL(o.Region))
	return p
}

func (p *peer) close() {
	p.transport.CloseIdleConnections()
	p.dialer.close()
}
