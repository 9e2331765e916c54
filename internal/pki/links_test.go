package pki

import (
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func trusting(t *testing.T, o AuthoritiesOptions, ca *Authority) (*Authorities, string) {
	t.Helper()
	f := newFiles(t)
	if err := WriteFile(f.ca, ca.CertPEM()); err != nil {
		t.Fatal(err)
	}
	o.CAFile = f.ca
	a, err := NewAuthorities(o)
	if err != nil {
		t.Fatal(err)
	}
	return a, f.ca
}

func trust(t *testing.T, authorities ...*Authority) Trust {
	t.Helper()
	var all []*Authorities
	for _, ca := range authorities {
		a, _ := trusting(t, AuthoritiesOptions{Region: ca.Region()}, ca)
		all = append(all, a)
	}
	return NewTrust(all...)
}

func TestProcessesOfTwoRegionsMeet(t *testing.T) {
	east, west := authority(t, "east"), authority(t, "west")
	inEast, inWest := peer(t, east, "east-1"), peer(t, west, "west-1")
	server := LinkServerTLS(inWest, trust(t, east))
	atServer, atClient, err := handshake(t, server, LinkClientTLS(inEast, trust(t, west), "west"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := PeerOf(&atServer); err != nil || got != (Identity{"east", "east-1"}) {
		t.Errorf("the server met %+v, %v", got, err)
	}
	if got, err := PeerOf(&atClient); err != nil || got != (Identity{"west", "west-1"}) {
		t.Errorf("the client met %+v, %v", got, err)
	}
	if atServer.Version != tls.VersionTLS13 || atServer.NegotiatedProtocol != "h2" {
		t.Errorf("version %x, protocol %q", atServer.Version, atServer.NegotiatedProtocol)
	}
}

// TestStrangersHaveNoLinks tries to pose as region west, or as anyone.
func TestStrangersHaveNoLinks(t *testing.T) {
	east, west, south, other := authority(t, "east"), authority(t, "west"), authority(t, "south"), authority(t, "west")
	// Certificates that name one region and are signed by the authority of another.
	stray := &Authority{cert: south.cert, key: south.key, region: "west", now: time.Now}
	with := func(a *Authority, use Use) *Reloader {
		f := newFiles(t)
		issue(t, a, Request{Use: use, Name: "p"}, f)
		return reloader(t, f, ReloaderOptions{})
	}
	inEast, trusted := peer(t, east, "east-1"), trust(t, west, south)
	for _, tt := range []struct {
		name  string
		other *Reloader
		want  string
	}{
		{"another authority of that name", with(other, Peer), "not trusted"},
		{"signed by the authority of another peer", with(stray, Peer), "not trusted"},
		{"a region that is no peer", with(authority(t, "north"), Peer), "region north is not a peer"},
		{"this region itself", with(east, Peer), "region east is not a peer"},
		{"a client's certificate", with(west, Client), "not that of a process"},
		{"a front door's certificate", with(west, Server), "not that of a process"},
	} {
		t.Run("client is "+tt.name, func(t *testing.T) {
			_, _, err := handshake(t, LinkServerTLS(inEast, trusted), LinkClientTLS(tt.other, trust(t, east), "east"))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v; want %q in it", err, tt.want)
			}
		})
		t.Run("server is "+tt.name, func(t *testing.T) {
			_, _, err := handshake(t, LinkServerTLS(tt.other, trust(t, east)), LinkClientTLS(inEast, trusted, "west"))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v; want %q in it", err, tt.want)
			}
		})
	}
	t.Run("server is another peer than meant", func(t *testing.T) {
		_, _, err := handshake(t, LinkServerTLS(with(south, Peer), trust(t, east)), LinkClientTLS(inEast, trusted, "west"))
		if err == nil || !strings.Contains(err.Error(), "of region south, not of west") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("client without a certificate", func(t *testing.T) {
		c := LinkClientTLS(inEast, trust(t, west), "west")
		c.GetClientCertificate = nil
		if _, _, err := handshake(t, LinkServerTLS(with(west, Peer), trust(t, east)), c); err == nil {
			t.Error("accepted")
		}
	})
	t.Run("client with TLS 1.2", func(t *testing.T) {
		c := LinkClientTLS(inEast, trust(t, west), "west")
		c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
		if _, _, err := handshake(t, LinkServerTLS(with(west, Peer), trust(t, east)), c); err == nil {
			t.Error("accepted")
		}
	})
}

// TestOpenLinksAreCheckedAgain shows that a connection that was good once is not
// good for ever: its certificate expires, its authority is replaced.
func TestOpenLinksAreCheckedAgain(t *testing.T) {
	east, west, next := authority(t, "east"), authority(t, "west"), authority(t, "west")
	var c clock
	f := newFiles(t)
	issue(t, west, Request{Use: Peer, Name: "west-1", Lifetime: time.Hour}, f)
	inWest := reloader(t, f, ReloaderOptions{})
	a, file := trusting(t, AuthoritiesOptions{Region: "west", Every: time.Second, Now: c.Now}, west)
	trusted := NewTrust(a)
	atServer, _, err := handshake(t, LinkServerTLS(peer(t, east, "east-1"), trusted), LinkClientTLS(inWest, trust(t, east), "east"))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got, err := trusted.CheckClient(&atServer); err != nil || got != (Identity{"west", "west-1"}) {
			t.Fatalf("met %+v, %v", got, err)
		}
	}
	if err := WriteFile(file, next.CertPEM()); err != nil {
		t.Fatal(err)
	}
	c.advance(2 * time.Second)
	if _, err := trusted.CheckClient(&atServer); !secret.HasCode(err, secret.CodeUnauthenticated) {
		t.Errorf("after its authority was replaced: %v", err)
	}
	if err := WriteFile(file, append(next.CertPEM(), west.CertPEM()...)); err != nil {
		t.Fatal(err)
	}
	c.advance(2 * time.Second)
	if _, err := trusted.CheckClient(&atServer); err != nil {
		t.Errorf("with both authorities: %v", err)
	}
	c.advance(2 * time.Hour)
	if _, err := trusted.CheckClient(&atServer); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("after its end: %v", err)
	}
	if err := WriteFile(file, []byte("nothing")); err != nil {
		t.Fatal(err)
	}
	if a.Err() == nil {
		t.Error("a bad file is not reported")
	}
}

func TestNewAuthoritiesRefuses(t *testing.T) {
	f := newFiles(t)
	for name, o := range map[string]AuthoritiesOptions{
		"no file named": {Region: "west"}, "no file": {Region: "west", CAFile: f.ca}, "no region": {CAFile: f.ca},
	} {
		if _, err := NewAuthorities(o); !secret.HasCode(err, secret.CodeInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
