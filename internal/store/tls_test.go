package store_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.uber.org/zap"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/store"
)

// authority issues certificates for the loopback address.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert: cert, key: key, file: writePEM(t, "CERTIFICATE", der)}
}

// issue returns a certificate for the loopback address.
func (a *authority) issue(t testing.TB, name string) store.TLSFiles {
	t.Helper()
	return a.issueFor(t, name, net.IPv4(127, 0, 0, 1))
}

func (a *authority) issueFor(t testing.TB, name string, addresses ...net.IP) store.TLSFiles {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: addresses,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return store.TLSFiles{Cert: writePEM(t, "CERTIFICATE", der), Key: writePEM(t, "PRIVATE KEY", keyDER), CA: a.file}
}

// client returns the TLS configuration of a client that trusts the authority
// and presents files, if any.
func (a *authority) client(t testing.TB, files *store.TLSFiles) *tls.Config {
	t.Helper()
	cfg := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	cfg.RootCAs.AddCert(a.cert)
	if files == nil {
		return cfg
	}
	cert, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Certificates = []tls.Certificate{cert}
	return cfg
}

func writePEM(t testing.TB, kind string, der []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// enableAuth makes root and a user who may use the shard's prefix only.
func enableAuth(t *testing.T, admin *clientv3.Client, user, password string) {
	t.Helper()
	ctx := context.Background()
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(admin.UserAdd(ctx, "root", "root password"))
	must(admin.RoleAdd(ctx, "root"))
	must(admin.UserGrantRole(ctx, "root", "root"))
	must(admin.RoleAdd(ctx, "shard"))
	must(admin.RoleGrantPermission(ctx, "shard", prefix, clientv3.GetPrefixRangeEnd(prefix), clientv3.PermissionType(clientv3.PermReadWrite)))
	must(admin.UserAdd(ctx, user, password))
	must(admin.UserGrantRole(ctx, user, "shard"))
	must(admin.AuthEnable(ctx))
}

// startExternal runs an etcd that this project did not configure.
func startExternal(t *testing.T, dir, address string, files store.TLSFiles) *embed.Etcd {
	t.Helper()
	cfg := embed.NewConfig()
	cfg.Name, cfg.Dir, cfg.UnsafeNoFsync = "external", dir, true
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	cfg.BcryptCost = 4 // the least; under -race the default takes a second
	u := url.URL{Scheme: "https", Host: address}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{u}, []url.URL{u}
	cfg.ClientTLSInfo = transport.TLSInfo{CertFile: files.Cert, KeyFile: files.Key, TrustedCAFile: files.CA, ClientCertAuth: true}
	cfg.ListenPeerUrls = nil
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		t.Fatal(err)
	}
	<-e.Server.ReadyNotify()
	return e
}

func TestExternalWithTLSAndPassword(t *testing.T) {
	t.Parallel()
	authority := newAuthority(t)
	dir, address, serverFiles := t.TempDir(), freeAddress(t), authority.issue(t, "server")
	server := startExternal(t, dir, address, serverFiles)
	admin := v3client.New(server.Server)
	enableAuth(t, admin, "lifeboat", "pass word")
	admin.Close()
	files := authority.issue(t, "client")
	options := store.DialOptions{
		Endpoints: []string{address}, TLS: authority.client(t, &files),
		Username: "lifeboat", Password: secret.NewPlaintext([]byte("pass word")),
	}
	client := dial(t, options)
	s := open(t, client)
	revision := mustCommit(t, s, put("a", "1", 0))
	follow(t, s, 0).reach(t, revision)

	wrongPassword := options
	wrongPassword.Password = secret.NewPlaintext([]byte("wrong"))
	_, err := open(t, dial(t, wrongPassword)).Commit(context.Background(), put("b", "1", 0))
	wantCode(t, err, secret.CodeUnavailable)

	noCertificate := options
	noCertificate.TLS = authority.client(t, nil)
	hasty := store.Open(store.Options{Client: dial(t, noCertificate), Prefix: prefix, Timeout: 5 * heartbeat})
	_, _, err = hasty.View(context.Background()).Get("a")
	wantCode(t, err, secret.CodeUnavailable)

	_, err = store.Open(store.Options{Client: client, Prefix: "other/"}).Commit(context.Background(), put("a", "1", 0))
	wantCode(t, err, secret.CodeUnavailable)

	// A restart forgets every session; the client logs in again by itself.
	server.Close()
	server = startExternal(t, dir, address, serverFiles)
	defer server.Close()
	mustGet(t, s, "a")
	revision = mustCommit(t, s, put("b", "1", 0))
	follow(t, s, revision-1).reach(t, revision)
}

// A store whose authentication is enabled later is logged in to from then on.
func TestAuthenticationEnabledLater(t *testing.T) {
	t.Parallel()
	authority := newAuthority(t)
	address := freeAddress(t)
	server := startExternal(t, t.TempDir(), address, authority.issue(t, "server"))
	defer server.Close()
	files := authority.issue(t, "client")
	s := open(t, dial(t, store.DialOptions{
		Endpoints: []string{address}, TLS: authority.client(t, &files),
		Username: "lifeboat", Password: secret.NewPlaintext([]byte("pass word")),
	}))
	revision := mustCommit(t, s, put("a", "1", 0))
	admin := v3client.New(server.Server)
	enableAuth(t, admin, "lifeboat", "pass word")
	admin.Close()
	_, err := s.Commit(context.Background(), put("a", "2", revision))
	wantCode(t, err, secret.CodeUnavailable)
	mustCommit(t, s, put("a", "2", revision))
}

// Only a certificate for a member's host opens the members' port, not any of the
// same authority.
func TestPeerPortIsForMembers(t *testing.T) {
	t.Parallel()
	authority := newAuthority(t)
	address := freeAddress(t)
	start(t, store.EmbeddedOptions{ListenPeer: address, PeerTLS: authority.issue(t, "member")})
	ask := func(files *store.TLSFiles) error {
		transport := &http.Transport{TLSClientConfig: authority.client(t, files), DisableKeepAlives: true}
		resp, err := (&http.Client{Transport: transport}).Get("https://" + address + "/members")
		if err != nil {
			return err
		}
		return resp.Body.Close()
	}
	member, client := authority.issue(t, "another member"), authority.issueFor(t, "a client")
	if err := ask(&member); err != nil {
		t.Errorf("a member is refused: %v", err)
	}
	if err := ask(&client); err == nil {
		t.Error("a client's certificate is accepted")
	}
	if err := ask(nil); err == nil {
		t.Error("no certificate is accepted")
	}
}
