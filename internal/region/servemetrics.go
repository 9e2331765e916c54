package region

import (
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lifeboat-secrets/lifeboat/internal/audit"
	"github.com/lifeboat-secrets/lifeboat/internal/keycache"
	"github.com/lifeboat-secrets/lifeboat/internal/keyring"
	"github.com/lifeboat-secrets/lifeboat/internal/replica"
)

// copyState is what a scrape reads of the local store.
type copyState struct {
	replica.Position
	bytes   int64
	retries int
}

func (p *Process) localStoreMetrics() prometheus.Collector {
	s := newReadings("local_store", func() copyState {
		state := copyState{Position: p.local.Position(), retries: p.retries.waiting()}
		if info, err := os.Stat(p.path(localStoreName)); err == nil {
			state.bytes = info.Size()
		}
		return state
	})
	s.gauge("applied_revision", "Revision of the store that the local store has applied.", func(c copyState) float64 { return float64(c.Applied) })
	s.gauge("age_seconds", "How long ago the local store was known to be up to date; 0 while it follows the store.", func(c copyState) float64 { return c.Age.Seconds() })
	s.gauge("connected", "1 while the change feed is followed.", func(c copyState) float64 { return truth(c.Connected) })
	s.gauge("synced", "1 if the local store is a complete copy.", func(c copyState) float64 { return truth(c.Synced) })
	s.gauge("records", "Records in the local store.", func(c copyState) float64 { return float64(c.Records) })
	s.gauge("size_bytes", "Size of the local store's file.", func(c copyState) float64 { return float64(c.bytes) })
	s.gauge("quarantined_records", "Records that could not be applied.", func(c copyState) float64 { return float64(c.Quarantined) })
	s.gauge("waiting_retries", "Records taken out of quarantine that were not tried again yet.", func(c copyState) float64 { return float64(c.retries) })
	s.counter("resyncs_total", "Comparisons of the local store with the whole store.", func(c copyState) uint64 { return c.Resyncs })
	s.counter("rebuilds_total", "Damaged local stores moved aside and built anew.", func(c copyState) uint64 { return c.Rebuilds })
	s.counter("scrubs_total", "Complete background checks of the file.", func(c copyState) uint64 { return c.Scrubs })
	s.counter("corruptions_found_total", "Reads of records that failed their checksum.", func(c copyState) uint64 { return c.CorruptionsFound })
	s.counter("corruptions_mended_total", "Records replaced from the store because of that.", func(c copyState) uint64 { return c.CorruptionsMended })
	return s
}

func (p *Process) auditMetrics() prometheus.Collector {
	s := newReadings("audit", p.audit.Stats)
	s.gauge("ready", "1 while the audit log takes lines; 0 means that requests are refused.", func(audit.Stats) float64 { return truth(p.audit.Ready() == nil) })
	s.gauge("backlog_lines", "Lines of committed mutations that wait in memory because no file takes them.", func(a audit.Stats) float64 { return float64(a.Backlog) })
	s.counter("lines_total", "Audit lines written.", func(a audit.Stats) uint64 { return a.Lines })
	s.counter("fallback_lines_total", "Audit lines that the second file took because the first did not.", func(a audit.Stats) uint64 { return a.Fallback })
	s.counter("lost_lines_total", "Lines of committed mutations that found the backlog full.", func(a audit.Stats) uint64 { return a.Lost })
	s.counter("refused_requests_total", "Requests refused because they could not be audited.", func(a audit.Stats) uint64 { return a.Refused })
	s.counter("write_errors_total", "Failed writes of audit files.", func(a audit.Stats) uint64 { return a.WriteErrors })
	s.counter("sync_errors_total", "Failed synchronisations of audit files with the disk.", func(a audit.Stats) uint64 { return a.SyncErrors })
	return s
}

// keyState is what a scrape reads of the keyring.
type keyState struct {
	keyring.Stats
	keyring.Health
}

func (s keyState) failingFor() time.Duration {
	if s.OK() {
		return 0
	}
	return time.Since(s.FailingSince)
}

func (p *Process) keyMetrics() prometheus.Collector {
	s := newReadings("keyring", func() keyState { return keyState{p.keyring.Stats(), p.keyring.Health()} })
	s.counter("hits_total", "Uses of a cached data key.", func(k keyState) uint64 { return k.Hits })
	s.counter("misses_total", "Uses of a data key that had to wait for the key service.", func(k keyState) uint64 { return k.Misses })
	s.counter("stale_uses_total", "Uses of a data key past its lifetime while the key service was away.", func(k keyState) uint64 { return k.StaleServes })
	s.counter("unwraps_total", "Data keys that the key service was asked to unwrap.", func(k keyState) uint64 { return k.Unwraps })
	s.counter("failures_total", "Those of them that it did not unwrap.", func(k keyState) uint64 { return k.Failures })
	s.gauge("cached_keys", "Data keys in the cache.", func(k keyState) float64 { return float64(k.Cached) })
	s.gauge("most_seals", "Highest number of seals of one generation of a data key by this process.", func(k keyState) float64 { return float64(k.MostSeals) })
	s.gauge("key_service_healthy", "1 if the last call of the key service succeeded or none was made; it is checked each half minute.", func(k keyState) float64 { return truth(k.OK()) })
	s.gauge("key_service_failing_seconds", "How long the key service has been failing; 0 while it is well.", func(k keyState) float64 { return k.failingFor().Seconds() })
	s.gauge("key_service_last_success_timestamp_seconds", "When a call of the key service last succeeded; 0 for never.", func(k keyState) float64 { return unixSeconds(k.LastSuccess) })
	return s
}

func (p *Process) keyCacheMetrics() prometheus.Collector {
	s := newReadings("sealed_key_cache", p.keyCache.Status)
	s.gauge("entries", "Data keys in the sealed key cache; 0 without one.", func(k keycache.Status) float64 { return float64(k.Entries) })
	s.gauge("age_seconds", "How long ago the key service unwrapped the oldest of them.", func(k keycache.Status) float64 { return age(k.Oldest) })
	s.counter("hits_total", "Data keys that were taken from the sealed key cache, as the key service did not answer.", func(k keycache.Status) uint64 { return k.Hits })
	s.counter("evicted_total", "Data keys that had to make room in it.", func(k keycache.Status) uint64 { return k.Evicted })
	s.gauge("usable", "0 if the file of the sealed key cache cannot be used or written or all of it is too old; 1 otherwise, also without one.", func(k keycache.Status) float64 { return truth(k.Err == nil) })
	return s
}

// certificateMetrics tell when certificates expire.
func (p *Process) certificateMetrics() prometheus.Collector {
	s := newReadings("certificate", func() struct{} { return struct{}{} })
	s.gauge("expiry_timestamp_seconds", "When the front door's certificate expires.", func(struct{}) float64 { return unixSeconds(p.serverCert.NotAfter()) })
	s.gauge("peer_expiry_timestamp_seconds", "When the certificate for the other processes of the region expires; 0 if there is none.", func(struct{}) float64 {
		if p.peerCert == nil {
			return 0
		}
		return unixSeconds(p.peerCert.NotAfter())
	})
	s.gauge("peer_authority_expiry_timestamp_seconds", "When the last of the authorities of those certificates expires; 0 if there are none.", func(struct{}) float64 {
		if p.peerCert == nil {
			return 0
		}
		return unixSeconds(p.peerCert.AuthoritiesNotAfter())
	})
	s.gauge("usable", "1 unless changed certificate files cannot be used, so that old ones are.", func(struct{}) float64 {
		return truth(p.serverCert.Err() == nil && (p.peerCert == nil || p.peerCert.Err() == nil))
	})
	return s
}

func (p *Process) registerCaches(r *prometheus.Registry) {
	gauge(r, "credentials_age_seconds", "Age of what this process knows of credentials, of which revocations are a part.", func() float64 { return p.Age().Seconds() })
	gauge(r, "credentials_max_age_seconds", "Age from which it no longer accepts credentials by its copy.", func() float64 { return p.config.Credentials.MaxAgeWhenCutOff.Seconds() })
	gauge(r, "credentials_break_glass", "1 while an operator has suspended that limit.", func() float64 { return truth(p.breakGlass.Load()) })
	authn := func() (hits, misses uint64) { return p.authn.Counts() }
	authz := func() (hits, misses uint64) { return p.authz.Counts() }
	counter(r, "authn_cache_hits_total", "Credentials that were found decoded.", first(authn))
	counter(r, "authn_cache_misses_total", "Credentials that had to be decoded.", second(authn))
	counter(r, "authz_cache_hits_total", "Decisions for which the account's policies were found parsed.", first(authz))
	counter(r, "authz_cache_misses_total", "Times that an account's policies were read and parsed.", second(authz))
	counter(r, "store_fallback_reads_total", "Reads that the local store could not answer.", func() float64 { return float64(p.service.StoreReads()) })
	gauge(r, "watch_subscriptions", "Watches that receive events.", func() float64 {
		n, _ := p.events.Counts()
		return float64(n)
	})
	counter(r, "watch_dropped_total", "Watches that were made to resume, because they were slow or events came out of order.", func() float64 {
		_, n := p.events.Counts()
		return float64(n)
	})
}

func (p *Process) registerRouter(r *prometheus.Registry) {
	counter(r, "router_forwarded_requests_total", "Requests that a control process answered.", first(p.forward.Counts))
	counter(r, "router_failed_requests_total", "Requests that reached no control process.", second(p.forward.Counts))
}

func first(counts func() (uint64, uint64)) func() float64 {
	return func() float64 { n, _ := counts(); return float64(n) }
}

func second(counts func() (uint64, uint64)) func() float64 {
	return func() float64 { _, n := counts(); return float64(n) }
}
