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
	shard, closeShard, err := r.OpenShard()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := closeShard(); err != nil {
			t.Error(err)
		}
	})
	return shard
}

// OpenShard is Shard for programs. Call what it returns to close it.
func (r *Region) OpenShard() (*store.Shard, func() error, error) {
	tlsConfig, err := pki.ClientTLS(r.caFile())
	if err != nil {
		return nil, nil, err
	}
	pair, err := pki.NewReloader(pki.ReloaderOptions{
		CertFile: filepath.Join(r.control.Dir(), "peer.pem"), KeyFile: filepath.Join(r.control.Dir(), "peer-key.pem"),
	})
	if err != nil {
		return nil, nil, err
	}
	tlsConfig.GetClientCertificate = pair.GetClientCertificate
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{"https://" + r.control.ports.store}, TLS: tlsConfig})
	if err != nil {
		return nil, nil, err
	}
	return store.Open(store.Options{Client: client, Prefix: "/lifeboat/base/"}), client.Close, nil
}
