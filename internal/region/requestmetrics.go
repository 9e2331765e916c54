package region

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// requestMetrics count requests by action and outcome. All series are made at
// start, so that counting takes no lock that requests share.
type requestMetrics struct {
	requests map[authz.Action]map[secret.Code]prometheus.Counter
	duration map[authz.Action]prometheus.Observer
	other    map[secret.Code]prometheus.Counter

	requestsVec, otherVec *prometheus.CounterVec
	durationVec           *prometheus.HistogramVec
}

// requestBuckets reach from a read of a warm cache to a timeout.
var requestBuckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

func newRequestMetrics() *requestMetrics {
	m := &requestMetrics{
		requests: make(map[authz.Action]map[secret.Code]prometheus.Counter),
		duration: make(map[authz.Action]prometheus.Observer),
		other:    make(map[secret.Code]prometheus.Counter),
		requestsVec: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lifeboat_requests_total", Help: "Requests by action and outcome; outcome is ok or the code of the error.",
		}, []string{"action", "outcome"}),
		durationVec: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "lifeboat_request_duration_seconds", Help: "Time from arrival to the audit line, by action.",
			Buckets: requestBuckets,
		}, []string{"action"}),
		otherVec: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lifeboat_requests_other_total", Help: "Requests that no policy decides on, by outcome: malformed and refused ones, WhoAmI, the sweep.",
		}, []string{"outcome"}),
	}
	m.other[""] = m.otherVec.WithLabelValues("ok")
	for _, code := range secret.Codes() {
		m.other[code] = m.otherVec.WithLabelValues(string(code))
	}
	for _, action := range authz.Actions() {
		m.duration[action] = m.durationVec.WithLabelValues(string(action))
		byCode := map[secret.Code]prometheus.Counter{"": m.requestsVec.WithLabelValues(string(action), "ok")}
		for _, code := range secret.Codes() {
			byCode[code] = m.requestsVec.WithLabelValues(string(action), string(code))
		}
		m.requests[action] = byCode
	}
	return m
}

func (m *requestMetrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.requestsVec, m.durationVec, m.otherVec}
}

// observe counts one request.
func (m *requestMetrics) observe(action authz.Action, outcome secret.Code, took time.Duration) {
	counter, ok := m.requests[action][outcome]
	if !ok {
		if counter, ok = m.other[outcome]; ok {
			counter.Inc()
		}
		return
	}
	counter.Inc()
	m.duration[action].Observe(took.Seconds())
}
