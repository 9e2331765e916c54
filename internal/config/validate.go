package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Limits on names that other formats embed.
const maxProcessIDBytes = 32

// problems collects what is wrong, so that one run tells everything.
type problems []error

func (p *problems) add(key, format string, args ...any) {
	*p = append(*p, secret.Invalid(key, format, args...))
}

func (p *problems) check(err error) {
	if err != nil {
		*p = append(*p, err)
	}
}

// Validate checks values and how they go together. It returns all problems,
// joined; each is a secret.CodeInvalid error whose field is the path of the key.
func (c *Config) Validate() error {
	var p problems
	p.check(secret.CheckRegionName("region.name", c.Region.Name))
	c.Process.validate(&p)
	c.validateListen(&p)
	c.validateTLS(&p)
	c.validateStore(&p)
	c.validateControl(&p)
	c.validatePeers(&p)
	c.validateKMS(&p)
	c.Keys.validate(&p, c.KMS.Driver)
	between(&p, "replication.collect_every", c.Replication.CollectEvery, time.Second, 87600*time.Hour)
	between(&p, "replication.ask_peers_for", c.Replication.AskPeersFor, 0, 10*time.Minute)
	oneOf(&p, "replication.when_no_peer_answers", c.Replication.WhenNoPeerAnswers, Serve, Refuse)
	c.validateAudit(&p)
	between(&p, "credentials.max_age_when_cut_off", c.Credentials.MaxAgeWhenCutOff, time.Minute, 720*time.Hour)
	between(&p, "credentials.exchange_limit", c.Credentials.ExchangeLimit, time.Minute, 12*time.Hour)
	between(&p, "credentials.exchange_lifetime", c.Credentials.ExchangeLifetime, time.Second, max(time.Second, c.Credentials.ExchangeLimit))
	between(&p, "tls.expiry_warning", c.TLS.ExpiryWarning, 0, 8760*time.Hour)
	between(&p, "reads.store_fallback_timeout", c.Reads.StoreFallbackTimeout, time.Millisecond, time.Minute)
	between(&p, "reads.wait_cleared_timeout", c.Reads.WaitClearedTimeout, time.Millisecond, 5*time.Minute)
	c.Limits.validate(&p)
	oneOf(&p, "log.level", c.Log.Level, "debug", "info", "warn", "error")
	oneOf(&p, "log.format", c.Log.Format, "text", "json")
	c.Traces.validate(&p)
	c.AWS.validate(&p)
	c.validateRotators(&p)
	return errors.Join(p...)
}

func (t *Traces) validate(p *problems) {
	if !(t.SampleRatio >= 0 && t.SampleRatio <= 1) { // refuses NaN too
		p.add("traces.sample_ratio", "is %g; allowed are 0 to 1", t.SampleRatio)
	}
	if t.OTLPEndpoint == "" {
		return
	}
	u, err := url.Parse(t.OTLPEndpoint)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil:
		p.add("traces.otlp_endpoint", "is not a URL like https://otel:4318/v1/traces")
	case u.Scheme == "http" && !loopback(u.Host):
		p.add("traces.otlp_endpoint", "is http beyond the loopback; use https")
	}
}

func (r *Process) validate(p *problems) {
	if err := secret.CheckContainerName("process.id", r.ID); err != nil {
		p.check(err)
	} else if len(r.ID) > maxProcessIDBytes {
		p.add("process.id", "is %d bytes long; the limit is %d", len(r.ID), maxProcessIDBytes)
	}
	required(p, "process.data_dir", r.DataDir)
	if len(r.Roles) == 0 {
		p.add("process.roles", "must not be empty")
	}
	seen := map[Role]bool{}
	for i, role := range r.Roles {
		key := fmt.Sprintf("process.roles[%d]", i)
		oneOf(p, key, role, Store, Control, Host)
		if seen[role] {
			p.add(key, "%s is listed twice", role)
		}
		seen[role] = true
	}
}

// serves reports whether the process has a front door: one that only runs a
// member of the store has none.
func (c *Config) serves() bool { return c.Process.Has(Control) || c.Process.Has(Host) }

func (c *Config) validateListen(p *problems) {
	if c.serves() {
		address(p, "listen.address", c.Listen.Address)
	}
	if c.Listen.AdminAddress != "" {
		address(p, "listen.admin_address", c.Listen.AdminAddress)
	}
	if c.Listen.PeerAddress != "" {
		address(p, "listen.peer_address", c.Listen.PeerAddress)
	}
	switch {
	case c.Listen.Advertise == "":
	case c.Listen.PeerAddress == "":
		p.add("listen.peer_address", "must not be empty with listen.advertise")
	default:
		reachable(p, "listen.advertise", c.Listen.Advertise)
	}
}

func (c *Config) validateTLS(p *problems) {
	if c.serves() {
		required(p, "tls.cert_file", c.TLS.CertFile)
		required(p, "tls.key_file", c.TLS.KeyFile)
	}
	t := c.TLS.Peer
	if t != (PeerTLS{}) {
		required(p, "tls.peer.cert_file", t.CertFile)
		required(p, "tls.peer.key_file", t.KeyFile)
		required(p, "tls.peer.ca_file", t.CAFile)
		return
	}
	const need = "%s needs tls.peer"
	e := c.Store.Embedded
	switch {
	case c.Listen.PeerAddress != "":
		p.add("tls.peer", need, "listen.peer_address")
	case c.Listen.RegionAddress != "":
		p.add("tls.peer", need, "listen.region_address")
	case len(c.Peers) > 0:
		p.add("tls.peer", need, "peers")
	case len(c.Control.Addresses) > 0:
		p.add("tls.peer", need, "control.addresses")
	case e != nil && !loopback(e.ClientAddress):
		p.add("tls.peer", need, "store.embedded.client_address beyond the loopback")
	case e != nil && !loopback(e.PeerAddress):
		p.add("tls.peer", need, "store.embedded.peer_address beyond the loopback")
	}
}

func (c *Config) validateStore(p *problems) {
	s := &c.Store
	switch {
	case s.Embedded != nil && s.External != nil:
		p.add("store", "has both embedded and external; name one")
	case s.Embedded != nil && !c.Process.Has(Store):
		p.add("store.embedded", "needs the role store; name store.external if the store runs elsewhere")
	case s.External != nil && c.Process.Has(Store):
		p.add("store.external", "excludes the role store; take it off process.roles")
	case s.Embedded == nil && s.External == nil:
		p.add("store", "needs embedded or external")
	}
	if s.Embedded != nil {
		s.Embedded.validate(p, c.Process.ID)
	}
	if s.External != nil {
		s.External.validate(p)
	}
	if len(s.Prefix) < 3 || s.Prefix[0] != '/' || s.Prefix[len(s.Prefix)-1] != '/' {
		p.add("store.prefix", "is %q; it must start and end with a slash and name something", s.Prefix)
	}
	between(p, "store.compaction_keep", s.CompactionKeep, 5*time.Minute, 30*24*time.Hour)
}

func (e *EmbeddedStore) validate(p *problems, processID string) {
	const at = "store.embedded."
	reachable(p, at+"client_address", e.ClientAddress)
	reachable(p, at+"peer_address", e.PeerAddress)
	if e.QuotaBytes < 64<<20 || e.QuotaBytes > 100<<30 {
		p.add(at+"quota_bytes", "is %d; allowed are 64 MiB to 100 GiB", e.QuotaBytes)
	}
	if len(e.InitialCluster) == 0 {
		return
	}
	name := e.Name
	if name == "" {
		name = processID
	}
	switch own, ok := e.InitialCluster[name]; {
	case !ok:
		p.add(at+"initial_cluster", "lacks this member, %q", name)
	case own != e.PeerAddress:
		p.add(at+"initial_cluster", "says %s for this member; store.embedded.peer_address says %s", own, e.PeerAddress)
	}
	for name, a := range e.InitialCluster {
		reachable(p, at+"initial_cluster."+name, a)
	}
}

func (x *ExternalStore) validate(p *problems) {
	const at = "store.external."
	if len(x.Endpoints) == 0 {
		p.add(at+"endpoints", "must not be empty")
	}
	for i, endpoint := range x.Endpoints {
		u, err := url.Parse(endpoint)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
			p.add(fmt.Sprintf("%sendpoints[%d]", at, i), "is not a URL like https://etcd-1:2379")
		} else if u.Scheme == "http" && !loopback(u.Host) {
			p.add(fmt.Sprintf("%sendpoints[%d]", at, i), "is http beyond the loopback; use https")
		}
	}
	if (x.CertFile == "") != (x.KeyFile == "") {
		p.add(at+"cert_file", "and key_file go together")
	}
	if (x.Username == "") != (x.PasswordFile == "") {
		p.add(at+"username", "and password_file go together")
	}
}

func (k *Keys) validate(p *problems, driver string) {
	const years = 87600 * time.Hour
	if k.RotateDataKeysEvery != 0 {
		between(p, "keys.rotate_data_keys_every", k.RotateDataKeysEvery, time.Hour, years)
	}
	if k.RotateDataKeysAfter < 1 || k.RotateDataKeysAfter > 1<<31 {
		p.add("keys.rotate_data_keys_after", "is %d; allowed are 1 to %d", k.RotateDataKeysAfter, 1<<31)
	}
	if k.RecordsPerSecond < 1 || k.RecordsPerSecond > 100_000 {
		p.add("keys.records_per_second", "is %d; allowed are 1 to 100000", k.RecordsPerSecond)
	}
	if k.DataKeysPerSecond < 1 || k.DataKeysPerSecond > 10_000 {
		p.add("keys.data_keys_per_second", "is %d; allowed are 1 to 10000", k.DataKeysPerSecond)
	}
	if k.RotateMasterKeyEvery != 0 {
		between(p, "keys.rotate_master_key_every", k.RotateMasterKeyEvery, time.Hour, years)
		if driver != "file" && driver != "transit" {
			p.add("keys.rotate_master_key_every", "needs a driver that makes master keys: file or transit, not %s", driver)
		}
	}
	between(p, "keys.backups_kept_for", k.BackupsKeptFor, 0, years)
}

func (c *Config) validateControl(p *problems) {
	if !c.Process.Has(Control) && c.Process.Has(Host) && len(c.Control.Addresses) == 0 {
		p.add("control.addresses", "must not be empty without the role control")
	}
	if len(c.Control.Addresses) > 0 && c.Listen.PeerAddress == "" {
		p.add("listen.peer_address", "must not be empty in a region of several processes")
	}
	for i, a := range c.Control.Addresses {
		reachable(p, fmt.Sprintf("control.addresses[%d]", i), a)
	}
}

func (c *Config) validateKMS(p *problems) {
	oneOf(p, "kms.driver", c.KMS.Driver, "file", "pkcs11", "transit", "aws-kms")
	switch k := &c.KMS; k.Driver { // the drivers check the rest
	case "file":
		required(p, "kms.file.path", k.File.Path)
	case "pkcs11":
		required(p, "kms.pkcs11.module", k.PKCS11.Module)
		required(p, "kms.pkcs11.token", k.PKCS11.Token)
		required(p, "kms.pkcs11.pin_file", k.PKCS11.PINFile)
		required(p, "kms.pkcs11.key", k.PKCS11.Key)
		if k.PKCS11.Sessions < 1 {
			p.add("kms.pkcs11.sessions", "is %d; it must be at least 1", k.PKCS11.Sessions)
		}
	case "transit":
		required(p, "kms.transit.address", k.Transit.Address)
		required(p, "kms.transit.mount", k.Transit.Mount)
		required(p, "kms.transit.key", k.Transit.Key)
		required(p, "kms.transit.token_file", k.Transit.TokenFile)
		between(p, "kms.transit.timeout", k.Transit.Timeout, time.Millisecond, time.Minute)
	case "aws-kms":
		required(p, "kms.aws_kms.key", k.AWS.Key)
		between(p, "kms.aws_kms.timeout", k.AWS.Timeout, time.Millisecond, time.Minute)
	}
	between(p, "kms.cache_for", c.KMS.CacheFor, time.Second, 168*time.Hour)
	between(p, "kms.stale_for", c.KMS.StaleFor, 0, 720*time.Hour)
	c.KMS.SealedCache.validate(p, c.Process.DataDir)
}

func (s *KMSSealedCache) validate(p *problems, dataDir string) {
	const field = "kms.sealed_cache.key_file"
	required(p, "kms.sealed_cache.path", s.Path)
	between(p, "kms.sealed_cache.max_age", s.MaxAge, time.Minute, 168*time.Hour)
	if !s.On() {
		return
	}
	if !filepath.IsAbs(s.KeyFile) {
		p.add(field, "must be an absolute path outside of process.data_dir")
		return
	}
	below, err := filepath.Rel(dataDir, s.KeyFile)
	if err == nil && below != ".." && !strings.HasPrefix(below, ".."+string(filepath.Separator)) {
		p.add(field, "must not be inside process.data_dir: whoever copies that would have both")
	}
	if filepath.Clean(s.Path) == filepath.Clean(s.KeyFile) {
		p.add(field, "must not be kms.sealed_cache.path")
	}
}

func (c *Config) validateAudit(p *problems) {
	paths := c.Audit.Paths
	if len(paths) < 1 || len(paths) > 2 {
		p.add("audit.paths", "has %d entries; one or two are needed", len(paths))
	}
	for i, path := range paths {
		required(p, fmt.Sprintf("audit.paths[%d]", i), path)
	}
	if len(paths) == 2 && paths[0] == paths[1] {
		p.add("audit.paths", "names the same file twice")
	}
	oneOf(p, "audit.sync", c.Audit.Sync, "none", "interval")
}

func (l *Limits) validate(p *problems) {
	if l.MaxRequestBytes < 128<<10 || l.MaxRequestBytes > 16<<20 {
		p.add("limits.max_request_bytes", "is %d; allowed are 128 KiB to 16 MiB", l.MaxRequestBytes)
	}
	if l.MaxConcurrentRequests < 0 {
		p.add("limits.max_concurrent_requests", "is negative; 0 means no limit")
	}
	if l.MaxWatches < 0 {
		p.add("limits.max_watches", "is negative; 0 means no limit")
	}
	l.PerAccount.validate(p, "limits.per_account")
	l.PerVault.validate(p, "limits.per_vault")
}

func (r Rate) validate(p *problems, key string) {
	if !(r.RequestsPerSecond >= 0) || math.IsInf(r.RequestsPerSecond, 0) { // refuses NaN too
		p.add(key+".requests_per_second", "must be a number of at least 0; 0 means no limit")
	}
	switch {
	case r.Burst < 0:
		p.add(key+".burst", "is negative")
	case r.RequestsPerSecond > 0 && r.Burst == 0:
		p.add(key+".burst", "must be at least 1 if there is a limit")
	}
}

func required(p *problems, key, v string) {
	if v == "" {
		p.add(key, "must not be empty")
	}
}

func oneOf[T ~string](p *problems, key string, v T, allowed ...T) {
	names := make([]string, len(allowed))
	for i, a := range allowed {
		if v == a {
			return
		}
		names[i] = string(a)
	}
	p.add(key, "is %q; allowed are %s", string(v), strings.Join(names, ", "))
}

func between(p *problems, key string, v, low, high time.Duration) {
	if v < low || v > high {
		p.add(key, "is %s; allowed are %s to %s", v, low, high)
	}
}

// address checks a host:port to listen on; the host may be empty.
func address(p *problems, key, a string) (host string, ok bool) {
	host, port, err := net.SplitHostPort(a)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		p.add(key, "is %q; it must be host:port", a)
	}
	return host, err == nil
}

// reachable checks a host:port that others connect to.
func reachable(p *problems, key, a string) {
	host, ok := address(p, key, a)
	if !ok {
		return
	}
	ip, err := netip.ParseAddr(host)
	if host == "" || err == nil && ip.IsUnspecified() {
		p.add(key, "is %q; it must name a host that others can reach", a)
	}
}

func loopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.Trim(hostport, "[]")
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
