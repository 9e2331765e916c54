package service

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/audit"
	"github.com/lifeboat-secrets/lifeboat/internal/authn"
	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/event"
	"github.com/lifeboat-secrets/lifeboat/internal/keyring"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Store is the authoritative copy of the shard.
type Store interface {
	View(ctx context.Context) record.View
	Commit(ctx context.Context, txn record.Txn) (revision int64, err error)
}

// LocalStore is this process's copy of the shard.
type LocalStore interface {
	// View gives fn a consistent snapshot. Errors of the snapshot itself are
	// CodeUnavailable (no complete copy) or CodeCorrupt.
	View(fn func(record.View) error) error
	// Age returns how long ago the copy was last known to be up to date; 0 while
	// it follows the store.
	Age() time.Duration
}

// Clearing tells when every live host has applied a revision of the store.
type Clearing interface {
	// WaitCleared waits until the hosts have applied the mutation of a record that
	// committed at revision, or of any record if key is empty. It returns the
	// context's error if that ends first.
	WaitCleared(ctx context.Context, key record.Key, revision int64) error
}

// Formats says in which formats records may be written; see package formatgate.
type Formats interface {
	// Writes returns the highest format of a kind of record.
	Writes(kind string) uint32
}

// Replication tells what other regions have received.
type Replication interface {
	// WaitReceived waits until at least n targets have received the state of a record
	// that committed at revision, or ctx ends. It answers which have, and of which
	// that is not known.
	WaitReceived(ctx context.Context, key record.Key, revision int64, n int) (received, outstanding []secret.RegionName)
}

// Throttle protects accounts and vaults from noisy neighbours.
type Throttle interface {
	// Allow returns CodeThrottled if a request must wait.
	Allow(account secret.AccountID, vault secret.VaultID) error
}

// Options of a Service. Those without a default are required.
type Options struct {
	Region secret.RegionName
	Store  Store
	// Formats defaults to those of the first release.
	Formats       Formats
	Local         LocalStore
	Keyring       *keyring.Keyring
	Authenticator *authn.Authenticator
	Authorizer    *authz.Authorizer
	Audit         *audit.Log
	Events        *event.Hub
	Throttle      Throttle
	// Observe is told of each request when it ends; it must not block.
	Observe func(action authz.Action, outcome secret.Code, took time.Duration)
	// Replication is nil in a process without the control role.
	Replication Replication
	// ReplicaAge returns how long ago this region was last known to have all that the
	// hosts of another one had, false if that is not known; nil means never known. It is
	// called for each read of a replica.
	ReplicaAge func(home secret.RegionName) (time.Duration, bool)
	// PeersAsked reports whether the peers were asked if one has taken this region
	// over, or the wait for it is over; until then mutations of callers wait. Nil means
	// that they were.
	PeersAsked func() bool
	// Unanswered reports whether mutations of records that other regions hold are
	// refused because no peer has answered since the start. It may be called for each
	// mutation. Nil means that they are not.
	Unanswered func() bool
	// Survivors is nil where other regions cannot be asked.
	Survivors Survivors
	// Handovers is nil where planned moves wait for no arrival.
	Handovers Handovers
	// InheritPerSecond bounds the records of a region that was taken over which are
	// moved here in the background; default 2000.
	InheritPerSecond int
	// Peers are the regions that this one can replicate to; nil means none.
	Peers func() []secret.RegionName
	// Tracer is nil where steps are not recorded.
	Tracer Tracer
	// IssuerKeys is nil in a process that fetches no keys.
	IssuerKeys IssuerKeySource
	// ExchangeLifetime is that of exchanged tokens unless a caller asks for another,
	// up to ExchangeLimit; default DefaultExchangeLifetime and MaxExchangeLifetime.
	ExchangeLifetime, ExchangeLimit time.Duration
	// Clearing is nil in a process without the control role.
	Clearing Clearing
	Logger   *slog.Logger
	Now      func() time.Time
	// Passed is the time that passed since any fixed moment, whatever the time of
	// day is set to; the sweep tells by it that the clock jumped. Default: what
	// Now says of that.
	Passed func() time.Duration
	// Boot is an ID of the boot of this machine and the time since, by which a new
	// process tells how long there was none; nil or an empty ID if it cannot be told.
	Boot func() (id string, up time.Duration)
	// StoreFallback bounds a read that the local store could not answer;
	// default 500 ms.
	StoreFallback time.Duration
	// EventsFor is how long the outbox keeps events; default 1 h.
	EventsFor time.Duration
	// WaitCleared bounds how long a mutation waits for the hosts; default 5 s.
	WaitCleared time.Duration
	Keys        KeyOptions
	// Unchecked is a view of the store that does not refuse records that cannot be
	// decoded, for what looks at each by itself; default Store.View.
	Unchecked func(context.Context) record.View
	// Hosts is nil in a process without the control role.
	Hosts Hosts
	// WaitReceived bounds how long a mutation waits for targets; default 10 s.
	WaitReceived time.Duration
}

// Service carries out the use cases. It is safe for concurrent use.
type Service struct {
	Options
	storeReads atomic.Uint64
	clock      clockWatch
	keyWork
	signing  *signingKeys
	accesses *accesses
}

// New returns a Service.
func New(o Options) *Service {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Passed == nil {
		began, now := o.Now(), o.Now
		o.Passed = func() time.Duration { return now().Sub(began) }
	}
	if o.StoreFallback == 0 {
		o.StoreFallback = 500 * time.Millisecond
	}
	if o.EventsFor == 0 {
		o.EventsFor = time.Hour
	}
	if o.WaitCleared == 0 {
		o.WaitCleared = 5 * time.Second
	}
	if o.Formats == nil {
		o.Formats = firstFormats{}
	}
	if o.InheritPerSecond == 0 {
		o.InheritPerSecond = 2000
	}
	if o.WaitReceived == 0 {
		o.WaitReceived = 10 * time.Second
	}
	if o.ExchangeLifetime == 0 {
		o.ExchangeLifetime = DefaultExchangeLifetime
	}
	if o.ExchangeLimit == 0 {
		o.ExchangeLimit = MaxExchangeLifetime
	}
	if o.Observe == nil {
		o.Observe = func(authz.Action, secret.Code, time.Duration) {}
	}
	if o.Peers == nil {
		o.Peers = func() []secret.RegionName { return nil }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Unchecked == nil && o.Store != nil {
		o.Unchecked = o.Store.View
	}
	s := &Service{Options: o, signing: newSigningKeys(), accesses: newAccesses()}
	s.resealRate, s.rewrapRate = o.Keys.resealRate(), o.Keys.rewrapRate()
	return s
}

type firstFormats struct{}

func (firstFormats) Writes(kind string) uint32 { return record.Baseline(kind) }

// StoreReads returns how many reads fell back from the local store to the store.
func (s *Service) StoreReads() uint64 { return s.storeReads.Load() }
