package pki

import (
	"bytes"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"crypto/tls"
	"crypto/x509"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func TestAuthorityOnDisk(t *testing.T) {
	a := authority(t, "east")
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca-key.pem")
	if err := a.Save(cert, key); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{cert, key} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	b, err := LoadAuthority(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	if b.Region() != "east" || !bytes.Equal(a.CertPEM(), b.CertPEM()) {
		t.Errorf("loaded an authority of region %s", b.Region())
	}
	if _, _, err := handshake(t, PeerServerTLS(peer(t, a, "one"), "east"), PeerClientTLS(peer(t, b, "two"), "east")); err != nil {
		t.Errorf("peers of the saved and the loaded authority: %v", err)
	}
	if err := authority(t, "east").Save(cert, key); !secret.HasCode(err, secret.CodeExists) {
		t.Errorf("Save over another authority: %v", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("%d files, %v; want 2", len(entries), err)
	}
}

func TestLoadAuthorityRefuses(t *testing.T) {
	f := newFiles(t)
	issue(t, authority(t, "east"), Request{Use: Peer, Name: "p"}, f)
	if _, err := LoadAuthority(f.cert, f.key); !secret.HasCode(err, secret.CodeInvalid) {
		t.Errorf("a peer's certificate: %v", err)
	}
	if _, err := LoadAuthority(f.ca, f.key); !secret.HasCode(err, secret.CodeInvalid) {
		t.Errorf("another key: %v", err)
	}
	if _, err := LoadAuthority(f.cert+"x", f.key); !secret.HasCode(err, secret.CodeInvalid) {
		t.Errorf("no file: %v", err)
	}
}

func TestIssueRefuses(t *testing.T) {
	a := authority(t, "east")
	hosts := []string{"localhost"}
	for _, tt := range []struct {
		name, field string
		r           Request
	}{
		{"no use", "use", Request{Name: "p", Hosts: hosts}},
		{"no name", "name", Request{Use: Peer, Hosts: hosts}},
		{"a slash in the name", "name", Request{Use: Peer, Name: "p/q", Hosts: hosts}},
		{"no hosts", "hosts", Request{Use: Server, Name: "p"}},
		{"a bad host", "hosts[1]", Request{Use: Server, Name: "p", Hosts: []string{"a", "b c"}}},
		{"a host with a port", "hosts[0]", Request{Use: Server, Name: "p", Hosts: []string{"a:1"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := a.Issue(tt.r)
			if !secret.HasCode(err, secret.CodeInvalid) || !strings.HasPrefix(err.Error(), tt.field+": ") {
				t.Errorf("error %v, want one about %s", err, tt.field)
			}
		})
	}
	if _, err := NewAuthority(AuthorityOptions{Region: "East!"}); !secret.HasCode(err, secret.CodeInvalid) {
		t.Errorf("an authority for a bad region: %v", err)
	}
}

func TestCertificateEndsWithItsAuthority(t *testing.T) {
	a, err := NewAuthority(AuthorityOptions{Region: "east", Lifetime: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	f := newFiles(t)
	issue(t, a, Request{Use: Peer, Name: strings.Repeat("p", 128)}, f)
	if got := reloader(t, f, ReloaderOptions{}).NotAfter(); !got.Equal(a.cert.NotAfter) {
		t.Errorf("ends %s, its authority %s", got, a.cert.NotAfter)
	}
}

func TestIdentityOf(t *testing.T) {
	for uri, ok := range map[string]bool{
		"spiffe://east/process/east-1":        true,
		"spiffe://east/process/":              false,
		"spiffe://east/process/a/b":           false,
		"spiffe://east/process/a?b":           false,
		"spiffe://east/process/a#b":           false,
		"spiffe://u@east/process/a":           false,
		"spiffe://east:1/process/a":           false,
		"spiffe://EAST/process/a":             false,
		"spiffe:///process/a":                 false,
		"spiffe://east/process/%61":           false,
		"spiffe://east/client/a":              false,
		"https://east/process/a":              false,
		"spiffe://east":                       false,
		"spiffe://east/process/../process/a":  false,
		"spiffe://east/process/01JABCDEFGHJK": true,
	} {
		u, err := url.Parse(uri)
		if err != nil {
			t.Fatal(err)
		}
		id, err := IdentityOf(&x509.Certificate{URIs: []*url.URL{u}})
		if (err == nil) != ok || ok && id.URI().String() != uri {
			t.Errorf("%s: %+v, %v", uri, id, err)
		}
		if _, err := IdentityOf(&x509.Certificate{URIs: []*url.URL{u, u}}); err == nil {
			t.Errorf("%s twice is accepted", uri)
		}
	}
	if _, err := PeerOf(nil); !secret.HasCode(err, secret.CodeUnauthenticated) {
		t.Errorf("no connection: %v", err)
	}
	if _, err := PeerOf(&tls.ConnectionState{}); !secret.HasCode(err, secret.CodeUnauthenticated) {
		t.Errorf("no certificate: %v", err)
	}
}

func TestWriteFileThatFailsLeavesTheOldOne(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := os.MkdirAll(filepath.Join(path, "x"), 0o700); err != nil { // a directory cannot be replaced
		t.Fatal(err)
	}
	if err := WriteFile(path, []byte("new")); !secret.HasCode(err, secret.CodeUnavailable) {
		t.Errorf("error %v", err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("%d entries: a temporary file is left", len(entries))
	}
	if err := WriteFile(filepath.Join(dir, "none", "f"), nil); !secret.HasCode(err, secret.CodeUnavailable) {
		t.Errorf("error %v", err)
	}
}

// TestReloadWhileInUse changes files under many readers: each sees a pair that
// belongs together.
func TestReloadWhileInUse(t *testing.T) {
	a := authority(t, "east")
	f := newFiles(t)
	issue(t, a, Request{Use: Peer, Name: "p0"}, f)
	r := reloader(t, f, ReloaderOptions{Every: 1})
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				cert, err := r.GetCertificate(nil)
				if err != nil || cert.Leaf == nil {
					t.Errorf("certificate %v, %v", cert, err)
					return
				}
			}
		})
	}
	for i := range 20 {
		issue(t, a, Request{Use: Peer, Name: fmt.Sprintf("p%d", i)}, f)
	}
	close(done)
	wg.Wait()
	if err := r.Err(); err != nil {
		t.Error(err)
	}
	id, err := IdentityOf(r.get().cert.Leaf)
	if err != nil || id.Process != "p19" {
		t.Errorf("serves %+v, %v", id, err)
	}
}

func TestNewReloaderRefuses(t *testing.T) {
	f := newFiles(t)
	if _, err := NewReloader(ReloaderOptions{CertFile: f.cert, KeyFile: f.key}); !secret.HasCode(err, secret.CodeInvalid) {
		t.Errorf("no files: %v", err)
	}
	issue(t, authority(t, "east"), Request{Use: Peer, Name: "p"}, f)
	if err := WriteFile(f.ca, []byte("nothing")); err != nil {
		t.Fatal(err)
	}
	if _, err := NewReloader(ReloaderOptions{CertFile: f.cert, KeyFile: f.key, CAFile: f.ca}); !secret.HasCode(err, secret.CodeInvalid) {
		t.Errorf("no authority: %v", err)
	}
	if _, err := ClientTLS(f.ca); !secret.HasCode(err, secret.CodeInvalid) {
		t.Errorf("client without an authority: %v", err)
	}
}
