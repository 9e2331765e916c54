package region

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/awskms"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/file"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/pkcs11"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/transit"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Whether and for what a process needs something.
const (
	// ForStart is what it does not start without.
	ForStart = "start"
	// ForFirstCopy is what a host needs until it has a complete copy, and a control
	// process to be ready.
	ForFirstCopy = "first copy"
	// ForMutations is what mutations need; reads go on without it.
	ForMutations = "mutations"
	// ForOthers is what nothing waits for.
	ForOthers = "nothing waits"
)

// Need is one thing outside of the process that it uses.
type Need struct {
	// Kind is file, directory, address, name or key service.
	Kind string `json:"kind"`
	What string `json:"what"`
	// Field is the key of the configuration that says so.
	Field string `json:"field"`
	// For is one of the constants above.
	For string `json:"for"`
	// Problem says what is wrong with it now; empty if nothing is.
	Problem string `json:"problem,omitempty"`
	// Circular says why it is only there once this region runs, so that neither can
	// start first; empty if it is not so.
	Circular string `json:"circular,omitempty"`
	// Doubt says what somebody must make sure of who knows the surroundings.
	Doubt string `json:"doubt,omitempty"`
}

// Blocks reports whether the process would not start.
func (n Need) Blocks() bool { return n.For == ForStart && (n.Problem != "" || n.Circular != "") }

// StartNeeds lists what a process with that configuration uses, and if it probes
// asks whether it is there: files are opened, addresses dialled, the key service
// opened. It changes nothing. Run it as the user that the process runs as.
func StartNeeds(ctx context.Context, c *config.Config, probe bool) []Need {
	s := &startCheck{config: c, probe: probe}
	s.directories()
	s.files()
	s.keyService(ctx)
	s.addresses(ctx)
	s.names(ctx)
	return s.needs
}

// startCheck collects needs.
type startCheck struct {
	config *config.Config
	probe  bool
	needs  []Need
}

func (s *startCheck) add(n Need) { s.needs = append(s.needs, n) }

func (s *startCheck) directories() {
	s.directory("process.data_dir", s.config.Process.DataDir, true)
	for i, path := range s.config.Audit.Paths {
		s.directory(fmt.Sprintf("audit.paths[%d]", i), filepath.Dir(path), false)
	}
}

// directory adds one that the process writes to; own ones it makes.
func (s *startCheck) directory(field, path string, own bool) {
	n := Need{Kind: "directory", What: path, Field: field, For: ForStart}
	if s.probe {
		info, err := os.Stat(path)
		for own && errors.Is(err, os.ErrNotExist) && path != filepath.Dir(path) {
			path = filepath.Dir(path)
			info, err = os.Stat(path)
		}
		switch {
		case err != nil:
			n.Problem = err.Error()
		case !info.IsDir():
			n.Problem = "is not a directory"
		case writable(path) != nil:
			n.Problem = writable(path).Error()
		}
	}
	s.add(n)
}

func (s *startCheck) files() {
	t, x := &s.config.TLS, s.config.Store.External
	if s.config.Process.Has(config.Control) || s.config.Process.Has(config.Host) {
		s.file("tls.cert_file", t.CertFile, ForStart)
		s.file("tls.key_file", t.KeyFile, ForStart)
		s.pair("tls", t.CertFile, t.KeyFile)
	}
	if t.Peer != (config.PeerTLS{}) {
		s.file("tls.peer.cert_file", t.Peer.CertFile, ForStart)
		s.file("tls.peer.key_file", t.Peer.KeyFile, ForStart)
		s.file("tls.peer.ca_file", t.Peer.CAFile, ForStart)
		s.pair("tls.peer", t.Peer.CertFile, t.Peer.KeyFile)
	}
	if x != nil {
		s.file("store.external.ca_file", x.CAFile, ForStart)
		s.file("store.external.cert_file", x.CertFile, ForStart)
		s.file("store.external.key_file", x.KeyFile, ForStart)
		s.file("store.external.password_file", x.PasswordFile, ForStart)
	}
	for i, p := range s.config.Peers {
		s.file(fmt.Sprintf("peers[%d].ca_file", i), p.CAFile, ForStart)
	}
	s.file("traces.ca_file", s.config.Traces.CAFile, ForStart)
}

// file adds one that the process reads.
func (s *startCheck) file(field, path, why string) {
	if path == "" {
		return
	}
	n := Need{Kind: "file", What: path, Field: field, For: why}
	if s.probe {
		n.Problem, n.Doubt = probeFile(path)
	}
	s.add(n)
}

// probeFile opens a file. One that lies in memory has to be put there after each
// start of the machine, by something that must not need Lifeboat.
func probeFile(path string) (problem, doubt string) {
	f, err := os.Open(path)
	if err != nil {
		return err.Error(), ""
	}
	defer func() { _ = f.Close() }()
	if inMemory(f) {
		doubt = "lies in memory, gone when the machine restarts: what puts it there must not read it from Lifeboat"
	}
	return "", doubt
}

// pair adds what is wrong with a certificate and its key together.
func (s *startCheck) pair(field, cert, key string) {
	if !s.probe {
		return
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	switch {
	case errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission): // said of the file
	case err != nil:
		s.add(Need{Kind: "file", What: cert, Field: field, For: ForStart, Problem: err.Error()})
	case pair.Leaf != nil && time.Now().After(pair.Leaf.NotAfter):
		s.add(Need{Kind: "file", What: cert, Field: field, For: ForMutations, Problem: "expired " + pair.Leaf.NotAfter.Format(time.RFC3339)})
	}
}

// keyServiceWait bounds how long the key service may take to answer.
const keyServiceWait = 10 * time.Second

func (s *startCheck) keyService(ctx context.Context) {
	if !s.config.Process.Has(config.Control) && !s.config.Process.Has(config.Host) {
		return
	}
	k, why := &s.config.KMS, ForStart
	if s.keyCache() {
		why = ForMutations
	}
	switch k.Driver {
	case file.Driver:
		s.file("kms.file.path", k.File.Path, why)
	case pkcs11.Driver:
		s.file("kms.pkcs11.module", k.PKCS11.Module, why)
		s.file("kms.pkcs11.pin_file", k.PKCS11.PINFile, why)
	case transit.Driver:
		s.file("kms.transit.token_file", k.Transit.TokenFile, why)
		s.file("kms.transit.ca_file", k.Transit.CAFile, why)
		s.address(ctx, "kms.transit.address", hostOfURL(k.Transit.Address), why)
	case awskms.Driver:
		s.file("kms.aws_kms.credentials_file", k.AWS.CredentialsFile, why)
		s.address(ctx, "kms.aws_kms.endpoint", hostOfURL(k.AWS.Endpoint), why)
	}
	n := Need{Kind: "key service", What: k.Driver, Field: "kms.driver", For: ForStart}
	if k.Driver == awskms.Driver && k.AWS.Endpoint == "" {
		n.What += ", at AWS's own address, by name"
	}
	if s.probe {
		ctx, cancel := context.WithTimeout(ctx, keyServiceWait)
		defer cancel()
		wrapper, err := OpenKeyService(ctx, k)
		if err == nil {
			err = wrapper.Close()
		}
		if err != nil {
			n.Problem = err.Error()
			if secret.HasCode(err, secret.CodeKeyUnavailable) {
				n.For = why
			}
		}
	}
	s.add(n)
}

// keyCache adds the key file of the sealed key cache, and reports whether the
// process would start without its key service.
func (s *startCheck) keyCache() bool {
	sealed := &s.config.KMS.SealedCache
	if !sealed.On() {
		return false
	}
	n := Need{Kind: "file", What: sealed.KeyFile, Field: "kms.sealed_cache.key_file", For: ForStart}
	usable := false
	if s.probe {
		n.Problem, n.Doubt = probeFile(sealed.KeyFile)
		cache, err := openKeyCache(s.config, nil)
		switch {
		case err == nil:
			usable = cache.Usable() == nil
		case n.Problem == "":
			n.Problem = err.Error()
		}
	}
	s.add(n)
	return usable
}

func (s *startCheck) addresses(ctx context.Context) {
	c := s.config
	storeFor := ForMutations
	if c.Process.Has(config.Host) {
		storeFor = ForFirstCopy
	}
	if x := c.Store.External; x != nil {
		for i, endpoint := range x.Endpoints {
			s.address(ctx, fmt.Sprintf("store.external.endpoints[%d]", i), hostOfURL(endpoint), storeFor)
		}
	}
	if e := c.Store.Embedded; e != nil && c.Process.Has(config.Store) {
		for name, member := range e.InitialCluster {
			if name != e.Name {
				s.address(ctx, "store.embedded.initial_cluster."+name, member, ForMutations)
			}
		}
	}
	for i, control := range c.Control.Addresses {
		if control != c.Listen.Advertise {
			s.address(ctx, fmt.Sprintf("control.addresses[%d]", i), control, ForMutations)
		}
	}
	for i, peer := range c.Peers {
		for j, a := range peer.Addresses {
			s.address(ctx, fmt.Sprintf("peers[%d].addresses[%d]", i, j), a, ForOthers)
		}
	}
	s.address(ctx, "traces.otlp_endpoint", hostOfURL(c.Traces.OTLPEndpoint), ForOthers)
}

// dialTimeout bounds one attempt to reach an address.
const dialTimeout = 2 * time.Second

func (s *startCheck) address(ctx context.Context, field, address, why string) {
	if address == "" {
		return
	}
	n := Need{Kind: "address", What: address, Field: field, For: why}
	if why == ForStart || why == ForOthers {
		n.Circular = s.circular(address)
	}
	if s.probe {
		dialer := net.Dialer{Timeout: dialTimeout}
		conn, err := dialer.DialContext(ctx, "tcp", address)
		if err == nil {
			err = conn.Close()
		}
		if err != nil {
			n.Problem = err.Error()
		}
	}
	s.add(n)
}

// circular says whether an address is this region's own: what is asked there would
// have to be up before it can start.
func (s *startCheck) circular(address string) string {
	own := slices.Concat([]string{s.config.Listen.Address, s.config.Listen.PeerAddress, s.config.Listen.Advertise}, s.config.Control.Addresses)
	for _, o := range own {
		if o != "" && sameAddress(address, o) {
			return "is this region itself (" + o + "), which would have to run before it can start"
		}
	}
	return ""
}

// sameAddress reports whether a dialled address is one that is listened on; an
// empty or unspecified host there is any address of this machine.
func sameAddress(dialled, listened string) bool {
	host, port, err := net.SplitHostPort(dialled)
	if err != nil {
		return false
	}
	listenHost, listenPort, err := net.SplitHostPort(listened)
	if err != nil || port != listenPort {
		return false
	}
	if host == listenHost {
		return true
	}
	ip, err := netip.ParseAddr(host)
	local := host == "localhost" || err == nil && ip.IsLoopback()
	listenIP, err := netip.ParseAddr(listenHost)
	anywhere := listenHost == "" || err == nil && listenIP.IsUnspecified()
	listensLocally := listenHost == "localhost" || err == nil && listenIP.IsLoopback()
	return local && (anywhere || listensLocally)
}

// names adds each host that is no literal address: whoever resolves it is needed
// too.
func (s *startCheck) names(ctx context.Context) {
	seen := map[string]bool{}
	for _, n := range slices.Clone(s.needs) {
		host, _, err := net.SplitHostPort(n.What)
		if n.Kind != "address" || err != nil || seen[host] {
			continue
		}
		seen[host] = true
		if _, err := netip.ParseAddr(host); err == nil {
			continue
		}
		name := Need{Kind: "name", What: host, Field: n.Field, For: n.For, Doubt: "what resolves it must not need a secret from Lifeboat"}
		if s.probe {
			ctx, cancel := context.WithTimeout(ctx, dialTimeout)
			if _, err := net.DefaultResolver.LookupHost(ctx, host); err != nil {
				name.Problem = err.Error()
			}
			cancel()
		}
		s.add(name)
	}
}

// hostOfURL returns the host:port of a URL; empty for none.
func hostOfURL(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return ""
	}
	if u.Port() != "" {
		return u.Host
	}
	if u.Scheme == "http" {
		return net.JoinHostPort(u.Hostname(), "80")
	}
	return net.JoinHostPort(u.Hostname(), "443")
}
