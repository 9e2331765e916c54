package behaviour_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1/lifeboatv1connect"
	"github.com/lifeboat-secrets/lifeboat/internal/pki"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

// rotation is a region whose authority is replaced.
type rotation struct {
	*testing.T
	region   *lifeboattest.Region
	old      []byte
	fresh    *pki.Authority
	trust    *x509.CertPool
	requests sync.WaitGroup
	stop     context.CancelFunc
}

// caller makes a new connection for each call, so that each shows what is
// accepted now.
func (r *rotation) caller(p *lifeboattest.Process, trust *x509.CertPool) lifeboatv1connect.SecretServiceClient {
	h := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: trust, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true, DisableKeepAlives: true,
	}}
	token := r.region.Account().Token
	return lifeboatv1connect.NewSecretServiceClient(h, p.URL(), connect.WithInterceptors(connect.UnaryInterceptorFunc(
		func(next connect.UnaryFunc) connect.UnaryFunc {
			return func(ctx context.Context, q connect.AnyRequest) (connect.AnyResponse, error) {
				q.Header().Set("Authorization", "Bearer "+token)
				return next(ctx, q)
			}
		})))
}

// load reads through every host until the rotation is over; none may fail.
func (r *rotation) load() {
	ctx, cancel := context.WithCancel(r.Context())
	r.stop = cancel
	for i := range 2 {
		c := r.caller(r.region.Host(i), r.trust)
		r.requests.Go(func() {
			for ctx.Err() == nil {
				if _, err := c.GetSecretValue(ctx, ask(reads(r.region.Account().Vault, "a"))); err != nil && ctx.Err() == nil {
					r.Errorf("a read through host %d fails: %v", i, err)
				}
			}
		})
	}
}

// writes waits until a mutation through each host works and is on every host.
func (r *rotation) writes(name string) {
	r.Helper()
	for i := range 2 {
		c := r.caller(r.region.Host(i), r.trust)
		eventually(r, "a write through a host is cleared", func() bool {
			answer, err := c.PutSecretVersion(r.Context(), ask(&lifeboatv1.PutSecretVersionRequest{
				Vault: r.region.Account().Vault, Secret: "a", Value: []byte(name), Wait: lifeboatv1.Wait_WAIT_CLEARED,
			}))
			return err == nil && answer.Msg.GetCleared()
		})
	}
}

// restartStore is for the processes with the role store, of which this region has
// one.
func (r *rotation) restartStore() {
	r.Helper()
	p := r.region.Control()
	must(r, p.Stop())
	must(r, p.Start(r.Context()))
	eventually(r, "the process is ready", func() bool {
		status, _ := ready(r, r.region, p)
		return status == http.StatusOK
	})
}

// The steps of docs/runbooks/ca-rotation.md, on a region of several processes
// under load.
func TestTheAuthorityOfARegionIsReplaced(t *testing.T) {
	t.Parallel()
	region := lifeboattest.Start(t, lifeboattest.Options{Hosts: 2, CertificatesEvery: 10 * time.Millisecond})
	create(t, region.Account().Client(region.Control()), region.Account().Vault, "a", "v")
	fresh, err := pki.NewAuthority(pki.AuthorityOptions{Region: secret.RegionName("east")})
	must(t, err)
	r := &rotation{T: t, region: region, fresh: fresh, trust: x509.NewCertPool()}
	r.old = readFile(t, region.CAFile())
	r.trust.AppendCertsFromPEM(append(r.old, fresh.CertPEM()...))
	r.load()
	defer r.requests.Wait()
	defer func() { r.stop() }()

	// 1. Everybody trusts both.
	must(t, pki.WriteFile(region.CAFile(), append(r.old, fresh.CertPEM()...)))
	r.restartStore()
	r.writes("both are trusted")

	// 2. Certificates of the new one, for one process after the other; no restart.
	onlyNew := x509.NewCertPool()
	onlyNew.AppendCertsFromPEM(fresh.CertPEM())
	for _, p := range region.Processes() {
		for name, use := range map[string]pki.Use{"server": pki.Server, "peer": pki.Peer} {
			pair, err := fresh.Issue(pki.Request{Use: use, Name: p.ID, Hosts: []string{"localhost", "127.0.0.1"}})
			must(t, err)
			must(t, pair.Save(filepath.Join(p.Dir(), name+".pem"), filepath.Join(p.Dir(), name+"-key.pem")))
		}
		c := r.caller(p, onlyNew)
		eventually(t, p.ID+" shows its new certificate", func() bool {
			_, err := c.GetSecretValue(t.Context(), ask(reads(region.Account().Vault, "a")))
			return err == nil
		})
		r.writes("new certificate of " + p.ID)
	}

	// 3. The old one is dropped.
	must(t, pki.WriteFile(region.CAFile(), fresh.CertPEM()))
	r.restartStore()
	r.writes("the old one is dropped")
	for _, p := range region.Processes() {
		eventually(t, "health of "+p.ID+" is good", func() bool {
			status, body := ready(t, region, p)
			return status == http.StatusOK && !strings.Contains(body, `"healthy":false`)
		})
	}
	// Who still shows a certificate of the old authority is no peer any more.
	onlyOld := x509.NewCertPool()
	onlyOld.AppendCertsFromPEM(r.old)
	if _, err := r.caller(region.Host(0), onlyOld).GetSecretValue(t.Context(), ask(reads(region.Account().Vault, "a"))); err == nil {
		t.Error("the old authority still vouches for a host")
	}
	r.stop()
	r.requests.Wait()
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	return data
}
