package lifeboattest

import (
	"path/filepath"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/lifeboat-secrets/lifeboat/internal/pki"
	"github.com/lifeboat-secrets/lifeboat/internal/store"
)

// Shard opens the region's store beside its processes, to look at records and to
// damage them. It ends with the test. The type is internal: this is for the module's
// own tests.
func (r *Region) Shard(t testing.TB) *store.Shard {
	t.Helper()
	tlsConfig, err := pki.ClientTLS(r.caFile())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := pki.NewReloader(pki.ReloaderOptions{
		CertFile: filepath.Join(r.control.Dir(), "peer.pem"), KeyFile: filepath.Join(r.control.Dir(), "peer-key.pem"),
	})
	if err != nil {
		t.Fatal(err)
	}
	tlsConfig.GetClientCertificate = pair.GetClientCertificate
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{"https://" + r.control.ports.store}, TLS: tlsConfig})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return store.Open(store.Options{Client: client, Prefix: "/lifeboat/base/"})
}
