package chaos_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/file"
	"github.com/lifeboat-secrets/lifeboat/internal/localregion"
	"github.com/lifeboat-secrets/lifeboat/internal/pki"
)

// shape says what a cell consists of.
type shape struct {
	// controls are the processes with the roles store and control, hosts those
	// with the role host.
	controls, hosts int
	// configure changes the configuration of a process before it is written.
	configure func(p *process, c *config.Config)
	// environment of the hosts.
	environment []string
}

// ports of a process, as host:port.
type ports struct{ public, admin, peer, storeClient, storePeer string }

// plan prepares the processes of a cell without starting them.
func plan(t *testing.T, s shape) *cell {
	t.Helper()
	c := &cell{t: t, dir: t.TempDir()}
	authority, err := pki.NewAuthority(pki.AuthorityOptions{Region: "east"})
	must(t, err)
	c.ca = filepath.Join(c.dir, "ca.pem")
	must(t, pki.WriteFile(c.ca, authority.CertPEM()))
	_, err = file.Create(filepath.Join(c.dir, "kms-keys"))
	must(t, err)
	for i := range s.controls + s.hosts {
		p := &process{cell: c, id: fmt.Sprint("control-", i+1)}
		if i >= s.controls {
			p.id, p.environment = fmt.Sprint("host-", i-s.controls+1), s.environment
			c.hosts = append(c.hosts, p)
		} else {
			c.controls = append(c.controls, p)
		}
		for _, port := range []*string{&p.ports.public, &p.ports.admin, &p.ports.peer, &p.ports.storeClient, &p.ports.storePeer} {
			*port, err = localregion.FreeAddress()
			must(t, err)
		}
		p.issue(authority)
	}
	for _, p := range c.processes() {
		configuration := p.config()
		if s.configure != nil {
			s.configure(p, configuration)
		}
		data, err := yaml.Marshal(configuration)
		must(t, err)
		must(t, os.WriteFile(p.file("config.yaml"), data, 0o600))
	}
	return c
}

// issue makes the data directory of the process and its certificates.
func (p *process) issue(authority *pki.Authority) {
	t := p.cell.t
	t.Helper()
	must(t, os.MkdirAll(p.file(""), 0o700))
	for use, name := range map[pki.Use]string{pki.Server: "server", pki.Peer: "peer"} {
		pair, err := authority.Issue(pki.Request{Use: use, Name: p.id, Hosts: []string{"localhost", "127.0.0.1"}})
		must(t, err)
		must(t, pair.Save(p.file(name+".pem"), p.file(name+"-key.pem")))
	}
}

// config is the configuration of the process.
func (p *process) config() *config.Config {
	c := config.Default()
	c.Region.Name = "east"
	c.Process = config.Process{ID: p.id, DataDir: p.file(""), Roles: []config.Role{config.Host}}
	c.Listen = config.Listen{Address: p.ports.public, AdminAddress: p.ports.admin, PeerAddress: p.ports.peer, Advertise: p.ports.peer}
	peer := config.PeerTLS{CertFile: p.file("peer.pem"), KeyFile: p.file("peer-key.pem"), CAFile: p.cell.ca}
	c.TLS = config.TLS{CertFile: p.file("server.pem"), KeyFile: p.file("server-key.pem"), CAFile: p.cell.ca, Peer: peer}
	c.KMS.File.Path = filepath.Join(p.cell.dir, "kms-keys")
	c.Audit.Paths = []string{p.file("audit.log")}
	members := map[string]string{}
	var endpoints []string
	for _, control := range p.cell.controls {
		c.Control.Addresses = append(c.Control.Addresses, control.ports.peer)
		members[control.id] = control.ports.storePeer
		endpoints = append(endpoints, "https://"+control.ports.storeClient)
	}
	if members[p.id] == "" {
		c.Store.Embedded = nil
		c.Store.External = &config.ExternalStore{
			Endpoints: endpoints, CAFile: peer.CAFile, CertFile: peer.CertFile, KeyFile: peer.KeyFile,
		}
		return c
	}
	c.Process.Roles = []config.Role{config.Store, config.Control}
	e := c.Store.Embedded
	e.Name, e.ClientAddress, e.PeerAddress, e.InitialCluster = p.id, p.ports.storeClient, p.ports.storePeer, members
	return c
}
