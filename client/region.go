package client

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"

	"go.yaml.in/yaml/v4"

	"github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1/lifeboatv1connect"
)

// Region is one of the regions that a client may use.
type Region struct {
	// Name as the region knows itself. It is needed if there are several: a refusal
	// names the region in which to write.
	Name string `yaml:"name"`
	// Addresses are URLs of hosts of the region, or of a load balancer in front of
	// them, as Config.Address. The first that answers is used.
	Addresses []string `yaml:"addresses"`
	// CAFile is as in Config, for this region; empty means that of Config.
	CAFile string `yaml:"ca_file"`
}

// ReadRegions reads a regions file, as "lifeboat dev --write-env" writes one: YAML
// with the list regions, in order of preference, each with name, addresses and
// ca_file. A ca_file that is not absolute is beside the file.
func ReadRegions(path string) ([]Region, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("client: read the regions: %w", err)
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data), yaml.WithKnownFields(), yaml.WithUniqueKeys())
	if err != nil {
		return nil, err
	}
	var file struct {
		Regions []Region `yaml:"regions"`
	}
	if err := loader.Load(&file); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("client: %s: %w", path, err)
	}
	if len(file.Regions) == 0 {
		return nil, fmt.Errorf("client: %s names no regions", path)
	}
	for i := range file.Regions {
		if ca := &file.Regions[i].CAFile; *ca != "" && !filepath.IsAbs(*ca) {
			*ca = filepath.Join(filepath.Dir(path), *ca)
		}
	}
	return file.Regions, nil
}

// regions returns those of the configuration, the only one for Address.
func (c *Config) regions() ([]Region, error) {
	switch {
	case len(c.Regions) == 0:
		return []Region{{Addresses: []string{c.Address}}}, nil
	case c.Address != "":
		return nil, errors.New("client: give Address or Regions, not both")
	case len(c.Regions) > maxRegions:
		return nil, fmt.Errorf("client: there are %d regions; the limit is %d", len(c.Regions), maxRegions)
	}
	for i, r := range c.Regions {
		if r.Name == "" && len(c.Regions) > 1 {
			return nil, errors.New("client: each of several regions needs its name")
		}
		if slices.ContainsFunc(c.Regions[:i], func(other Region) bool { return other.Name == r.Name }) {
			return nil, fmt.Errorf("client: region %s is given twice", r.Name)
		}
		if n := len(r.Addresses); n == 0 || n > maxAddresses {
			return nil, fmt.Errorf("client: region %s has %d addresses; allowed are 1 to %d", r.Name, n, maxAddresses)
		}
	}
	return c.Regions, nil
}

const (
	maxRegions   = 16
	maxAddresses = 16
)

// region is one that the client may use.
type region struct {
	name      string
	endpoints []*endpoint
	http      *http.Client
}

// endpoint is an address of a region with the services that it offers.
type endpoint struct {
	lifeboatv1connect.SecretServiceClient
	lifeboatv1connect.VaultServiceClient
	lifeboatv1connect.AccountServiceClient
	lifeboatv1connect.OperatorServiceClient
	lifeboatv1connect.KeyServiceClient
	lifeboatv1connect.ReplicationServiceClient
	lifeboatv1connect.IdentityServiceClient
	lifeboatv1connect.OwnershipServiceClient

	region  *region
	base    string
	breaker *breaker
}

func newRegion(c Config, r Region) (*region, error) {
	made := &region{name: r.Name, http: c.HTTPClient}
	if r.CAFile != "" {
		c.CAFile = r.CAFile
	}
	if c.HTTPClient != nil && (c.CAFile != "" || c.TLS != nil) {
		return nil, errors.New("client: CAFile and TLS cannot be used together with HTTPClient")
	}
	for _, address := range r.Addresses {
		u, err := checkAddress(address)
		if err != nil {
			return nil, err
		}
		if made.http == nil {
			if made.http, err = newHTTPClient(c); err != nil {
				return nil, err
			}
		}
		made.endpoints = append(made.endpoints, newEndpoint(made, u.Scheme+"://"+u.Host))
	}
	return made, nil
}

func newEndpoint(r *region, base string) *endpoint {
	return &endpoint{
		SecretServiceClient:      lifeboatv1connect.NewSecretServiceClient(r.http, base),
		VaultServiceClient:       lifeboatv1connect.NewVaultServiceClient(r.http, base),
		AccountServiceClient:     lifeboatv1connect.NewAccountServiceClient(r.http, base),
		OperatorServiceClient:    lifeboatv1connect.NewOperatorServiceClient(r.http, base),
		KeyServiceClient:         lifeboatv1connect.NewKeyServiceClient(r.http, base),
		ReplicationServiceClient: lifeboatv1connect.NewReplicationServiceClient(r.http, base),
		IdentityServiceClient:    lifeboatv1connect.NewIdentityServiceClient(r.http, base),
		OwnershipServiceClient:   lifeboatv1connect.NewOwnershipServiceClient(r.http, base),
		region:                   r, base: base, breaker: newBreaker(),
	}
}

// available are the endpoints that are not known to be dead or slow.
func (r *region) available() []*endpoint {
	return slices.DeleteFunc(slices.Clone(r.endpoints), func(e *endpoint) bool { return e.breaker.open() })
}
