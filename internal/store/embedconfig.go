package store

import (
	"crypto/rand"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// noListener stands for the peer address of a member that has no peers.
const noListener = "127.0.0.1:0"

// config returns etcd's configuration, or a CodeInvalid error that names the
// option.
func (o EmbeddedOptions) config(log *zap.Logger) (*embed.Config, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	cfg := embed.NewConfig()
	cfg.Name, cfg.Dir = o.Name, o.Dir
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(log)
	cfg.QuotaBackendBytes = o.QuotaBytes
	if cfg.QuotaBackendBytes == 0 {
		cfg.QuotaBackendBytes = DefaultQuotaBytes
	}
	cfg.UnsafeNoFsync = o.UnsafeNoFsync
	cfg.EnableGRPCGateway = false
	cfg.CORS, cfg.HostWhitelist = nil, nil
	// A client may ping its connection every 10 s; see keepaliveTime.
	cfg.GRPCKeepAliveMinTime = keepaliveTime / 2
	cfg.WarningApplyDuration = time.Second
	// What a member keeps in memory after a restart, and for others that have to
	// catch up: entries can have maxGroupBytes and more.
	cfg.SnapshotCount, cfg.SnapshotCatchUpEntries = 2500, 2000
	if len(o.members()) == 1 { // nothing to wait for before it elects itself
		cfg.TickMs, cfg.ElectionMs = 20, 200
		// Nor is there a member that might have to catch up from this one's
		// memory, where after an import each of 5,000 entries could be 1 MiB.
		cfg.SnapshotCatchUpEntries = 100
		// The token goes into the cluster's ID when it is first started, so that a
		// feed can tell a store from another one at the same address.
		cfg.InitialClusterToken = rand.Text()
	}
	o.listeners(cfg)
	cfg.InitialCluster = initialCluster(o.members(), scheme(o.PeerTLS))
	return cfg, nil
}

// listeners sets who may connect, where and how.
func (o EmbeddedOptions) listeners(cfg *embed.Config) {
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = nil, nil
	cfg.ListenPeerUrls = nil
	if o.ListenClient != "" {
		u := url.URL{Scheme: scheme(o.ClientTLS), Host: o.ListenClient}
		cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{u}, []url.URL{u}
		cfg.ClientTLSInfo = tlsInfo(o.ClientTLS)
	}
	if o.ListenPeer != "" {
		cfg.ListenPeerUrls = []url.URL{{Scheme: scheme(o.PeerTLS), Host: o.ListenPeer}}
		cfg.PeerTLSInfo = tlsInfo(o.PeerTLS)
		if !o.PeerTLS.empty() {
			cfg.PeerTLSInfo.AllowedHostnames = o.memberHosts()
		}
	}
	cfg.AdvertisePeerUrls = []url.URL{{Scheme: scheme(o.PeerTLS), Host: o.members()[o.Name]}}
}

// members returns the peer addresses by name, this member's included.
func (o EmbeddedOptions) members() map[string]string {
	switch {
	case len(o.InitialCluster) > 0:
		return o.InitialCluster
	case o.ListenPeer != "":
		return map[string]string{o.Name: o.ListenPeer}
	default:
		return map[string]string{o.Name: noListener}
	}
}

// memberHosts returns the hosts that members are at. A certificate of the same
// authority that is for none of them, such as a client's, makes no member.
func (o EmbeddedOptions) memberHosts() []string {
	var hosts []string
	for _, address := range o.members() {
		if host, _, err := net.SplitHostPort(address); err == nil && !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

func initialCluster(members map[string]string, scheme string) string {
	list := make([]string, 0, len(members))
	for name, address := range members {
		list = append(list, name+"="+scheme+"://"+address)
	}
	slices.Sort(list)
	return strings.Join(list, ",")
}

func scheme(f TLSFiles) string {
	if f.empty() {
		return "http"
	}
	return "https"
}

func tlsInfo(f TLSFiles) transport.TLSInfo {
	if f.empty() {
		return transport.TLSInfo{}
	}
	return transport.TLSInfo{CertFile: f.Cert, KeyFile: f.Key, TrustedCAFile: f.CA, ClientCertAuth: true}
}

func (o EmbeddedOptions) validate() error {
	switch {
	case o.Name == "" || strings.ContainsAny(o.Name, "=, "):
		return secret.Invalid("name", "must be given, without blanks, commas and equals signs")
	case o.Dir == "":
		return secret.Invalid("dir", "must be given")
	case o.QuotaBytes < 0:
		return secret.Invalid("quotaBytes", "must not be negative")
	case len(o.InitialCluster) > 0 && o.InitialCluster[o.Name] == "":
		return secret.Invalid("initialCluster", "lacks this member, %s", o.Name)
	case len(o.InitialCluster) > 1 && o.ListenPeer == "":
		return secret.Invalid("listenPeer", "must be given for a cluster")
	}
	for name, address := range o.InitialCluster {
		if _, err := splitAddress("initialCluster."+name, address); err != nil {
			return err
		}
	}
	if err := validateListener("listenClient", o.ListenClient, "clientTLS", o.ClientTLS); err != nil {
		return err
	}
	return validateListener("listenPeer", o.ListenPeer, "peerTLS", o.PeerTLS)
}

func validateListener(field, address, tlsField string, files TLSFiles) error {
	if !files.empty() && (files.Cert == "" || files.Key == "" || files.CA == "") {
		return secret.Invalid(tlsField, "needs certificate, key and CA")
	}
	if address == "" {
		return nil
	}
	host, err := splitAddress(field, address)
	if err != nil {
		return err
	}
	if _, err := tlsInfo(files).ServerConfig(); err != nil && !files.empty() {
		return &secret.Error{Code: secret.CodeInvalid, Field: tlsField, Message: "the files cannot be used", Err: err}
	}
	if files.empty() && !loopback(host) {
		return secret.Invalid(tlsField, "is required because %s is not a loopback address", address)
	}
	return nil
}

// splitAddress returns the host of a host:port.
func splitAddress(field, address string) (host string, err error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil || port == "" {
		return "", secret.Invalid(field, "%q is not host:port", address)
	}
	return host, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
