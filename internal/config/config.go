// Package config is the configuration of one `lifeboat server` process: one
// YAML file, checked strictly, with a few overrides from the environment.
// reference.yaml describes every field and holds every default; a test proves
// that it and Default agree.
package config

import (
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Role is a part that a process plays in its region.
type Role string

// The roles.
const (
	// Store runs a member of the region's embedded store.
	Store Role = "store"
	// Control commits mutations and drives what follows them. Such a process
	// always keeps a local store too, and so can serve reads.
	Control Role = "control"
	// Host keeps a local store, serves reads from it and forwards mutations to
	// the control processes.
	Host Role = "host"
)

// Config is the whole configuration. File paths that are relative are taken
// from process.data_dir; Load makes them absolute.
type Config struct {
	Region      Region      `yaml:"region"`
	Process     Process     `yaml:"process"`
	Listen      Listen      `yaml:"listen"`
	TLS         TLS         `yaml:"tls"`
	Store       StoreConfig `yaml:"store"`
	Control     ControlSet  `yaml:"control"`
	Peers       []Peer      `yaml:"peers"`
	KMS         KMS         `yaml:"kms"`
	Keys        Keys        `yaml:"keys"`
	Replication Replication `yaml:"replication"`
	Audit       Audit       `yaml:"audit"`
	Credentials Credentials `yaml:"credentials"`
	Reads       Reads       `yaml:"reads"`
	Limits      Limits      `yaml:"limits"`
	Log         Log         `yaml:"log"`
	Traces      Traces      `yaml:"traces"`
	AWS         AWS         `yaml:"aws"`
	Rotators    []Rotator   `yaml:"rotators"`
}

// Region names the region that the process is a part of.
type Region struct {
	// Name is 1 to 32 lower-case letters, digits and dashes; required.
	Name secret.RegionName `yaml:"name"`
}

// Process says which process of the region this is.
type Process struct {
	// ID is the stable name of the process, unique in the region: 1 to 32
	// letters, digits and any of _.- ; required.
	ID string `yaml:"id"`
	// DataDir holds what the process keeps on disk; default /var/lib/lifeboat.
	DataDir string `yaml:"data_dir"`
	// Roles default to all three.
	Roles []Role `yaml:"roles"`
}

// Listen says where the process can be reached.
type Listen struct {
	// Address of the public front door, host:port; default :8200.
	Address string `yaml:"address"`
	// AdminAddress serves metrics, profiles and health without authentication;
	// default 127.0.0.1:8201, empty for none.
	AdminAddress string `yaml:"admin_address"`
	// PeerAddress is where the other processes of the region are listened for,
	// host:port, with mutual TLS; default: none, for a region of one process.
	PeerAddress string `yaml:"peer_address"`
	// Advertise is the host:port at which they reach PeerAddress; default: the
	// same.
	Advertise string `yaml:"advertise"`
	// RegionAddress is where other regions are listened for, host:port, with
	// mutual TLS; only in control processes. Default: none.
	RegionAddress string `yaml:"region_address"`
	// RegionAdvertise is the host:port at which they reach RegionAddress; default:
	// the same.
	RegionAdvertise string `yaml:"region_advertise"`
}

// TLS names PEM files. Certificates and keys are read again when they change.
type TLS struct {
	// CertFile and KeyFile are those of the public front door; default
	// tls/server.pem and tls/server-key.pem.
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
	// CAFile is what clients on this machine trust; default tls/ca.pem.
	CAFile string `yaml:"ca_file"`
	// ClientCertificates has the front door ask for, but not require, client
	// certificates; default true.
	ClientCertificates bool `yaml:"client_certificates"`
	// ExpiryWarning is how long before its end a certificate of the process shows
	// as a warning; default 504h.
	ExpiryWarning time.Duration `yaml:"expiry_warning"`
	// Peer are the files for mutual TLS among the processes of the region.
	Peer PeerTLS `yaml:"peer"`
}

// PeerTLS are all set, or all empty (the default) in a region of one process.
type PeerTLS struct {
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
	CAFile   string `yaml:"ca_file"`
}

// StoreConfig says where the authoritative copy is: one of Embedded and
// External. Without either in the file, Embedded has its defaults.
type StoreConfig struct {
	Embedded *EmbeddedStore `yaml:"embedded,omitempty"`
	External *ExternalStore `yaml:"external,omitempty"`
	// Prefix of all keys; default /lifeboat/.
	Prefix string `yaml:"prefix"`
	// CompactionKeep is how much of the change feed's past is kept; default 1h,
	// at least 5m. A consumer that was away for longer resynchronises.
	CompactionKeep time.Duration `yaml:"compaction_keep"`
}

// EmbeddedStore is a member of an etcd cluster inside the process.
type EmbeddedStore struct {
	// Name of the member; default: the ID of the process.
	Name string `yaml:"name"`
	// ClientAddress is where other processes reach the store, host:port;
	// default 127.0.0.1:2379.
	ClientAddress string `yaml:"client_address"`
	// PeerAddress is where the other members reach this one, host:port;
	// default 127.0.0.1:2380.
	PeerAddress string `yaml:"peer_address"`
	// InitialCluster maps the name of every member to its peer address when
	// the cluster is first made; default: this member alone.
	InitialCluster map[string]string `yaml:"initial_cluster"`
	// QuotaBytes bounds the database; default 8 GiB. One million secrets of
	// 1 KB take about 2.1 GB.
	QuotaBytes int64 `yaml:"quota_bytes"`
}

// ExternalStore is an etcd cluster that runs elsewhere.
type ExternalStore struct {
	// Endpoints are URLs, e.g. https://etcd-1:2379.
	Endpoints []string `yaml:"endpoints"`
	// CAFile, CertFile and KeyFile are for https endpoints.
	CAFile   string `yaml:"ca_file"`
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
	// Username and PasswordFile are for a cluster with authentication; the
	// file holds the password alone.
	Username     string `yaml:"username"`
	PasswordFile string `yaml:"password_file"`
}

// ControlSet names the control processes of the region.
type ControlSet struct {
	// Addresses are host:port, the advertised ones; required without the role
	// control.
	Addresses []string `yaml:"addresses"`
}

// Peer is another region that this one has links with.
type Peer struct {
	// Region is its name; required.
	Region secret.RegionName `yaml:"region"`
	// Addresses are host:port, where its control processes listen for other
	// regions; 1 to 10. The one that answers is used.
	Addresses []string `yaml:"addresses"`
	// CAFile has the authorities that sign the certificates of its processes;
	// required. It is read again when it changes.
	CAFile string `yaml:"ca_file"`
}

// KMS is the key service that wraps data keys.
type KMS struct {
	// Driver is file (the default), pkcs11, transit or aws-kms; the section of
	// that name counts, the others do not.
	Driver  string     `yaml:"driver"`
	File    KMSFile    `yaml:"file"`
	PKCS11  KMSPKCS11  `yaml:"pkcs11"`
	Transit KMSTransit `yaml:"transit"`
	AWS     KMSAWS     `yaml:"aws_kms"`
	// CacheFor is how long an unwrapped data key is used without asking again;
	// default 1h.
	CacheFor time.Duration `yaml:"cache_for"`
	// StaleFor is how much longer it is used while the key service does not
	// answer, 0 for not at all; default 24h.
	StaleFor time.Duration `yaml:"stale_for"`
	// SealedCache keeps unwrapped data keys over a restart.
	SealedCache KMSSealedCache `yaml:"sealed_cache"`
}

// KMSSealedCache keeps unwrapped data keys on disk, sealed, so that a process can
// start while the key service is away.
type KMSSealedCache struct {
	// Path of the cache; default key-cache.
	Path string `yaml:"path"`
	// KeyFile seals it, an absolute path outside of the data directory; empty (the
	// default) means that nothing is kept.
	KeyFile string `yaml:"key_file"`
	// MaxAge is the age from which a key is refused; default 24h.
	MaxAge time.Duration `yaml:"max_age"`
}

// On reports whether keys are kept.
func (s *KMSSealedCache) On() bool { return s.KeyFile != "" }

// KMSFile keeps wrapping keys in a file; not for production.
type KMSFile struct {
	// Path defaults to kms-keys.
	Path string `yaml:"path"`
}

// KMSPKCS11 is a hardware security module. It takes a binary built with the tag
// pkcs11.
type KMSPKCS11 struct {
	// Module is the path of the vendor's library.
	Module string `yaml:"module"`
	// Token is the label of the token.
	Token string `yaml:"token"`
	// PINFile holds the PIN of the token's user; default kms-pin.
	PINFile string `yaml:"pin_file"`
	// Key is the label of the master key that wraps; OlderKeys still unwrap.
	Key       string   `yaml:"key"`
	OlderKeys []string `yaml:"older_keys"`
	// Sessions bounds the operations under way at once; default 8.
	Sessions int `yaml:"sessions"`
}

// KMSTransit is the transit engine of HashiCorp Vault or OpenBao.
type KMSTransit struct {
	// Address is a URL like https://vault.example:8200.
	Address string `yaml:"address"`
	// Namespace and Mount say where the engine is; default none, and transit.
	Namespace string `yaml:"namespace"`
	Mount     string `yaml:"mount"`
	// Key is the name of the key that wraps; OlderKeys still unwrap.
	Key       string   `yaml:"key"`
	OlderKeys []string `yaml:"older_keys"`
	// TokenFile holds the token, read for every request; default kms-token.
	TokenFile string `yaml:"token_file"`
	// CAFile has the authorities; default: those of the system.
	CAFile string `yaml:"ca_file"`
	// Timeout bounds one call; default 10s.
	Timeout time.Duration `yaml:"timeout"`
}

// KMSAWS is AWS KMS.
type KMSAWS struct {
	// Key is the ARN, ID or alias of the key that wraps.
	Key string `yaml:"key"`
	// OlderKeys are ARNs of keys of other accounts that still unwrap.
	OlderKeys []string `yaml:"older_keys"`
	// Region and Endpoint default to those that the key or the SDK know.
	Region   string `yaml:"region"`
	Endpoint string `yaml:"endpoint"`
	// CredentialsFile and Profile default to the SDK's chain.
	CredentialsFile string `yaml:"credentials_file"`
	Profile         string `yaml:"profile"`
	// Timeout bounds one call; default 10s.
	Timeout time.Duration `yaml:"timeout"`
}

// Keys say how control processes look after the region's keys.
type Keys struct {
	// RotateDataKeysEvery is how old the active generation of a data key becomes;
	// 0, the default, for no limit.
	RotateDataKeysEvery time.Duration `yaml:"rotate_data_keys_every"`
	// RotateDataKeysAfter is how often a generation seals before it is rotated;
	// default 2^30, at most 2^31: half of what AES-GCM with random nonces allows.
	RotateDataKeysAfter uint64 `yaml:"rotate_data_keys_after"`
	// RotateMasterKeyEvery is how long after the last rotation the master key is
	// rotated again; 0, the default, for never. The driver must be file or transit.
	RotateMasterKeyEvery time.Duration `yaml:"rotate_master_key_every"`
	// DataKeysPerSecond bounds what is wrapped again in the background; default 50.
	DataKeysPerSecond int `yaml:"data_keys_per_second"`
	// RecordsPerSecond bounds what is sealed again in the background; default 500.
	RecordsPerSecond int `yaml:"records_per_second"`
	// BackupsKeptFor is how long backups may be restored, and so keep keys from
	// being retired and what is left of deleted records from being forgotten;
	// default 30 days.
	BackupsKeptFor time.Duration `yaml:"backups_kept_for"`
}

// Replication says how control processes look after what other regions have.
type Replication struct {
	// CollectEvery is how often it is looked for what is left of deleted records and
	// can be forgotten; default 1h.
	CollectEvery time.Duration `yaml:"collect_every"`
	// AskPeersFor bounds how long mutations wait after a start until the peers have
	// said whether one has taken this region over; default 5s.
	AskPeersFor time.Duration `yaml:"ask_peers_for"`
	// WhenNoPeerAnswers says what becomes after that of mutations of records that other
	// regions hold, as long as no peer has answered since the start: serve (the
	// default) or refuse.
	WhenNoPeerAnswers Unanswered `yaml:"when_no_peer_answers"`
}

// Unanswered is what a process does while no peer answers.
type Unanswered string

// What a process can do while no peer answers.
const (
	Serve  Unanswered = "serve"
	Refuse Unanswered = "refuse"
)

// Audit configures the audit log.
type Audit struct {
	// Paths are one or two files, default audit.log; the second takes the lines
	// that the first refuses.
	Paths []string `yaml:"paths"`
	// Sync is none, the default, or interval: fsync every second.
	Sync string `yaml:"sync"`
}

// Credentials configure authentication.
type Credentials struct {
	// MaxAgeWhenCutOff is how long a process honours what it knows of
	// credentials while it cannot reach the store; default 24h.
	MaxAgeWhenCutOff time.Duration `yaml:"max_age_when_cut_off"`
	// ExchangeLifetime is how long a token works that was exchanged for another
	// credential, unless the caller asks for another time; default 15m.
	ExchangeLifetime time.Duration `yaml:"exchange_lifetime"`
	// ExchangeLimit is the most a caller can ask for, at most 12h; default 1h.
	ExchangeLimit time.Duration `yaml:"exchange_limit"`
}

// Reads bound what a read waits for.
type Reads struct {
	// StoreFallbackTimeout bounds a read that the local store cannot answer and
	// that asks the store; default 500ms.
	StoreFallbackTimeout time.Duration `yaml:"store_fallback_timeout"`
	// WaitClearedTimeout bounds how long a mutation waits, if the caller wants
	// it, until the live hosts have it; default 5s.
	WaitClearedTimeout time.Duration `yaml:"wait_cleared_timeout"`
}

// Limits protect the process.
type Limits struct {
	// MaxRequestBytes bounds the body of a request; default 256 KiB.
	MaxRequestBytes int64 `yaml:"max_request_bytes"`
	// MaxConcurrentRequests bounds the requests in progress, 0 for no bound;
	// default 4096.
	MaxConcurrentRequests int `yaml:"max_concurrent_requests"`
	// MaxWatches bounds the watches in progress, which do not count among those
	// requests, 0 for no bound; default 1024.
	MaxWatches int `yaml:"max_watches"`
	// PerAccount and PerVault default to no limit.
	PerAccount Rate `yaml:"per_account"`
	PerVault   Rate `yaml:"per_vault"`
}

// Rate is that of a token bucket in one process.
type Rate struct {
	// RequestsPerSecond is 0 for no limit.
	RequestsPerSecond float64 `yaml:"requests_per_second"`
	// Burst is how many requests may come at once; at least 1 with a rate.
	Burst int `yaml:"burst"`
}

// Log configures the log for operators, on standard error.
type Log struct {
	// Level is debug, info (default), warn or error.
	Level string `yaml:"level"`
	// Format is text (default) or json.
	Format string `yaml:"format"`
}

// Traces configure where spans of requests are sent.
type Traces struct {
	// OTLPEndpoint is the URL of an OpenTelemetry receiver, OTLP over HTTP; empty
	// (the default) means that nothing is traced.
	OTLPEndpoint string `yaml:"otlp_endpoint"`
	// CAFile has the authorities for https; default: those of the system.
	CAFile string `yaml:"ca_file"`
	// SampleRatio is the part of requests that is traced where the caller does not
	// say, 0 to 1; default 0.01.
	SampleRatio float64 `yaml:"sample_ratio"`
	// Names has spans tell the names and IDs of what requests are about.
	Names bool `yaml:"names"`
}

// AWS configures the API of AWS Secrets Manager at the front door.
type AWS struct {
	// Enabled serves it; default true.
	Enabled bool `yaml:"enabled"`
	// Vault is the name of the vault, in each account, that is the account's
	// namespace there; default default.
	Vault string `yaml:"vault"`
	// RegionNames are what regions are called in ARNs and signatures, where that is
	// not their own name: at most one more than there can be peers, each another.
	RegionNames map[secret.RegionName]string `yaml:"region_names"`
}

// Rotator is an HTTP endpoint that makes and sets new values of secrets.
type Rotator struct {
	// Name is what secrets name it by, of the form of an ARN: arn:…, with the number of
	// the account whose secrets it rotates, or 000000000000 for every account; required.
	Name string `yaml:"name"`
	// URL is where it is asked; required.
	URL string `yaml:"url"`
	// KeyFile holds the key that signs what it is asked, at least 32 bytes; required.
	KeyFile string `yaml:"key_file"`
	// CAFile has the authorities for https; default: those of the system.
	CAFile string `yaml:"ca_file"`
	// Timeout bounds one step; default 1m.
	Timeout time.Duration `yaml:"timeout"`
}

// Default returns the defaults; only region.name and process.id are missing.
func Default() *Config {
	return &Config{
		Process: Process{DataDir: "/var/lib/lifeboat", Roles: []Role{Store, Control, Host}},
		Listen:  Listen{Address: ":8200", AdminAddress: "127.0.0.1:8201"},
		TLS:     TLS{CertFile: "tls/server.pem", KeyFile: "tls/server-key.pem", CAFile: "tls/ca.pem", ClientCertificates: true, ExpiryWarning: 504 * time.Hour},
		Store: StoreConfig{
			Embedded:       defaultEmbedded(),
			Prefix:         "/lifeboat/",
			CompactionKeep: time.Hour,
		},
		KMS: KMS{
			Driver: "file", File: KMSFile{Path: "kms-keys"},
			PKCS11:   KMSPKCS11{PINFile: "kms-pin", Sessions: 8},
			Transit:  KMSTransit{Mount: "transit", TokenFile: "kms-token", Timeout: 10 * time.Second},
			AWS:      KMSAWS{Timeout: 10 * time.Second},
			CacheFor: time.Hour, StaleFor: 24 * time.Hour,
			SealedCache: KMSSealedCache{Path: "key-cache", MaxAge: 24 * time.Hour},
		},
		Keys:        Keys{RotateDataKeysAfter: 1 << 30, DataKeysPerSecond: 50, RecordsPerSecond: 500, BackupsKeptFor: 30 * 24 * time.Hour},
		Replication: Replication{CollectEvery: time.Hour, AskPeersFor: 5 * time.Second, WhenNoPeerAnswers: Serve},
		Audit:       Audit{Paths: []string{"audit.log"}, Sync: "none"},
		Credentials: Credentials{MaxAgeWhenCutOff: 24 * time.Hour, ExchangeLifetime: 15 * time.Minute, ExchangeLimit: time.Hour},
		Reads:       Reads{StoreFallbackTimeout: 500 * time.Millisecond, WaitClearedTimeout: 5 * time.Second},
		Limits:      Limits{MaxRequestBytes: 256 << 10, MaxConcurrentRequests: 4096, MaxWatches: 1024},
		Log:         Log{Level: "info", Format: "text"},
		Traces:      Traces{SampleRatio: 0.01},
		AWS:         AWS{Enabled: true, Vault: "default", RegionNames: map[secret.RegionName]string{}},
	}
}

func defaultEmbedded() *EmbeddedStore {
	return &EmbeddedStore{
		ClientAddress: "127.0.0.1:2379",
		PeerAddress:   "127.0.0.1:2380",
		QuotaBytes:    8 << 30,
	}
}
