package localregion

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/pki"
)

// Files of a region.
const (
	caFile    = "ca.pem"
	caKeyFile = "ca-key.pem"
	keyFile   = "kms-keys"
)

func openAuthority(o Options) (*pki.Authority, error) {
	cert, key := filepath.Join(o.Dir, caFile), filepath.Join(o.Dir, caKeyFile)
	authority, err := pki.LoadAuthority(cert, key)
	if !errors.Is(err, fs.ErrNotExist) {
		return authority, err
	}
	if authority, err = pki.NewAuthority(pki.AuthorityOptions{Region: o.Name}); err != nil {
		return nil, err
	}
	return authority, authority.Save(cert, key)
}

// prepare writes what the process needs to start.
func (p *Process) prepare(authority *pki.Authority) error {
	if err := os.MkdirAll(p.dir(), 0o700); err != nil {
		return err
	}
	for use, name := range map[pki.Use]string{pki.Server: "server", pki.Peer: "peer"} {
		cert, key := filepath.Join(p.dir(), name+".pem"), filepath.Join(p.dir(), name+"-key.pem")
		if fresh(cert) && exists(key) {
			continue
		}
		pair, err := authority.Issue(pki.Request{
			Use: use, Name: p.ID, Hosts: []string{"localhost", "127.0.0.1", "::1"}, Lifetime: certificateLifetime,
		})
		if err == nil {
			err = pair.Save(cert, key)
		}
		if err != nil {
			return err
		}
	}
	data, err := yaml.Marshal(p.config())
	if err != nil {
		return err
	}
	return pki.WriteFile(p.ConfigPath(), data)
}

// fresh reports whether a certificate is there and has a month left.
func fresh(path string) bool {
	data, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return false
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	return err == nil && time.Until(cert.NotAfter) > 30*24*time.Hour
}

// config is the process's configuration.
func (p *Process) config() *config.Config {
	c := p.defaultConfig()
	if configure := p.region.options.Configure; configure != nil {
		configure(p.ID, c)
	}
	return c
}

func (p *Process) defaultConfig() *config.Config {
	r, dir := p.region, p.dir()
	c := config.Default()
	c.Region.Name = r.options.Name
	c.Process = config.Process{ID: p.ID, DataDir: dir, Roles: []config.Role{config.Host}}
	c.Listen = config.Listen{
		Address: local(p.ports.Public), AdminAddress: local(p.ports.Admin), PeerAddress: local(p.ports.Peer), Advertise: local(p.ports.Peer),
	}
	peer := config.PeerTLS{CertFile: filepath.Join(dir, "peer.pem"), KeyFile: filepath.Join(dir, "peer-key.pem"), CAFile: r.CAFile()}
	c.TLS.CertFile, c.TLS.KeyFile = filepath.Join(dir, "server.pem"), filepath.Join(dir, "server-key.pem")
	c.TLS.CAFile, c.TLS.Peer = r.CAFile(), peer
	c.KMS.File.Path = filepath.Join(r.options.Dir, keyFile)
	c.AWS.Vault = awsVault
	c.Audit.Paths = []string{filepath.Join(dir, "audit.log")}
	for _, control := range r.controls {
		c.Control.Addresses = append(c.Control.Addresses, local(control.ports.Peer))
	}
	if slices.Contains(r.controls, p) {
		c.Process.Roles = []config.Role{config.Control}
		c.Listen.RegionAddress, c.Listen.RegionAdvertise = local(p.ports.Region), local(p.ports.Region)
		c.Peers = r.peers
	}
	if p != r.store {
		c.Store.Embedded = nil
		c.Store.External = &config.ExternalStore{
			Endpoints: []string{"https://" + local(r.store.ports.StoreClient)},
			CAFile:    peer.CAFile, CertFile: peer.CertFile, KeyFile: peer.KeyFile,
		}
		return c
	}
	c.Process.Roles[0] = config.Store
	if slices.Contains(r.controls, p) {
		c.Process.Roles = append(c.Process.Roles, config.Control)
	}
	e := c.Store.Embedded
	e.Name, e.ClientAddress, e.PeerAddress = p.ID, local(p.ports.StoreClient), local(p.ports.StorePeer)
	e.InitialCluster = map[string]string{p.ID: e.PeerAddress}
	return c
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
