package region

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/audit"
	"github.com/lifeboat-secrets/lifeboat/internal/authn"
	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/keyring"
	"github.com/lifeboat-secrets/lifeboat/internal/pki"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/replica"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
	"github.com/lifeboat-secrets/lifeboat/internal/throttle"
)

func (p *Process) startCertificates(context.Context) (err error) {
	t := p.config.TLS
	p.serverCert, err = pki.NewReloader(pki.ReloaderOptions{CertFile: t.CertFile, KeyFile: t.KeyFile, OnError: p.unusableFiles, Every: p.certificatesEvery})
	if err != nil {
		return err
	}
	if t.Peer != (config.PeerTLS{}) {
		p.peerCert, err = pki.NewReloader(pki.ReloaderOptions{
			CertFile: t.Peer.CertFile, KeyFile: t.Peer.KeyFile, CAFile: t.Peer.CAFile, OnError: p.unusableFiles, Every: p.certificatesEvery,
		})
		if err == nil {
			err = p.checkPeerName()
		}
	}
	return err
}

// unusableFiles is told of certificate files that changed and cannot be used.
func (p *Process) unusableFiles(err error) {
	p.log.Error("changed certificates cannot be used; the old ones stay", "error", err)
}

// checkPeerName refuses to start with the certificate of another process: control
// processes would not believe this one's reports.
func (p *Process) checkPeerName() error {
	cert, err := p.peerCert.GetCertificate(nil)
	if err != nil {
		return err
	}
	want := pki.Identity{Region: p.config.Region.Name, Process: p.config.Process.ID}
	if found, err := pki.IdentityOf(cert.Leaf); err != nil || found != want {
		return secret.Invalid("tls.peer.cert_file", "is not the certificate of this process").
			WithHint("it needs the URI " + want.URI().String())
	}
	return nil
}

func (p *Process) startAudit(context.Context) (err error) {
	p.audit, err = audit.Open(audit.Options{
		Paths: p.config.Audit.Paths, Sync: audit.Sync(p.config.Audit.Sync),
		Region: p.config.Region.Name, Process: p.config.Process.ID, Logger: p.log,
	})
	if err != nil {
		return err
	}
	p.onClose(p.audit.Close)
	return nil
}

func (p *Process) startKeys(ctx context.Context) error {
	if err := p.openKeyCache(); err != nil {
		return err
	}
	wrapper, err := OpenKeyService(ctx, &p.config.KMS)
	if err != nil {
		if wrapper, err = p.withoutKeyService(err); err != nil {
			return err
		}
	}
	p.kms = wrapper
	p.onClose(wrapper.Close)
	if d := wrapper.Describe(); !d.Production {
		p.log.Warn("the key service driver is not for production: whoever reads its file can read every secret", "driver", d.Driver)
	}
	stale := p.config.KMS.StaleFor
	if stale == 0 {
		stale = -1 // the keyring's word for none
	}
	p.keyring = keyring.New(keyring.Options{Wrapper: wrapper, CacheFor: p.config.KMS.CacheFor, StaleFor: stale, Sealed: p.keyCache, Now: p.now})
	p.onClose(p.keyring.Close)
	return nil
}

// startLocalStore opens the local store and the caches of identities, which its
// changes keep fresh.
func (p *Process) startLocalStore(ctx context.Context) (err error) {
	p.authz = authz.New(authz.Options{})
	p.newIssuers()
	p.authn, err = authn.New(authn.Options{
		MaxAge: p.config.Credentials.MaxAgeWhenCutOff, Age: p.Age, BreakGlass: p.breakGlass.Load,
		Digest: p.digest, LacksKey: p.keysOf.asks.Ask,
	})
	if err != nil {
		return err
	}
	p.local, err = replica.Open(replica.Options{
		Path: p.path(localStoreName), Source: p.store, Logger: p.log.With("part", "local store"), OnApply: p.applied, OnResync: p.resynced,
		Admit: p.gate.Admit, Now: p.clock,
		// Beside a member of the store, which has everything on the same disk, the
		// copy need not survive a loss of power: it is built anew. Waiting for the
		// disk here would only make the store's own writes wait.
		NoSync: p.config.Process.Has(config.Store),
	})
	if err != nil {
		return err
	}
	p.seenLife = string(p.local.Position().Incarnation)
	p.onClose(p.local.Close)
	if err := p.keyCache.SetIncarnation(p.local.Position().Incarnation); err != nil {
		return err
	}
	if err := p.local.View(p.gate.Load); err != nil {
		p.log.Warn("the formats in the local copy cannot be read yet", "error", err)
	}
	return nil
}

// applied is called with what the local store applied.
func (p *Process) applied(changes []record.Change) {
	p.noteApplied(changes)
	p.authn.Changed(changes)
	p.authz.Changed(changes)
	p.gate.Changed(changes)
	if resyncs := p.local.Position().Resyncs; resyncs != p.resyncs {
		p.resyncs = resyncs
		p.events.Reset() // what is compared now does not show events that are gone
	}
	p.events.Changed(changes)
	if p.pipeline != nil {
		if err := p.outbound.Changed(changes); err != nil {
			p.log.Error("it is not known where the secrets of a vault go", "error", err)
		}
		p.pipeline.Changed(changes)
		p.rotation.Changed(changes)
	}
	for _, c := range changes {
		if c.Key == record.RegionKey && p.newLife(c) {
			p.authz.Reset() // a new life of the store counts its revisions anew
			p.events.Reset()
			p.keyring.ForgetAll()
			if err := p.keyCache.SetIncarnation(secret.Incarnation(p.seenLife)); err != nil {
				p.log.Error("the sealed key cache does not keep the keys of this life", "error", err)
			}
		}
		if c.Deleted && c.Key.HasPrefix(record.DataKeyPrefix) {
			p.keyring.Deleted(c.Key)
		}
		p.keyWork.changed(c.Key)
		if c.Deleted && c.Key == record.HostKey(p.config.Process.ID) {
			p.enrolled.Store(false)
		}
		if c.Deleted && c.Key.HasPrefix(record.QuarantinePrefix) {
			p.retries.add(c.Key[len(record.QuarantinePrefix):])
		}
	}
}

// newLife reports whether the region's record is of another life than the last
// one: it also changes when the region's master key is rotated.
func (p *Process) newLife(c record.Change) bool {
	incarnation, err := record.IncarnationOf(c.Value)
	if err != nil || c.Deleted {
		incarnation = ""
	}
	same := incarnation != "" && string(incarnation) == p.seenLife
	p.seenLife = string(incarnation)
	if !same {
		p.currency.forget()
	}
	return !same
}

// resynced is called when the local store has been compared with the whole store.
func (p *Process) resynced() {
	p.enrolled.Store(false)
	if err := p.local.View(p.gate.Load); err != nil {
		p.log.Warn("the formats in the local copy cannot be read yet", "error", err)
	}
	select {
	case p.reload <- struct{}{}:
	default:
	}
}

// Age implements service.LocalStore together with View.
func (p *Process) Age() time.Duration {
	if p.local == nil {
		return 0
	}
	return p.local.Age()
}

// View implements service.LocalStore: a copy that is not complete yet is
// CodeUnavailable, so that nothing is taken for missing that is only late, and so
// is that of a host that nobody waits for.
func (p *Process) View(fn func(record.View) error) error {
	if p.enrolled.Load() {
		return p.synced(fn)
	}
	return p.synced(func(view record.View) error {
		if enrolled, err := p.enrolledIn(view); err != nil {
			return err
		} else if !enrolled {
			return errNotEnrolled
		}
		return fn(view)
	})
}

// synced calls fn with the local copy if it is complete. The file may be replaced
// by an empty one in between, so it is asked again.
func (p *Process) synced(fn func(record.View) error) error {
	if !p.local.Synced() {
		return errIncomplete
	}
	err := p.local.View(fn)
	if !p.local.Synced() {
		return errIncomplete
	}
	return err
}

func (p *Process) startService(context.Context) (err error) {
	limits := p.config.Limits
	p.limiter, err = throttle.New(throttle.Options{
		MaxConcurrent: limits.MaxConcurrentRequests, MaxWatches: limits.MaxWatches, PerAccount: rate(limits.PerAccount), PerVault: rate(limits.PerVault),
	})
	if err != nil {
		return err
	}
	options := service.Options{
		Region: p.config.Region.Name, Store: p.records(), Formats: p.gate, Local: p, Keyring: p.keyring, Authenticator: p.authn, Authorizer: p.authz,
		ReplicaAge: p.currency.age, Audit: p.audit, Events: p.events, Throttle: p.limiter, Observe: p.requests.observe, Logger: p.log, Now: p.clock,
		Boot: boot, StoreFallback: p.config.Reads.StoreFallbackTimeout, WaitCleared: p.config.Reads.WaitClearedTimeout, Keys: p.keyOptions(), Unchecked: p.store.View,
		ExchangeLifetime: p.config.Credentials.ExchangeLifetime, ExchangeLimit: p.config.Credentials.ExchangeLimit,
	}
	if p.keysOf.keeper != nil {
		options.IssuerKeys = p.keysOf.keeper
	}
	if p.isControl() {
		p.newPipeline()
		options.Clearing, options.Hosts = clearing{p}, p.pipeline
		options.Replication, options.Peers = received{p}, p.peerNames
		options.Survivors, options.PeersAsked, options.Unanswered = survivors{p}, p.peersAsked, p.unanswered
		options.Handovers = handovers{p}
	}
	if p.tracer != nil {
		options.Tracer = p.tracer
	}
	p.service = service.New(options)
	return nil
}

func rate(r config.Rate) throttle.Rate {
	return throttle.Rate{PerSecond: r.RequestsPerSecond, Burst: r.Burst}
}

// clearing waits until the hosts have a mutation and so has this process's own
// copy, by which the caller's next request may be judged.
type clearing struct{ p *Process }

// WaitCleared implements service.Clearing.
func (c clearing) WaitCleared(ctx context.Context, key record.Key, revision int64) error {
	// The copy first: it tells the pipeline in which life of the store the revision is.
	if err := c.p.local.WaitApplied(ctx, revision); err != nil {
		return err
	}
	return c.p.pipeline.WaitCleared(ctx, key, revision)
}

func (p *Process) isControl() bool { return p.config.Process.Has(config.Control) }
func (p *Process) isHost() bool    { return p.config.Process.Has(config.Host) }

// Initialize makes a region out of an empty store.
func (p *Process) Initialize(ctx context.Context) (service.Initialized, error) {
	return service.Initialize(ctx, p.records(), p.keyring, p.config.Region.Name, p.clock())
}

// checkKeys reports whether the key service holds the region's master key.
func (p *Process) checkKeys(ctx context.Context) error {
	return p.synced(func(view record.View) error {
		region, err := service.RegionRecord(view)
		if err != nil {
			return err
		}
		if region.GetName() != string(p.config.Region.Name) {
			return errors.New("the store belongs to the region " + region.GetName())
		}
		return p.keyring.Check(ctx, region)
	})
}

// localStoreName is the file of the local store in the data directory.
const localStoreName = "local.db"

func storeDir(c *config.Config) string { return filepath.Join(c.Process.DataDir, "store") }
