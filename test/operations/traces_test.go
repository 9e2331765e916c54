package operations_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

// receiver takes spans over OTLP/HTTP.
type receiver struct {
	*httptest.Server
	mu    sync.Mutex
	raw   bytes.Buffer
	spans []span
	down  bool
	t     *testing.T
}

// span is one that arrived, and the process that sent it.
type span struct {
	*tracepb.Span
	process string
}

func startReceiver(t *testing.T) *receiver {
	r := &receiver{t: t}
	r.Server = httptest.NewServer(http.HandlerFunc(r.take))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) take(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down {
		http.Error(w, "down", http.StatusServiceUnavailable)
		return
	}
	var message collector.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(body, &message)
	}
	if err != nil || request.Header.Get("Content-Type") != "application/x-protobuf" {
		r.t.Errorf("what arrived cannot be decoded: %v", err)
	}
	r.raw.Write(body)
	for _, of := range message.GetResourceSpans() {
		process := ""
		for _, a := range of.GetResource().GetAttributes() {
			if a.GetKey() == "service.instance.id" {
				process = a.GetValue().GetStringValue()
			}
		}
		for _, scope := range of.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				r.spans = append(r.spans, span{s, process})
			}
		}
	}
}

// of returns the spans of a trace.
func (r *receiver) of(traceID string) (found []span) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.spans {
		if hex.EncodeToString(s.GetTraceId()) == traceID {
			found = append(found, s)
		}
	}
	return found
}

func (r *receiver) setDown(down bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = down
}

// has returns the span of a process with a name.
func has(spans []span, process, name string) (span, bool) {
	i := slices.IndexFunc(spans, func(s span) bool { return s.process == process && s.GetName() == name })
	if i < 0 {
		return span{}, false
	}
	return spans[i], true
}

func attribute(s span, key string) string {
	for _, a := range s.GetAttributes() {
		if a.GetKey() == key {
			return a.GetValue().GetStringValue()
		}
	}
	return ""
}

// traced adds the header that asks for a trace.
func traced[T any](m *T, traceID string) *connect.Request[T] {
	r := connect.NewRequest(m)
	r.Header().Set("traceparent", "00-"+traceID+"-00f067aa0ba902b7-01")
	return r
}

func traceID(n int) string { return fmt.Sprintf("%032x", 0xabc000+n) }

func TestTraces(t *testing.T) {
	t.Parallel()
	otlp := startReceiver(t)
	r := lifeboattest.Start(t, lifeboattest.Options{Hosts: 1, Configure: func(_ string, c *config.Config) {
		c.Traces = config.Traces{OTLPEndpoint: otlp.URL + "/v1/traces", SampleRatio: 0}
	}})
	a, err := r.NewAccount(t.Context(), "canary-account-91c2")
	must(t, err)
	host := r.Host(0)
	c := a.Client(host)
	const value, description, name = "canary-value-91c2", "canary-description-91c2", "canary-name-91c2"

	_, err = c.CreateSecret(t.Context(), traced(&lifeboatv1.CreateSecretRequest{
		Vault: a.Vault, Name: name, Value: []byte(value), Description: description, Wait: lifeboatv1.Wait_WAIT_CLEARED,
	}, traceID(1)))
	must(t, err)
	_, err = c.GetSecretValue(t.Context(), traced(&lifeboatv1.GetSecretValueRequest{Vault: a.Vault, Secret: name}, traceID(2)))
	must(t, err)
	_, err = c.GetSecretValue(t.Context(), traced(&lifeboatv1.GetSecretValueRequest{Vault: a.Vault, Secret: name + "-missing"}, traceID(3)))
	if err == nil {
		t.Fatal("a secret that is not there was read")
	}
	_, err = c.GetSecretValue(t.Context(), connect.NewRequest(&lifeboatv1.GetSecretValueRequest{Vault: a.Vault, Secret: name}))
	must(t, err)

	checkWrite(t, otlp)
	checkReads(t, otlp)
	otlp.mu.Lock()
	sent := otlp.raw.String()
	others := len(otlp.spans) - len(otlp.spansOf(1, 2, 3))
	otlp.mu.Unlock()
	if others != 0 {
		t.Errorf("%d spans are of requests that nobody asked to trace", others)
	}
	for _, canary := range []string{value, description, name, c.Token, strings.Split(c.Token, "_")[2], a.Vault, "admin"} {
		if strings.Contains(sent, canary) {
			t.Errorf("spans hold %q", canary)
		}
	}
}

// spansOf is of without the lock, for several traces.
func (r *receiver) spansOf(traces ...int) (found []span) {
	for _, s := range r.spans {
		if slices.ContainsFunc(traces, func(n int) bool { return hex.EncodeToString(s.GetTraceId()) == traceID(n) }) {
			found = append(found, s)
		}
	}
	return found
}

// checkWrite checks that a mutation's spans, from two processes, hang together.
func checkWrite(t *testing.T, otlp *receiver) {
	t.Helper()
	type place struct{ process, name, parent string }
	want := []place{
		{"host-1", "request", ""},
		{"control-1", "CreateSecret", "request"},
		{"control-1", "plan", "CreateSecret"},
		{"control-1", "commit", "CreateSecret"},
		{"control-1", "wait cleared", "CreateSecret"},
		{"control-1", "clear", "CreateSecret"},
		{"control-1", "apply", "CreateSecret"},
		{"host-1", "apply", "CreateSecret"},
	}
	eventually(t, "all spans of the mutation arrive", func() bool { return len(otlp.of(traceID(1))) >= len(want) })
	spans := otlp.of(traceID(1))
	for _, w := range want {
		s, ok := has(spans, w.process, w.name)
		if !ok {
			t.Errorf("%s sent no span %s", w.process, w.name)
			continue
		}
		parent := "00f067aa0ba902b7"
		for _, p := range spans {
			if w.parent != "" && p.GetName() == w.parent {
				parent = hex.EncodeToString(p.GetSpanId())
			}
		}
		if got := hex.EncodeToString(s.GetParentSpanId()); got != parent {
			t.Errorf("the parent of %s of %s is %s, not %s (%s)", w.name, w.process, got, parent, w.parent)
		}
		if s.GetEndTimeUnixNano() < s.GetStartTimeUnixNano() {
			t.Errorf("%s ends before it begins", w.name)
		}
	}
	if s, _ := has(spans, "control-1", "CreateSecret"); attribute(s, "lifeboat.outcome") != "ok" || attribute(s, "lifeboat.forwarded_for") != "host-1" {
		t.Errorf("the request says %v", s.GetAttributes())
	}
}

func checkReads(t *testing.T, otlp *receiver) {
	t.Helper()
	eventually(t, "all spans of the reads arrive", func() bool { return len(otlp.of(traceID(2))) >= 2 && len(otlp.of(traceID(3))) >= 3 })
	for _, name := range []string{"GetSecretValue", "read"} {
		if _, ok := has(otlp.of(traceID(2)), "host-1", name); !ok {
			t.Errorf("the read has no span %s", name)
		}
	}
	failed := otlp.of(traceID(3))
	s, _ := has(failed, "host-1", "GetSecretValue")
	if s.GetStatus().GetCode() != tracepb.Status_STATUS_CODE_ERROR || s.GetStatus().GetMessage() != "not_found" {
		t.Errorf("a failed read has the status %v", s.GetStatus())
	}
	if _, ok := has(failed, "host-1", "read store"); !ok {
		t.Error("a read that falls back to the store has no span for that")
	}
}

// Names are told if the operator wants that, and a receiver that is away holds up
// nobody.
func TestTracesWithNames(t *testing.T) {
	t.Parallel()
	otlp := startReceiver(t)
	r := lifeboattest.Start(t, lifeboattest.Options{Configure: func(_ string, c *config.Config) {
		c.Traces = config.Traces{OTLPEndpoint: otlp.URL + "/v1/traces", SampleRatio: 1, Names: true}
	}})
	otlp.setDown(true)
	a := r.Account()
	c := a.Client(r.Control())
	_, err := c.CreateSecret(t.Context(), connect.NewRequest(&lifeboatv1.CreateSecretRequest{Vault: a.Vault, Name: "db/password", Value: []byte("v")}))
	must(t, err)
	eventually(t, "spans fail to be sent", func() bool {
		v, _ := scrape(t, r.Control()).value("lifeboat_traces_failed_spans_total")
		return v > 0
	})
	otlp.setDown(false)
	_, err = c.GetSecretValue(t.Context(), traced(&lifeboatv1.GetSecretValueRequest{Vault: a.Vault, Secret: "db/password"}, traceID(1)))
	must(t, err)
	eventually(t, "spans are sent again", func() bool {
		s, ok := has(otlp.of(traceID(1)), "control-1", "GetSecretValue")
		return ok && attribute(s, "lifeboat.resource.name") == "db/password"
	})
	eventually(t, "spans are counted as sent", func() bool { // after the answer to what brought them
		v, _ := scrape(t, r.Control()).value("lifeboat_traces_sent_spans_total")
		return v > 0
	})
}
