package config

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"go.yaml.in/yaml/v4"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Reference is the commented configuration with every field and its default.
//
//go:embed reference.yaml
var Reference string

// environment lists the variables that override the file.
func environment(c *Config) map[string]func(string) {
	return map[string]func(string){
		"LIFEBOAT_REGION_NAME":             func(v string) { c.Region.Name = secret.RegionName(v) },
		"LIFEBOAT_PROCESS_ID":              func(v string) { c.Process.ID = v },
		"LIFEBOAT_DATA_DIR":                func(v string) { c.Process.DataDir = v },
		"LIFEBOAT_LISTEN_ADDRESS":          func(v string) { c.Listen.Address = v },
		"LIFEBOAT_LISTEN_ADMIN_ADDRESS":    func(v string) { c.Listen.AdminAddress = v },
		"LIFEBOAT_LISTEN_PEER_ADDRESS":     func(v string) { c.Listen.PeerAddress = v },
		"LIFEBOAT_LISTEN_ADVERTISE":        func(v string) { c.Listen.Advertise = v },
		"LIFEBOAT_LISTEN_REGION_ADDRESS":   func(v string) { c.Listen.RegionAddress = v },
		"LIFEBOAT_LISTEN_REGION_ADVERTISE": func(v string) { c.Listen.RegionAdvertise = v },
		"LIFEBOAT_LOG_LEVEL":               func(v string) { c.Log.Level = v },
		"LIFEBOAT_LOG_FORMAT":              func(v string) { c.Log.Format = v },
	}
}

// Load reads a file, applies the environment (os.LookupEnv, or a substitute),
// makes paths absolute and validates. An error names the file, and the line or
// the keys that are wrong.
func Load(path string, lookupEnv func(string) (string, bool)) (*Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	c, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for name, set := range environment(c) {
		if v, ok := lookupEnv(name); ok {
			set(v)
		}
	}
	if err := c.resolve(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// Parse decodes one YAML document over the defaults. Unknown and repeated keys
// are errors that name the line. It does not validate.
func Parse(data []byte) (*Config, error) {
	c := Default()
	c.Store.Embedded = nil // only a default if the file names no other store
	loader, err := yaml.NewLoader(bytes.NewReader(data), yaml.WithKnownFields(), yaml.WithUniqueKeys())
	if err != nil {
		return nil, err
	}
	switch err := loader.Load(c); {
	case errors.Is(err, io.EOF): // nothing but comments: the environment may say enough
	case err != nil:
		return nil, err
	default:
		if err := loader.Load(new(yaml.Node)); !errors.Is(err, io.EOF) {
			return nil, secret.Errorf(secret.CodeInvalid, "there is more than one YAML document")
		}
	}
	if c.Store.Embedded == nil && c.Store.External == nil {
		c.Store.Embedded = defaultEmbedded()
	}
	return c, nil
}

// UnmarshalYAML decodes over the defaults.
func (e *EmbeddedStore) UnmarshalYAML(node *yaml.Node) error {
	type plain EmbeddedStore
	p := plain(*defaultEmbedded())
	if err := node.Load(&p, yaml.WithKnownFields(), yaml.WithUniqueKeys()); err != nil {
		return err
	}
	*e = EmbeddedStore(p)
	return nil
}

// Has reports whether the process plays a role.
func (p *Process) Has(r Role) bool { return slices.Contains(p.Roles, r) }

// resolve fills what follows from other fields and makes paths absolute.
func (c *Config) resolve() error {
	if c.Process.DataDir == "" {
		return nil // Validate says so
	}
	dir, err := filepath.Abs(c.Process.DataDir)
	if err != nil {
		return secret.Wrap(secret.CodeInvalid, err, "process.data_dir")
	}
	c.Process.DataDir = dir
	for _, p := range c.files() {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	if c.Listen.Advertise == "" {
		c.Listen.Advertise = c.Listen.PeerAddress
	}
	if c.Listen.RegionAdvertise == "" {
		c.Listen.RegionAdvertise = c.Listen.RegionAddress
	}
	if e := c.Store.Embedded; e != nil {
		if e.Name == "" {
			e.Name = c.Process.ID
		}
		if len(e.InitialCluster) == 0 {
			e.InitialCluster = map[string]string{e.Name: e.PeerAddress}
		}
	}
	return nil
}

func (c *Config) files() []*string {
	t := &c.TLS
	files := []*string{
		&t.CertFile, &t.KeyFile, &t.CAFile,
		&t.Peer.CertFile, &t.Peer.KeyFile, &t.Peer.CAFile, &c.KMS.File.Path,
		&c.KMS.PKCS11.Module, &c.KMS.PKCS11.PINFile, &c.KMS.Transit.TokenFile, &c.KMS.Transit.CAFile, &c.KMS.AWS.CredentialsFile, &c.KMS.SealedCache.Path,
		&c.Traces.CAFile,
	}
	if x := c.Store.External; x != nil {
		files = append(files, &x.CAFile, &x.CertFile, &x.KeyFile, &x.PasswordFile)
	}
	for i := range c.Audit.Paths {
		files = append(files, &c.Audit.Paths[i])
	}
	for i := range c.Peers {
		files = append(files, &c.Peers[i].CAFile)
	}
	for i := range c.Rotators {
		files = append(files, &c.Rotators[i].KeyFile, &c.Rotators[i].CAFile)
	}
	return files
}
