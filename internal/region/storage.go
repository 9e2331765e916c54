package region

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/pki"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/store"
)

// baseShard is the shard that holds accounts and, so far, everything else.
const baseShard = "base/"

var errIncomplete = secret.Errorf(secret.CodeUnavailable, "the local store has no complete copy yet")

// startStore makes the shard's store reachable: at once if it runs elsewhere,
// in the background if a member of it runs in this process, because that member
// may have to wait for the others while this process can already serve reads.
func (p *Process) startStore(ctx context.Context) error {
	if p.config.Store.External != nil {
		client, err := p.dial(ctx)
		if err != nil {
			return err
		}
		p.onClose(client.Close)
		p.openShard(ctx, client)
		return nil
	}
	p.run(ctx, "store", p.runEmbedded)
	return nil
}

func (p *Process) openShard(ctx context.Context, client *clientv3.Client) {
	shard := store.Open(store.Options{
		Client: client, Prefix: p.config.Store.Prefix + baseShard, Logger: p.log.With("part", "store"),
		Maintenance: store.Maintenance{Keep: p.config.Store.CompactionKeep},
	})
	p.store.shard.Store(shard)
	p.onClose(func() error { shard.Close(); return nil })
	if p.isControl() || p.config.Process.Has(config.Store) {
		p.run(ctx, "store maintenance", shard.RunMaintenance)
	}
}

// runEmbedded runs a member of the store until ctx ends or the member fails.
func (p *Process) runEmbedded(ctx context.Context) error {
	e := p.config.Store.Embedded
	options := store.EmbeddedOptions{
		Name: e.Name, Dir: storeDir(p.config), ListenClient: e.ClientAddress, ListenPeer: e.PeerAddress,
		InitialCluster: e.InitialCluster, QuotaBytes: e.QuotaBytes, Logger: p.log.With("part", "etcd"),
		UnsafeNoFsync: p.noFsync,
	}
	if t := p.config.TLS.Peer; t != (config.PeerTLS{}) {
		files := store.TLSFiles{Cert: t.CertFile, Key: t.KeyFile, CA: t.CAFile}
		options.ClientTLS, options.PeerTLS = files, files
	}
	member, err := store.StartEmbedded(ctx, options)
	if err != nil {
		return err
	}
	shard := store.Open(store.Options{
		Client: member.Client(), Prefix: p.config.Store.Prefix + baseShard, Logger: p.log.With("part", "store"),
		Maintenance: store.Maintenance{Keep: p.config.Store.CompactionKeep},
	})
	p.store.shard.Store(shard)
	maintaining, stopMaintenance := context.WithCancel(ctx)
	maintained := make(chan struct{})
	go func() {
		defer close(maintained)
		_ = shard.RunMaintenance(maintaining)
	}()
	select {
	case <-ctx.Done():
		err = ctx.Err()
	case err = <-member.Err():
		err = fmt.Errorf("the embedded member of the store stopped: %w", err)
	case <-member.Done():
		err = errors.New("the embedded member of the store stopped by itself: was it removed from its cluster?")
	}
	p.store.shard.Store(nil)
	stopMaintenance()
	<-maintained
	if closeErr := member.Close(); closeErr != nil {
		p.log.Warn("embedded store did not close cleanly", "error", closeErr)
	}
	shard.Close() // what was under way has failed with the store
	return err
}

func (p *Process) dial(ctx context.Context) (*clientv3.Client, error) {
	e := p.config.Store.External
	options := store.DialOptions{Username: e.Username, Logger: p.log.With("part", "etcd")}
	secure := false
	for _, endpoint := range e.Endpoints {
		u, err := url.Parse(endpoint)
		if err != nil {
			return nil, err
		}
		secure = secure || u.Scheme == "https"
		options.Endpoints = append(options.Endpoints, u.Host)
	}
	if secure {
		var err error
		if options.TLS, err = p.storeTLS(options.Endpoints); err != nil {
			return nil, err
		}
	}
	if e.PasswordFile != "" {
		b, err := os.ReadFile(e.PasswordFile)
		if err != nil {
			return nil, err
		}
		options.Password = secret.NewPlaintext([]byte(strings.TrimRight(string(b), "\r\n")))
	}
	return store.Dial(ctx, options)
}

// storeTLS is for connections to the store. Authorities that are named are read
// again when their file changes, as the certificate is.
func (p *Process) storeTLS(endpoints []string) (*tls.Config, error) {
	e := p.config.Store.External
	if e.CAFile == "" || e.CertFile == "" {
		return pki.ClientTLS(e.CAFile)
	}
	files, err := pki.NewReloader(pki.ReloaderOptions{
		CertFile: e.CertFile, KeyFile: e.KeyFile, CAFile: e.CAFile, OnError: p.unusableFiles, Every: p.certificatesEvery,
	})
	if err != nil {
		return nil, err
	}
	var hosts []string
	for _, endpoint := range endpoints {
		host, _, err := net.SplitHostPort(endpoint)
		if err != nil {
			host = endpoint
		}
		hosts = append(hosts, host)
	}
	return pki.StoreClientTLS(files, hosts), nil
}
