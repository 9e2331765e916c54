package region

import (
	"cmp"
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/store"
)

// storeMetrics describe the store as this process sees it.
var storeMetrics = struct {
	up, revision, alarm, memberUp, leader, database, inUse, quota *prometheus.Desc
	compacted, compactions, defragmentations, maintenanceFailures *prometheus.Desc
}{
	up:                  storeDesc("up", "1 if the store answered a linearizable read during the scrape."),
	revision:            storeDesc("revision", "Latest revision of the store; absent while it does not answer."),
	alarm:               storeDesc("alarm", "1 while the alarm is on: no_space (full), corrupt (members hold different data).", "alarm"),
	memberUp:            storeDesc("member_up", "1 if the member answered; a process sees its embedded member, or the endpoints that it dials.", "member"),
	leader:              storeDesc("member_leader", "1 if the member is the leader.", "member"),
	database:            storeDesc("database_size_bytes", "Size of the member's database, which the quota bounds.", "member"),
	inUse:               storeDesc("database_in_use_bytes", "The part of the database that is not free pages.", "member"),
	quota:               storeDesc("database_quota_bytes", "Size at which the member refuses mutations; 0 if it does not tell.", "member"),
	compacted:           storeDesc("compacted_revision", "Revision up to which this process last dropped history; 0 if it has dropped none."),
	compactions:         storeDesc("compactions_total", "Times that this process dropped history."),
	defragmentations:    storeDesc("defragmentations_total", "Members' databases that this process rewrote to make room."),
	maintenanceFailures: storeDesc("maintenance_failures_total", "Rounds of maintenance that failed in part; they are repeated."),
}

func storeDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("lifeboat_store_"+name, help, labels, nil)
}

// scrapeTimeout bounds what a scrape waits for the store.
const scrapeTimeout = 2 * time.Second

// storeCollector asks the store how it is, once for each scrape.
type storeCollector struct{ store *lateStore }

// Describe implements prometheus.Collector.
func (c storeCollector) Describe(into chan<- *prometheus.Desc) {
	m := &storeMetrics
	for _, d := range []*prometheus.Desc{
		m.up, m.revision, m.alarm, m.memberUp, m.leader, m.database, m.inUse, m.quota,
		m.compacted, m.compactions, m.defragmentations, m.maintenanceFailures,
	} {
		into <- d
	}
	c.store.commits.Describe(into)
	c.store.commitTime.Describe(into)
}

// Collect implements prometheus.Collector.
func (c storeCollector) Collect(into chan<- prometheus.Metric) {
	c.store.commits.Collect(into)
	c.store.commitTime.Collect(into)
	m := &storeMetrics
	send := func(d *prometheus.Desc, value float64, labels ...string) {
		into <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	shard, err := c.store.get()
	if err != nil {
		send(m.up, 0)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	h := shard.Health(ctx)
	send(m.up, truth(h.Err == nil))
	if h.Err == nil {
		send(m.revision, float64(h.Revision))
	}
	send(m.alarm, truth(h.NoSpace), "no_space")
	send(m.alarm, truth(h.Corrupt), "corrupt")
	for _, member := range h.Members {
		name := cmp.Or(member.Endpoint, "embedded")
		send(m.memberUp, truth(member.Err == nil), name)
		if member.Err == nil {
			send(m.leader, truth(member.Leader), name)
			send(m.database, float64(member.DatabaseBytes), name)
			send(m.inUse, float64(member.InUseBytes), name)
			send(m.quota, float64(member.QuotaBytes), name)
		}
	}
	collectMaintenance(into, shard.MaintenanceStats())
}

func collectMaintenance(into chan<- prometheus.Metric, s store.MaintenanceStats) {
	m := &storeMetrics
	into <- prometheus.MustNewConstMetric(m.compacted, prometheus.GaugeValue, float64(s.CompactedRevision))
	for desc, n := range map[*prometheus.Desc]uint64{
		m.compactions: s.Compactions, m.defragmentations: s.Defragmentations, m.maintenanceFailures: s.Failures,
	} {
		into <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n))
	}
}

// commitMetrics count transactions of callers by outcome.
type commitMetrics struct {
	commits    *prometheus.CounterVec
	commitTime prometheus.Histogram
}

func newCommitMetrics() commitMetrics {
	m := commitMetrics{
		commits: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lifeboat_store_commits_total", Help: "Transactions by outcome: ok, or the code of the error; stale ones are planned again.",
		}, []string{"outcome"}),
		commitTime: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "lifeboat_store_commit_duration_seconds", Buckets: requestBuckets,
			Help: "Time that the store took for a transaction, whatever its outcome.",
		}),
	}
	m.commits.WithLabelValues("ok")
	for _, code := range secret.Codes() {
		m.commits.WithLabelValues(string(code))
	}
	return m
}

// committed counts one transaction.
func (m commitMetrics) committed(began time.Time, err error) {
	m.commitTime.Observe(time.Since(began).Seconds())
	m.commits.WithLabelValues(cmp.Or(string(secret.CodeOf(err)), "ok")).Inc()
}
