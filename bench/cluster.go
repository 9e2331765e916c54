package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/file"
	"github.com/lifeboat-secrets/lifeboat/internal/localregion"
	"github.com/lifeboat-secrets/lifeboat/internal/pki"
	"github.com/lifeboat-secrets/lifeboat/internal/region"
)

// hosts is the number of data-plane hosts of a region.
const hosts = 3

// cluster is a region under test: a control process that also runs the store,
// and data-plane hosts, each a process of its own.
type cluster struct {
	dir       string
	authority *pki.Authority
	// The control process's addresses are fixed, so that it can be restarted.
	client, peer, members, door string

	control *child
	hosts   []*child
	// hostDoors are the addresses of the hosts' front doors.
	hostDoors []string
	api       *api
	// token is that of a workload that the fixture's policies permit to read and
	// write; admin that of the account's administrator.
	admin, token string
	// configure, if set, changes each process's configuration.
	configure func(*config.Config) error
}

func listen() (net.Listener, error) {
	var lc net.ListenConfig
	return lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
}

// freePorts returns addresses that nobody uses, nor will before a process listens there.
func freePorts(into ...*string) (err error) {
	for _, address := range into {
		if *address, err = localregion.FreeAddress(); err != nil {
			return err
		}
	}
	return nil
}

// newCluster makes an empty region and starts its processes.
func newCluster(ctx context.Context, dir string, k kind, configure func(*config.Config) error) (*cluster, error) {
	c := &cluster{dir: dir, hostDoors: make([]string, hosts), configure: configure}
	if err := freePorts(&c.client, &c.peer, &c.members, &c.door, &c.hostDoors[0], &c.hostDoors[1], &c.hostDoors[2]); err != nil {
		return nil, err
	}
	if err := c.writeFiles(); err != nil {
		return nil, err
	}
	if err := c.startControl(ctx, k); err != nil {
		return nil, err
	}
	err := c.initialize(ctx)
	if err == nil && k == spread {
		err = c.startHosts(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, c.stop())
	}
	return c, nil
}

func (c *cluster) path(name string) string { return filepath.Join(c.dir, name) }

func (c *cluster) writeFiles() error {
	var err error
	if err = os.MkdirAll(c.dir, 0o700); err != nil {
		return err
	}
	if c.authority, err = pki.NewAuthority(pki.AuthorityOptions{Region: "bench"}); err != nil {
		return err
	}
	if err = pki.WriteFile(c.path("ca.pem"), c.authority.CertPEM()); err != nil {
		return err
	}
	requests := []pki.Request{{Use: pki.Server, Name: "server", Hosts: []string{"127.0.0.1"}}}
	for _, id := range []string{"control", "host-0", "host-1", "host-2"} {
		requests = append(requests, pki.Request{Use: pki.Peer, Name: id, Hosts: []string{"127.0.0.1"}})
	}
	for _, r := range requests {
		pair, err := c.authority.Issue(r)
		if err != nil {
			return err
		}
		if err := pair.Save(c.path(r.Name+".pem"), c.path(r.Name+"-key.pem")); err != nil {
			return err
		}
	}
	_, err = file.Create(c.path("kms-keys"))
	return err
}

// config returns what all processes of the region have in common.
func (c *cluster) config(id string, roles ...config.Role) *config.Config {
	conf := config.Default()
	conf.Region.Name, conf.Process.ID, conf.Process.DataDir, conf.Process.Roles = "bench", id, c.path(id), roles
	conf.Listen.AdminAddress = ""
	conf.TLS = config.TLS{
		CertFile: c.path("server.pem"), KeyFile: c.path("server-key.pem"), CAFile: c.path("ca.pem"),
		Peer: config.PeerTLS{CertFile: c.path(id + ".pem"), KeyFile: c.path(id + "-key.pem"), CAFile: c.path("ca.pem")},
	}
	conf.KMS.File.Path = c.path("kms-keys")
	conf.AWS.Vault = vaultName
	conf.Control.Addresses = []string{c.peer}
	conf.Log.Level = "error"
	return conf
}

// startControl starts the control process, which is a region of itself if alone.
func (c *cluster) startControl(ctx context.Context, k kind) error {
	roles := []config.Role{config.Store, config.Control}
	if k == alone {
		roles = append(roles, config.Host)
	}
	conf := c.config("control", roles...)
	conf.Listen.Address, conf.Listen.PeerAddress, conf.Listen.Advertise = c.door, c.peer, c.peer
	conf.Store.Embedded.ClientAddress, conf.Store.Embedded.PeerAddress = c.client, c.members
	var err error
	if c.control, err = c.start(ctx, conf); err != nil {
		return err
	}
	c.api, err = newAPI(c.path("ca.pem"), c.door)
	return err
}

// startHost starts data-plane host i.
func (c *cluster) startHost(ctx context.Context, i int) (*child, error) {
	conf := c.config(fmt.Sprintf("host-%d", i), config.Host)
	conf.Listen.Address = c.hostDoors[i]
	var peer string
	if err := freePorts(&peer); err != nil {
		return nil, err
	}
	conf.Listen.PeerAddress, conf.Listen.Advertise = peer, peer
	conf.Store.Embedded = nil
	conf.Store.External = &config.ExternalStore{
		Endpoints: []string{"https://" + c.client}, CAFile: c.path("ca.pem"), CertFile: conf.TLS.Peer.CertFile, KeyFile: conf.TLS.Peer.KeyFile,
	}
	return c.start(ctx, conf)
}

func (c *cluster) startHosts(ctx context.Context) error {
	for i := range hosts {
		h, err := c.startHost(ctx, i)
		if err != nil {
			return err
		}
		c.hosts = append(c.hosts, h)
	}
	return nil
}

func (c *cluster) start(ctx context.Context, conf *config.Config) (*child, error) {
	if c.configure != nil {
		if err := c.configure(conf); err != nil {
			return nil, err
		}
	}
	b, err := yaml.Marshal(conf)
	if err != nil {
		return nil, err
	}
	path := c.path(conf.Process.ID + ".yaml")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		return nil, err
	}
	started, err := spawn(ctx, "server", path, conf.Listen.Address)
	if err == nil {
		started.admin = conf.Listen.AdminAddress
	}
	return started, err
}

// initialize makes the region through the control process's socket.
func (c *cluster) initialize(ctx context.Context) error {
	socket := filepath.Join(c.path("control"), region.SocketName)
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}}
	defer client.CloseIdleConnections()
	return until(ctx, func() error {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://control/v1/initialize", nil)
		if err != nil {
			return err
		}
		answer, err := client.Do(r)
		if err != nil {
			return err
		}
		defer func() { _ = answer.Body.Close() }()
		var made struct{ Token, Message string }
		if err := json.NewDecoder(answer.Body).Decode(&made); err != nil {
			return err
		}
		if made.Token == "" {
			return errors.New(made.Message)
		}
		c.admin = made.Token
		return nil
	})
}

func (c *cluster) stopHosts() error {
	var errs []error
	for _, h := range c.hosts {
		errs = append(errs, h.stop())
	}
	c.hosts = nil
	return errors.Join(errs...)
}

func (c *cluster) stop() error {
	err := c.stopHosts()
	if c.control != nil {
		err = errors.Join(err, c.control.stop())
		c.control = nil
	}
	return err
}

const (
	// patience bounds the wait for a process to come up.
	patience = 10 * time.Minute
	pollEach = 2 * time.Millisecond
)

// until repeats try until it succeeds.
func until(ctx context.Context, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(pollEach):
		}
	}
}
