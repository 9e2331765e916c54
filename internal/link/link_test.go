package link_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"

	"github.com/lifeboat-secrets/lifeboat/internal/faultproxy"
	"github.com/lifeboat-secrets/lifeboat/internal/link"
	"github.com/lifeboat-secrets/lifeboat/internal/pki"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// files keeps the PEM files of one side.
type files struct{ dir string }

func (f files) path(name string) string { return filepath.Join(f.dir, name) }

// ca makes an authority, saves what others must trust, and returns both.
func (f files) ca(t testing.TB, region secret.RegionName) *pki.Authority {
	t.Helper()
	ca, err := pki.NewAuthority(pki.AuthorityOptions{Region: region})
	must(t, err)
	must(t, pki.WriteFile(f.path("ca.pem"), ca.CertPEM()))
	return ca
}

// certificate issues that of a process and returns what reads it.
func (f files) certificate(t testing.TB, ca *pki.Authority, lifetime time.Duration) *pki.Reloader {
	t.Helper()
	pair, err := ca.Issue(pki.Request{Use: pki.Peer, Name: "p", Hosts: []string{"127.0.0.1"}, Lifetime: lifetime})
	must(t, err)
	must(t, pair.Save(f.path("cert.pem"), f.path("key.pem")))
	r, err := pki.NewReloader(pki.ReloaderOptions{CertFile: f.path("cert.pem"), KeyFile: f.path("key.pem"), Every: time.Millisecond})
	must(t, err)
	return r
}

func (f files) authorities(t testing.TB, region secret.RegionName) *pki.Authorities {
	t.Helper()
	a, err := pki.NewAuthorities(pki.AuthoritiesOptions{Region: region, CAFile: f.path("ca.pem"), Every: time.Millisecond})
	must(t, err)
	return a
}

// side is one region of a test, with a listener for the other.
type side struct {
	files
	region secret.RegionName
	ca     *pki.Authority
	cert   *pki.Reloader
	mux    *http.ServeMux

	mu   sync.Mutex
	life link.Life
	pins map[secret.RegionName]link.Pin

	links   *link.Links
	stop    func()
	serving *http.Server
}

func newSide(t testing.TB, region secret.RegionName) *side {
	t.Helper()
	s := &side{files: files{t.TempDir()}, region: region, mux: http.NewServeMux(), pins: map[secret.RegionName]link.Pin{}}
	s.ca = s.files.ca(t, region)
	s.cert = s.files.certificate(t, s.ca, 0)
	s.life = link.Life{Incarnation: secret.Incarnation(region) + "-1", RestoreEpoch: 1}
	s.mux.HandleFunc("/who", func(w http.ResponseWriter, r *http.Request) {
		id, _ := link.PeerFrom(r.Context())
		_, _ = io.WriteString(w, string(id.Region)+"/"+id.Process)
	})
	return s
}

func (s *side) setLife(incarnation secret.Incarnation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.life.Incarnation = incarnation
}

func (s *side) pin(peer secret.RegionName, incarnation secret.Incarnation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pins[peer] = link.Pin{Incarnation: incarnation}
}

func (s *side) forget(peer secret.RegionName, incarnation secret.Incarnation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pins[peer] = link.Pin{Forgotten: []secret.Incarnation{incarnation}, ForgottenAt: time.Now()}
}

// connect makes the links with peers, at the given addresses, and starts to serve
// and to probe.
func (s *side) connect(t testing.TB, listener net.Listener, peers ...link.Peer) {
	t.Helper()
	s.links = link.New(link.Options{
		Region: s.region, Process: "p", Release: "test", ReplicationSchema: 7, Certificate: s.cert, Peers: peers,
		Life: func() link.Life {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.life
		},
		Pinned: func(peer secret.RegionName) (link.Pin, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.pins[peer], nil
		},
		StatusOf: func(error) connect.Code { return connect.CodeFailedPrecondition }, ProbeEvery: 30 * time.Millisecond, MaxRequests: 2,
	})
	s.mux.Handle(s.links.Hello())
	s.serving = &http.Server{
		Handler: s.links.Accept(s.mux), TLSConfig: s.links.ServerTLS(), HTTP2: link.HTTP2(), ErrorLog: log.New(io.Discard, "", 0),
		ReadHeaderTimeout: time.Second,
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = s.serving.ServeTLS(listener, "", "") })
	running.Go(func() { _ = s.links.Run(ctx) })
	s.stop = sync.OnceFunc(func() {
		cancel()
		_ = s.links.Close()
		_ = s.serving.Close()
		running.Wait()
	})
	t.Cleanup(s.stop)
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func proxy(t testing.TB, target string) *faultproxy.Proxy {
	t.Helper()
	p, err := faultproxy.Start(faultproxy.Options{Target: target})
	must(t, err)
	t.Cleanup(func() { must(t, p.Close()) })
	return p
}

// pair is two regions that have met, with a proxy on the way from east to west.
type pair struct {
	east, west *side
	way        *faultproxy.Proxy
	target     string
}

func newPair(t testing.TB) *pair {
	t.Helper()
	p := &pair{east: newSide(t, "east"), west: newSide(t, "west")}
	atEast, atWest := listen(t), listen(t)
	p.target = atWest.Addr().String()
	p.way = proxy(t, p.target)
	p.west.connect(t, atWest, link.Peer{Region: "east", Addresses: []string{atEast.Addr().String()}, Authorities: p.east.authorities(t, "east")})
	p.east.connect(t, atEast, link.Peer{Region: "west", Addresses: []string{p.way.Address()}, Authorities: p.west.authorities(t, "west")})
	p.east.pin("west", "west-1")
	p.west.pin("east", "east-1")
	return p
}

func (s *side) status(t testing.TB, peer secret.RegionName) link.Status {
	t.Helper()
	status, ok := s.links.PeerStatus(peer)
	if !ok {
		t.Fatalf("%s is not a peer", peer)
	}
	return status
}

func (s *side) await(t testing.TB, peer secret.RegionName, wanted func(link.Status) bool) link.Status {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		status := s.status(t, peer)
		if wanted(status) {
			return status
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s sees %s as %+v", s.region, peer, status)
		}
	}
}

func reachable(s link.Status) bool { return s.Reachable }

// ask calls the other side as any service would.
func (s *side) ask(t testing.TB, peer secret.RegionName, path string) (string, error) {
	t.Helper()
	client, err := s.links.Client(peer)
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, link.URL(peer)+path, strings.NewReader("body"))
	must(t, err)
	answer, err := client.Do(r)
	if err != nil {
		return "", err
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	return string(body), err
}

func TestPeersMeet(t *testing.T) {
	p := newPair(t)
	s := p.east.await(t, "west", reachable)
	if s.Life != (link.Life{Incarnation: "west-1", RestoreEpoch: 1}) || s.Release != "test" || s.ReplicationSchema != 7 || s.Process != "p" ||
		s.RoundTrip <= 0 || s.ClockDifference.Abs() > time.Second || s.Since.IsZero() || s.Address != p.way.Address() {
		t.Errorf("east sees %+v", s)
	}
	p.west.await(t, "east", reachable)
	if got, err := p.east.ask(t, "west", "/who"); err != nil || got != "east/p" {
		t.Errorf("west sees %q, %v", got, err)
	}
	if names := p.east.links.Peers(); len(names) != 1 || names[0] != "west" {
		t.Errorf("peers are %v", names)
	}
	if _, err := p.east.links.Client("north"); !secret.HasCode(err, secret.CodeNotFound) {
		t.Errorf("a stranger: %v", err)
	}
	if err := p.east.links.CertificateErr(); err != nil {
		t.Error(err)
	}
}

func TestRoundTripOfADelayedLink(t *testing.T) {
	p := newPair(t)
	p.way.Delay(25 * time.Millisecond)
	s := p.east.await(t, "west", func(s link.Status) bool { return s.Reachable && s.RoundTrip >= 50*time.Millisecond })
	if s.RoundTrip > 2*time.Second {
		t.Errorf("round trip is %s", s.RoundTrip)
	}
}

func TestLinkIsLostAndFoundAgain(t *testing.T) {
	p := newPair(t)
	first := p.east.await(t, "west", reachable)
	p.way.Cut()
	lost := p.east.await(t, "west", func(s link.Status) bool { return !s.Reachable })
	if lost.Err == nil || !lost.Since.After(first.Since) || lost.Life != first.Life || lost.LastSeen.IsZero() {
		t.Errorf("a lost peer is %+v", lost)
	}
	if _, err := p.east.ask(t, "west", "/who"); err == nil {
		t.Error("a call over a cut link succeeded")
	}
	p.way.Heal()
	p.east.await(t, "west", reachable)
	if _, err := p.east.ask(t, "west", "/who"); err != nil {
		t.Error(err)
	}
}

// TestIncarnations shows that requests are between the lives that both sides know,
// and that Hello is between any.
func TestIncarnations(t *testing.T) {
	p := newPair(t)
	p.east.await(t, "west", reachable)
	refused := func(code secret.Code, text string) {
		t.Helper()
		_, err := p.east.ask(t, "west", "/who")
		if !secret.HasCode(err, code) || !strings.Contains(err.Error(), text) {
			t.Errorf("error %v; want %s with %q", err, code, text)
		}
	}
	p.east.setLife("east-2")
	refused(secret.CodeUnknownIncarnation, "incarnation east-2 of region east is not admitted here; east-1 is")
	unknown := p.west.await(t, "east", func(s link.Status) bool { return s.Life.Incarnation == "east-2" })
	if !unknown.Reachable || !unknown.Unknown() || unknown.Refused[secret.CodeUnknownIncarnation] != 1 {
		t.Errorf("west sees %+v", unknown)
	}
	select {
	case <-p.west.links.Met():
	case <-time.After(time.Minute):
		t.Error("west was not told")
	}
	p.west.pin("east", "east-2")
	if _, err := p.east.ask(t, "west", "/who"); err != nil {
		t.Errorf("once admitted: %v", err)
	}
	p.west.setLife("west-2")
	refused(secret.CodeUnknownIncarnation, "this is incarnation west-2 of region west, not west-1")
	p.east.pin("west", "west-2")
	if _, err := p.east.ask(t, "west", "/who"); err != nil {
		t.Errorf("once admitted: %v", err)
	}
	p.west.forget("east", "east-2")
	refused(secret.CodeUnknownIncarnation, "incarnation east-2 of region east was forgotten here for good")
	p.east.setLife("east-3")
	refused(secret.CodeUnknownIncarnation, "east was forgotten, and no new one was admitted")
	if _, err := p.west.ask(t, "east", "/who"); !secret.HasCode(err, secret.CodeUnknownIncarnation) {
		t.Errorf("west asks a region that it has forgotten: %v", err)
	}
	p.east.setLife("east-2")
	p.west.pin("east", "east-2")
	p.east.pin("west", "")
	refused(secret.CodeUnavailable, "west was not met yet")
	p.east.pin("west", "west-2")
	p.west.pin("east", "")
	refused(secret.CodeUnavailable, "east was not met here yet")
	p.west.pin("east", "east-2")
	p.east.setLife("")
	refused(secret.CodeUnavailable, "this region is not initialized")
	p.east.setLife("east-2")
	p.west.setLife("")
	refused(secret.CodeUnavailable, "region west is not initialized")
	p.west.setLife("west-2")
	if _, err := p.east.ask(t, "west", "/who"); err != nil {
		t.Error(err)
	}
}

// TestRequestsAreBoundedByPeer shows that a peer that takes all its slots gets no
// more, is still greeted, and gets them back.
func TestRequestsAreBoundedByPeer(t *testing.T) {
	p := newPair(t)
	began, end := make(chan struct{}, 2), make(chan struct{})
	p.west.mux.HandleFunc("/long", func(http.ResponseWriter, *http.Request) {
		began <- struct{}{}
		<-end
	})
	var calls sync.WaitGroup
	for range 2 {
		calls.Go(func() {
			if _, err := p.east.ask(t, "west", "/long"); err != nil {
				t.Error(err)
			}
		})
		<-began
	}
	if _, err := p.east.ask(t, "west", "/who"); !secret.HasCode(err, secret.CodeThrottled) || !strings.Contains(err.Error(), "2 requests of region east") {
		t.Errorf("a third request: %v", err)
	}
	at := time.Now()
	p.east.await(t, "west", func(s link.Status) bool { return s.LastSeen.After(at) })
	close(end)
	calls.Wait()
	if _, err := p.east.ask(t, "west", "/who"); err != nil {
		t.Error(err)
	}
}

// TestDeadAddresses shows that one address that answers is enough, wherever it is
// in the list, and that a silent one costs little.
func TestDeadAddresses(t *testing.T) {
	east, west := newSide(t, "east"), newSide(t, "west")
	atEast, atWest := listen(t), listen(t)
	silent := proxy(t, atWest.Addr().String())
	silent.Blackhole()
	refusing := proxy(t, atWest.Addr().String())
	refusing.Cut()
	good := proxy(t, atWest.Addr().String())
	west.connect(t, atWest, link.Peer{Region: "east", Addresses: []string{atEast.Addr().String()}, Authorities: east.authorities(t, "east")})
	east.connect(t, atEast, link.Peer{
		Region: "west", Addresses: []string{silent.Address(), refusing.Address(), good.Address()}, Authorities: west.authorities(t, "west"),
	})
	east.pin("west", "west-1")
	west.pin("east", "east-1")
	s := east.await(t, "west", reachable)
	if s.Address != good.Address() {
		t.Errorf("west answers at %s", s.Address)
	}
	good.Cut()
	silent.Heal()
	east.await(t, "west", func(s link.Status) bool { return s.Reachable && s.Address == silent.Address() })
	if _, err := east.ask(t, "west", "/who"); err != nil {
		t.Error(err)
	}
}

// TestASilentPeerHoldsUpNoOther shows that each peer is on its own.
func TestASilentPeerHoldsUpNoOther(t *testing.T) {
	east, west := newSide(t, "east"), newSide(t, "west")
	atEast, atWest := listen(t), listen(t)
	silent := proxy(t, atWest.Addr().String())
	silent.Blackhole()
	other := files{t.TempDir()}
	other.ca(t, "south")
	west.connect(t, atWest, link.Peer{Region: "east", Addresses: []string{atEast.Addr().String()}, Authorities: east.authorities(t, "east")})
	east.connect(t, atEast,
		link.Peer{Region: "south", Addresses: []string{silent.Address()}, Authorities: other.authorities(t, "south")},
		link.Peer{Region: "west", Addresses: []string{atWest.Addr().String()}, Authorities: west.authorities(t, "west")})
	east.pin("west", "west-1")
	west.pin("east", "east-1")
	east.await(t, "west", reachable)
	if _, err := east.ask(t, "west", "/who"); err != nil {
		t.Error(err)
	}
	if east.status(t, "south").Reachable {
		t.Error("a silent peer is reachable")
	}
}

// TestStrangersAreRefused tries to get in at a region's listener.
func TestStrangersAreRefused(t *testing.T) {
	p := newPair(t)
	p.east.await(t, "west", reachable)
	get := func(transport *http.Transport, url string) error {
		defer transport.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		must(t, err)
		answer, err := transport.RoundTrip(r)
		if err != nil {
			return err
		}
		defer func() { _ = answer.Body.Close() }()
		if answer.StatusCode == http.StatusOK {
			return nil
		}
		return errors.New(answer.Status)
	}
	with := func(cert *pki.Reloader) *http.Transport {
		c := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}} //nolint:gosec // the server is to refuse
		if cert != nil {
			c.GetClientCertificate = cert.GetClientCertificate
		}
		return &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: true}
	}
	// Certificates of regions that are none of west's peers, or say to be one.
	impostor := files{t.TempDir()}
	impostor2 := files{t.TempDir()}
	expired := files{t.TempDir()}
	for name, cert := range map[string]*pki.Reloader{
		"no certificate": nil, "another authority": impostor.certificate(t, impostor.ca(t, "east"), 0),
		"another region": impostor2.certificate(t, impostor2.ca(t, "north"), 0), "itself": p.west.cert,
		"expired": expired.certificate(t, p.east.ca, time.Nanosecond),
	} {
		if err := get(with(cert), "https://"+p.target+"/who"); err == nil {
			t.Errorf("%s got in", name)
		}
	}
	if err := get(&http.Transport{}, "http://"+p.target+"/who"); err == nil {
		t.Error("plain text got in")
	}
	// A good certificate without the headers of a link.
	if err := get(with(p.east.cert), "https://"+p.target+"/who"); err == nil {
		t.Errorf("a request without an incarnation: %v", err)
	}
}

// TestCertificatesAreReplaced shows that neither a new certificate nor a new
// authority needs a restart, and that the old authority is not good any more, also
// on connections that are open.
func TestCertificatesAreReplaced(t *testing.T) {
	p := newPair(t)
	p.east.await(t, "west", reachable)
	var remote atomic.Value
	p.west.mux.HandleFunc("/from", func(_ http.ResponseWriter, r *http.Request) { remote.Store(r.RemoteAddr) })
	_, err := p.east.ask(t, "west", "/from")
	must(t, err)
	before := remote.Load()

	// East moves to another authority, at first known to east alone.
	next := p.east.files.ca(t, "east")
	old := p.east.ca.CertPEM()
	p.east.files.certificate(t, next, 0)
	// Some request finds the open connection, with the old certificate, refused; the
	// next one goes over a new one.
	for deadline := time.Now().Add(time.Minute); remote.Load() == before; {
		_, err := p.east.ask(t, "west", "/from")
		if err != nil && !secret.HasCode(err, secret.CodeUnauthenticated) || time.Now().After(deadline) {
			t.Fatalf("the connection with the old certificate is still used: %v", err)
		}
	}
	if n := p.west.status(t, "east").Refused[secret.CodeUnauthenticated]; n == 0 {
		t.Error("the old certificate was not refused")
	}

	// West stops to trust it: nothing more, until it does again.
	must(t, pki.WriteFile(p.east.path("ca.pem"), old))
	p.east.await(t, "west", func(s link.Status) bool { return !s.Reachable })
	must(t, pki.WriteFile(p.east.path("ca.pem"), append(old, next.CertPEM()...)))
	p.east.await(t, "west", reachable)
}

// TestServerOfAnotherRegionIsNotCalled shows that the caller checks too.
func TestServerOfAnotherRegionIsNotCalled(t *testing.T) {
	east, west, south := newSide(t, "east"), newSide(t, "west"), newSide(t, "south")
	atEast, atSouth := listen(t), listen(t)
	south.connect(t, atSouth, link.Peer{Region: "east", Addresses: []string{atEast.Addr().String()}, Authorities: east.authorities(t, "east")})
	east.connect(t, atEast, link.Peer{Region: "west", Addresses: []string{atSouth.Addr().String()}, Authorities: west.authorities(t, "west")})
	s := east.await(t, "west", func(s link.Status) bool { return !s.Since.IsZero() })
	if s.Reachable || !strings.Contains(s.Err.Error(), "region south is not a peer") {
		t.Errorf("east sees %+v", s)
	}
}
