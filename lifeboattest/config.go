package lifeboattest

import (
	"os"
	"path/filepath"

	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/faultproxy"
	"github.com/lifeboat-secrets/lifeboat/internal/pki"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func (r *Region) newProcess(id string) (*Process, error) {
	ports, err := newPorts()
	return &Process{ID: id, region: r, ports: ports}, err
}

// newHost plans a host whose links to control-1 can be broken.
func (r *Region) newHost(id string) (*Process, error) {
	p, err := r.newProcess(id)
	if err != nil {
		return nil, err
	}
	if p.store, err = faultproxy.Start(faultproxy.Options{Target: r.control.ports.store}); err != nil {
		return nil, err
	}
	p.control, err = faultproxy.Start(faultproxy.Options{Target: r.control.ports.peer})
	return p, err
}

func (p *Process) path(name string) string { return filepath.Join(p.Dir(), name) }

// prepare makes the data directory and the certificates if they are missing.
func (p *Process) prepare() error {
	if _, err := os.Stat(p.path("peer.pem")); err == nil {
		return nil
	}
	if err := os.MkdirAll(p.Dir(), 0o700); err != nil {
		return err
	}
	for name, use := range map[string]pki.Use{"server": pki.Server, "peer": pki.Peer} {
		pair, err := p.region.ca.Issue(pki.Request{Use: use, Name: p.ID, Hosts: []string{"localhost", "127.0.0.1"}})
		if err != nil {
			return err
		}
		if err := pair.Save(p.path(name+".pem"), p.path(name+"-key.pem")); err != nil {
			return err
		}
	}
	return nil
}

// forget removes what the process keeps of the region, but for certificates and
// logs.
func (p *Process) forget() error {
	entries, err := os.ReadDir(p.Dir())
	if err != nil {
		return err
	}
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); ext == ".pem" || ext == ".log" || e.Name() == filepath.Base(p.LogFile()) {
			continue
		}
		if err := os.RemoveAll(p.path(e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func (p *Process) config() *config.Config {
	r := p.region
	c := config.Default()
	c.Region.Name = secret.RegionName(r.options.Name)
	c.Process = config.Process{ID: p.ID, DataDir: p.Dir(), Roles: p.roles()}
	c.Listen = config.Listen{Address: p.ports.public, AdminAddress: p.ports.admin, Advertise: p.ports.public}
	peer := config.PeerTLS{CertFile: p.path("peer.pem"), KeyFile: p.path("peer-key.pem"), CAFile: r.caFile()}
	c.TLS.CertFile, c.TLS.KeyFile, c.TLS.CAFile, c.TLS.Peer = p.path("server.pem"), p.path("server-key.pem"), r.caFile(), peer
	c.KMS.File.Path = r.KeyFile()
	c.Audit.Paths = []string{p.AuditFile()}
	if p == r.control {
		c.Listen.PeerAddress, c.Listen.Advertise = p.ports.peer, p.ports.peer
		c.Control.Addresses = []string{p.ports.peer}
		c.Listen.RegionAddress, c.Listen.RegionAdvertise, c.Peers = p.ports.region, p.ports.region, r.peers
		e := c.Store.Embedded
		e.Name, e.ClientAddress, e.PeerAddress, e.QuotaBytes = p.ID, p.ports.store, "", 256<<20
	} else {
		c.Control.Addresses = []string{p.control.Address()}
		c.Store.Embedded = nil
		c.Store.External = &config.ExternalStore{
			Endpoints: []string{"https://" + p.store.Address()},
			CAFile:    peer.CAFile, CertFile: peer.CertFile, KeyFile: peer.KeyFile,
		}
	}
	if r.options.Configure != nil {
		r.options.Configure(p.ID, c)
	}
	return c
}

func (p *Process) roles() []config.Role {
	switch {
	case p != p.region.control:
		return []config.Role{config.Host}
	case p.region.options.Hosts == 0:
		return []config.Role{config.Store, config.Control, config.Host}
	}
	return []config.Role{config.Store, config.Control}
}
