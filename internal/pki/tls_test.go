package pki

import (
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type files struct{ cert, key, ca string }

func authority(t *testing.T, region secret.RegionName) *Authority {
	t.Helper()
	a, err := NewAuthority(AuthorityOptions{Region: region})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func issue(t *testing.T, a *Authority, r Request, f files) {
	t.Helper()
	if len(r.Hosts) == 0 {
		r.Hosts = []string{"localhost", "127.0.0.1", "::1"}
	}
	pair, err := a.Issue(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := pair.Save(f.cert, f.key); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(f.ca, a.CertPEM()); err != nil {
		t.Fatal(err)
	}
}

func newFiles(t *testing.T) files {
	dir := t.TempDir()
	return files{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "ca.pem")}
}

// clock is a wall clock that tests move.
type clock struct{ ahead atomic.Int64 }

func (c *clock) Now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

func reloader(t *testing.T, f files, o ReloaderOptions) *Reloader {
	t.Helper()
	o.CertFile, o.KeyFile, o.CAFile = f.cert, f.key, f.ca
	r, err := NewReloader(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func peer(t *testing.T, a *Authority, name string) *Reloader {
	t.Helper()
	f := newFiles(t)
	issue(t, a, Request{Use: Peer, Name: name}, f)
	return reloader(t, f, ReloaderOptions{})
}

// handshake connects both configurations over a real socket, sends a byte each
// way, and returns what each end saw.
func handshake(t *testing.T, server, client *tls.Config) (atServer, atClient tls.ConnectionState, err error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	type result struct {
		state tls.ConnectionState
		err   error
	}
	done := make(chan result, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			done <- result{err: err}
			return
		}
		defer func() { _ = conn.Close() }()
		s := tls.Server(conn, server)
		if err = s.Handshake(); err == nil {
			_, err = s.Write([]byte{1})
		}
		done <- result{s.ConnectionState(), err}
	}()
	if client.ServerName == "" {
		client = client.Clone()
		client.ServerName = "localhost"
	}
	raw, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = raw.Close() }()
	c := tls.Client(raw, client)
	err = c.Handshake()
	if err == nil {
		_, err = io.ReadFull(c, make([]byte, 1)) // with TLS 1.3 a refusal by the server shows here
	}
	_ = raw.Close()
	r := <-done
	return r.state, c.ConnectionState(), errors.Join(err, r.err)
}

func TestPeersOfARegionMeet(t *testing.T) {
	a := authority(t, "east")
	server, client := peer(t, a, "east-1"), peer(t, a, "east-2")
	atServer, atClient, err := handshake(t, PeerServerTLS(server, "east"), PeerClientTLS(client, "east"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := PeerOf(&atServer); err != nil || got != (Identity{"east", "east-2"}) {
		t.Errorf("the server met %+v, %v", got, err)
	}
	if got, err := PeerOf(&atClient); err != nil || got != (Identity{"east", "east-1"}) {
		t.Errorf("the client met %+v, %v", got, err)
	}
	if atServer.Version != tls.VersionTLS13 || atServer.NegotiatedProtocol != "h2" {
		t.Errorf("version %x, protocol %q", atServer.Version, atServer.NegotiatedProtocol)
	}
}

func TestStrangersAreRefused(t *testing.T) {
	east, other := authority(t, "east"), authority(t, "east")
	west := authority(t, "west")
	// A certificate of region west, signed by the authority of region east.
	stray := &Authority{cert: east.cert, key: east.key, region: "west", now: time.Now}
	with := func(a *Authority, use Use, trust *Authority) *Reloader {
		f := newFiles(t)
		issue(t, a, Request{Use: use, Name: "p"}, f)
		if err := WriteFile(f.ca, trust.CertPEM()); err != nil {
			t.Fatal(err)
		}
		return reloader(t, f, ReloaderOptions{})
	}
	good := with(east, Peer, east)
	for _, tt := range []struct {
		name  string
		other *Reloader
		want  string
	}{
		{"another authority of the same region", with(other, Peer, east), "not trusted"},
		{"another region with its own authority", with(west, Peer, east), "a process of region west"},
		{"another region under the same authority", with(stray, Peer, east), "a process of region west"},
		{"a client's certificate", with(east, Client, east), "not that of a process"},
		{"a front door's certificate", with(east, Server, east), "not that of a process"},
	} {
		t.Run("client is "+tt.name, func(t *testing.T) {
			_, _, err := handshake(t, PeerServerTLS(good, "east"), PeerClientTLS(tt.other, "east"))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v; want %q in it", err, tt.want)
			}
		})
		t.Run("server is "+tt.name, func(t *testing.T) {
			_, _, err := handshake(t, PeerServerTLS(tt.other, "east"), PeerClientTLS(good, "east"))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v; want %q in it", err, tt.want)
			}
		})
	}
	t.Run("client without a certificate", func(t *testing.T) {
		c := PeerClientTLS(good, "east")
		c.GetClientCertificate = nil
		if _, _, err := handshake(t, PeerServerTLS(good, "east"), c); err == nil {
			t.Error("accepted")
		}
	})
	t.Run("client with TLS 1.2", func(t *testing.T) {
		c := PeerClientTLS(good, "east")
		c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
		if _, _, err := handshake(t, PeerServerTLS(good, "east"), c); err == nil {
			t.Error("accepted")
		}
	})
	t.Run("no authority configured", func(t *testing.T) {
		f := newFiles(t)
		issue(t, east, Request{Use: Peer, Name: "p"}, f)
		r, err := NewReloader(ReloaderOptions{CertFile: f.cert, KeyFile: f.key})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := handshake(t, PeerServerTLS(r, "east"), PeerClientTLS(good, "east")); err == nil {
			t.Error("accepted")
		}
	})
}

func TestExpiredPeerIsRefused(t *testing.T) {
	a := authority(t, "east")
	var c clock
	f := newFiles(t)
	issue(t, a, Request{Use: Peer, Name: "p", Lifetime: time.Hour}, f)
	r := reloader(t, f, ReloaderOptions{Now: c.Now})
	if _, _, err := handshake(t, PeerServerTLS(r, "east"), PeerClientTLS(r, "east")); err != nil {
		t.Fatal(err)
	}
	if left := r.NotAfter().Sub(c.Now()); left > time.Hour || left < 55*time.Minute {
		t.Errorf("expires in %s", left)
	}
	c.advance(2 * time.Hour)
	_, _, err := handshake(t, PeerServerTLS(r, "east"), PeerClientTLS(r, "east"))
	if err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("error %v", err)
	}
}

func TestFrontDoor(t *testing.T) {
	a := authority(t, "east")
	f := newFiles(t)
	issue(t, a, Request{Use: Server, Name: "east-1"}, f)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, r.Proto)
		}),
		TLSConfig: ServerTLS(reloader(t, f, ReloaderOptions{})),
		ErrorLog:  log.New(io.Discard, "", 0),
	}
	served := make(chan error, 1)
	go func() { served <- s.ServeTLS(l, "", "") }()
	defer func() {
		_ = s.Close()
		<-served
	}()
	get := func(config *tls.Config) (string, error) {
		tr := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
		defer tr.CloseIdleConnections()
		resp, err := (&http.Client{Transport: tr}).Get("https://" + l.Addr().String())
		if err != nil {
			return "", err
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		return string(body), err
	}
	config, err := ClientTLS(f.ca)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := get(config); err != nil || got != "HTTP/2.0" {
		t.Errorf("got %q, %v", got, err)
	}
	config.MaxVersion = tls.VersionTLS12
	if _, err := get(config); err != nil {
		t.Errorf("TLS 1.2: %v", err)
	}
	system, err := ClientTLS("")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := get(system); err == nil {
		t.Error("a client that does not know the authority connected")
	}
}

func TestReload(t *testing.T) {
	a, b := authority(t, "east"), authority(t, "east")
	var c clock
	var reports []error
	f := newFiles(t)
	issue(t, a, Request{Use: Peer, Name: "first"}, f)
	r := reloader(t, f, ReloaderOptions{
		Every: time.Second, Now: c.Now, OnError: func(err error) { reports = append(reports, err) },
	})
	server, client := PeerServerTLS(r, "east"), PeerClientTLS(r, "east")
	meet := func() string {
		t.Helper()
		_, atClient, err := handshake(t, server, client)
		if err != nil {
			t.Fatal(err)
		}
		id, err := PeerOf(&atClient)
		if err != nil {
			t.Fatal(err)
		}
		return id.Process
	}
	if got := meet(); got != "first" {
		t.Fatalf("met %s", got)
	}

	// A new certificate and a new authority, without a restart.
	issue(t, b, Request{Use: Peer, Name: "second"}, f)
	c.advance(2 * time.Second)
	if got := meet(); got != "second" {
		t.Errorf("met %s after the files changed", got)
	}

	// A bad file keeps the last good one, and is reported once.
	if err := WriteFile(f.key, []byte("not a key")); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		c.advance(2 * time.Second)
		if got := meet(); got != "second" {
			t.Errorf("met %s after the key was spoilt", got)
		}
	}
	if len(reports) != 1 || r.Err() == nil {
		t.Errorf("reports %v, Err %v", reports, r.Err())
	}
	if err := os.Remove(f.cert); err != nil {
		t.Fatal(err)
	}
	c.advance(2 * time.Second)
	if got := meet(); got != "second" {
		t.Errorf("met %s after the certificate was removed", got)
	}

	issue(t, b, Request{Use: Peer, Name: "third"}, f)
	c.advance(2 * time.Second)
	if got := meet(); got != "third" || r.Err() != nil {
		t.Errorf("met %s, Err %v after the repair", got, r.Err())
	}
}
