package cli

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/lifeboat-secrets/lifeboat/client"
)

// settings say which regions to talk to, and as whom.
type settings struct {
	Addr      string `yaml:"addr"`
	TokenFile string `yaml:"token_file"`
	CAFile    string `yaml:"ca_file"`
	Region    string `yaml:"region"`
	Vault     string `yaml:"vault"`
	// ClientCert and ClientKey are presented in place of a token; Account is yours,
	// if the certificate is good for several.
	ClientCert string `yaml:"client_cert"`
	ClientKey  string `yaml:"client_key"`
	Account    string `yaml:"account"`
	// Regions take the place of Addr if there are several, as in a regions file.
	Regions []client.Region `yaml:"regions"`
	token   client.Value
}

// settings merges flags, environment and configuration file, in this order.
func (a *app) settings() (*settings, error) {
	s, err := a.fileSettings()
	if err != nil {
		return nil, err
	}
	if token, ok := a.LookupEnv("LIFEBOAT_TOKEN"); ok && token != "" {
		s.token, s.TokenFile = client.NewValue(strings.TrimSpace(token)), ""
	}
	if a.flags.tokenFile != "" {
		s.TokenFile = a.flags.tokenFile
	}
	for _, v := range []struct {
		field      *string
		name, flag string
	}{
		{&s.CAFile, "LIFEBOAT_CA_FILE", a.flags.caFile},
		{&s.Region, "LIFEBOAT_REGION", a.flags.region}, {&s.Vault, "LIFEBOAT_VAULT", a.flags.vault},
		{&s.ClientCert, "LIFEBOAT_CLIENT_CERT", a.flags.clientCert}, {&s.ClientKey, "LIFEBOAT_CLIENT_KEY", a.flags.clientKey},
		{&s.Account, "LIFEBOAT_ACCOUNT", ""},
	} {
		if set, ok := a.LookupEnv(v.name); ok && set != "" {
			*v.field = set
		}
		if v.flag != "" {
			*v.field = v.flag
		}
	}
	if err := a.chooseRegions(s); err != nil {
		return nil, err
	}
	if a.flags.clientCert != "" && a.flags.tokenFile == "" { // nearer than a token of the environment
		s.token, s.TokenFile = client.Value{}, ""
	}
	if (s.ClientCert == "") != (s.ClientKey == "") {
		return nil, usagef("--client-cert and --client-key go together")
	}
	return s, a.readToken(s)
}

// chooseRegions fills in which regions to talk to: one by its address, or several by
// a regions file; what is said nearer counts.
func (a *app) chooseRegions(s *settings) error {
	env := func(name string) string { value, _ := a.LookupEnv(name); return value }
	for _, said := range []struct{ addr, file, both string }{
		{env("LIFEBOAT_ADDR"), env("LIFEBOAT_REGIONS_FILE"), "LIFEBOAT_ADDR and LIFEBOAT_REGIONS_FILE"},
		{a.flags.addr, a.flags.regionsFile, "--addr and --regions-file"},
	} {
		switch {
		case said.addr != "" && said.file != "":
			return &usageError{err: fmt.Errorf("both %s are given", said.both), hint: "give one of them: an address of one region, or a file that names several"}
		case said.addr != "":
			s.Addr, s.Regions = said.addr, nil
		case said.file != "":
			regions, err := client.ReadRegions(said.file)
			if err != nil {
				return withHint(err, "see the regions file of: lifeboat dev --regions east,west --write-env .")
			}
			s.Addr, s.Regions = "", regions
		}
	}
	switch {
	case s.Addr != "" && len(s.Regions) > 0:
		return usagef("the configuration file gives both addr and regions")
	case s.Addr == "" && len(s.Regions) == 0:
		return &usageError{err: errors.New("no address of a region is given"), hint: "set LIFEBOAT_ADDR or use --addr; \"lifeboat dev\" starts a region to try"}
	}
	return nil
}

// addresses are those of the region to talk to, the first if there are several.
func (s *settings) addresses() []string {
	for _, r := range s.Regions {
		if s.Region == "" || s.Region == r.Name {
			return r.Addresses
		}
	}
	return []string{s.Addr}
}

// caFileOf returns which authorities to trust at an address.
func (s *settings) caFileOf(address string) string {
	for _, r := range s.Regions {
		if r.CAFile != "" && slices.Contains(r.Addresses, address) {
			return r.CAFile
		}
	}
	return s.CAFile
}

// tls returns what connections are made with, nil for the defaults.
func (s *settings) tls() (*tls.Config, error) {
	if s.ClientCert == "" {
		return nil, nil //nolint:nilnil // as said
	}
	certificate, err := tls.LoadX509KeyPair(s.ClientCert, s.ClientKey)
	if err != nil {
		return nil, withHint(fmt.Errorf("read the client certificate: %w", err), "check --client-cert and --client-key")
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}}, nil
}

func (a *app) readToken(s *settings) error {
	if s.TokenFile == "" {
		return nil
	}
	var data []byte
	var err error
	if s.TokenFile == "-" {
		data, err = io.ReadAll(io.LimitReader(a.Stdin, 1<<16))
	} else {
		data, err = os.ReadFile(s.TokenFile)
	}
	if err != nil {
		return fmt.Errorf("read the token: %w", err)
	}
	s.token = client.NewValue(bytes.TrimSpace(data))
	return nil
}

// fileSettings reads the configuration file; only one that was asked for must
// exist.
func (a *app) fileSettings() (*settings, error) {
	s := &settings{}
	path, asked := a.flags.configFile, true
	if path == "" {
		path, asked = a.LookupEnv("LIFEBOAT_CONFIG")
	}
	if path == "" {
		asked = false
		path = a.defaultConfig()
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !asked || path == "" {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data), yaml.WithKnownFields(), yaml.WithUniqueKeys())
	if err != nil {
		return nil, err
	}
	if err := loader.Load(s); err != nil && !errors.Is(err, io.EOF) {
		return nil, withHint(fmt.Errorf("%s: %w", path, err), "the fields are addr, token_file, ca_file, region, vault, client_cert, client_key, account and regions")
	}
	files := []*string{&s.TokenFile, &s.CAFile, &s.ClientCert, &s.ClientKey}
	for i := range s.Regions {
		files = append(files, &s.Regions[i].CAFile)
	}
	for _, file := range files {
		if *file != "" && !filepath.IsAbs(*file) {
			*file = filepath.Join(filepath.Dir(path), *file)
		}
	}
	return s, nil
}

func (a *app) defaultConfig() string {
	if dir, ok := a.LookupEnv("XDG_CONFIG_HOME"); ok && dir != "" {
		return filepath.Join(dir, "lifeboat", "config.yaml")
	}
	if home, ok := a.LookupEnv("HOME"); ok && home != "" {
		return filepath.Join(home, ".config", "lifeboat", "config.yaml")
	}
	return ""
}

// clientState is the client that a command uses.
type clientState struct {
	*client.Client
	settings *settings
	// all is the client of all regions, which Client is unless --region names one.
	all *client.Client
}

// connect returns a client of the region.
func (a *app) connect() (*client.Client, error) {
	if a.client.Client != nil {
		return a.client.Client, nil
	}
	s, err := a.settings()
	if err != nil {
		return nil, err
	}
	secured, err := s.tls()
	if err != nil {
		return nil, err
	}
	all, err := client.New(client.Config{
		Address: s.Addr, Regions: s.Regions, Token: s.token, CAFile: s.CAFile, TLS: secured, Account: s.Account, Timeout: a.flags.timeout, UserAgent: "lifeboat/" + a.Release,
	})
	if err != nil {
		return nil, withHint(err, "check --addr (LIFEBOAT_ADDR) and --ca-file (LIFEBOAT_CA_FILE)")
	}
	a.client = clientState{Client: all, settings: s, all: all}
	if len(s.Regions) > 1 && s.Region != "" {
		if a.client.Client, err = all.At(s.Region); err != nil {
			return nil, &usageError{err: err, hint: "the regions are " + strings.Join(all.Regions(), ", ")}
		}
	}
	return a.client.Client, nil
}

// inVault returns a client and the vault that the command is about.
func (a *app) inVault() (*client.Client, string, error) {
	c, err := a.connect()
	if err != nil {
		return nil, "", err
	}
	if a.client.settings.Vault == "" {
		return nil, "", &usageError{err: errors.New("no vault is given"), hint: "set LIFEBOAT_VAULT or use --vault; \"lifeboat vault list\" lists yours"}
	}
	return c, a.client.settings.Vault, nil
}

func (a *app) closeClient() {
	if a.client.all != nil {
		a.client.all.Close()
	}
}
