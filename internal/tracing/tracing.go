// Package tracing records how long the steps of requests take, as OpenTelemetry
// spans, and sends them to a receiver over OTLP/HTTP. A span says what was done
// and how it ended; it holds no value, no credential, no text that a caller sent,
// and names only if that is asked for.
//
// The spans of a mutation are: request, plan, commit, and, from what the work item
// carries, apply on each host and clear on the process that clears it. Those of a
// read are request and read, and read store if the local store could not answer.
package tracing

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/lifeboat-secrets/lifeboat/internal/audit"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// exportTimeout bounds one attempt to send spans, closeTimeout what Close waits
// for those that are left.
const (
	exportTimeout = 5 * time.Second
	closeTimeout  = 2 * time.Second
)

// Options of a Tracer. Endpoint is required.
type Options struct {
	// Endpoint is the URL of the receiver, such as https://otel:4318/v1/traces.
	Endpoint string
	// TLS is for https; nil means the authorities of the system.
	TLS *tls.Config
	// Ratio is the part of requests that is traced where the caller does not say
	// by the header traceparent, 0 to 1.
	Ratio float64
	// Names has spans tell the names and IDs of what requests are about.
	Names bool
	// Region, Process and Release describe who sends.
	Region  secret.RegionName
	Process string
	Release string
	// Logger learns when the receiver fails and when it takes spans again.
	Logger *slog.Logger
}

// Tracer records spans. It is safe for concurrent use. It holds at most 2048 that
// are not sent yet; more are dropped, see Stats.
type Tracer struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	format   propagation.TraceContext
	exporter *exporter
	names    bool
}

// New returns a Tracer. It does not connect yet. Close it after use. Errors:
// CodeInvalid for an endpoint that is no URL.
func New(ctx context.Context, o Options) (*Tracer, error) {
	options := []otlptracehttp.Option{
		otlptracehttp.WithEndpointURL(o.Endpoint), otlptracehttp.WithTimeout(exportTimeout),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{}), // a batch that fails is given up: spans must not pile up
	}
	if o.TLS != nil {
		options = append(options, otlptracehttp.WithTLSClientConfig(o.TLS))
	}
	client, err := otlptracehttp.New(ctx, options...)
	if err != nil {
		return nil, secret.Wrap(secret.CodeInvalid, err, "traces cannot be sent there")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	t := &Tracer{exporter: &exporter{next: client, log: o.Logger}, names: o.Names}
	t.provider = sdktrace.NewTracerProvider(
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(o.Ratio))),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "lifeboat"), attribute.String("service.version", o.Release),
			attribute.String("service.instance.id", o.Process), attribute.String("lifeboat.region", string(o.Region)),
		)),
		sdktrace.WithSpanProcessor(counting{t.exporter}),
		sdktrace.WithBatcher(t.exporter, sdktrace.WithBatchTimeout(time.Second)),
	)
	t.tracer = t.provider.Tracer("lifeboat")
	return t, nil
}

// Close sends what is left, within two seconds.
func (t *Tracer) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// Handler has each request be a span, a child of that which the header
// traceparent names. Whoever the request is passed on to gets that header anew.
func (t *Tracer) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := t.format.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		ctx, span := t.tracer.Start(ctx, "request", trace.WithSpanKind(trace.SpanKindServer))
		defer span.End()
		t.format.Inject(ctx, propagation.HeaderCarrier(r.Header))
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// Begin returns what the work item of a mutation carries of the request's trace,
// and a function to tell what came of the request; "" and nil if it is not traced.
func (t *Tracer) Begin(ctx context.Context) (traceparent string, ended func(*audit.Entry)) {
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return "", nil
	}
	carrier := propagation.MapCarrier{}
	t.format.Inject(ctx, carrier)
	return carrier["traceparent"], func(e *audit.Entry) { t.describe(span, e) }
}

// describe has a span say what came of its request.
func (t *Tracer) describe(span trace.Span, e *audit.Entry) {
	span.SetName(e.Action)
	span.SetAttributes(
		attribute.String("lifeboat.request_id", e.RequestID), attribute.String("lifeboat.action", e.Action),
		attribute.String("lifeboat.outcome", outcome(e.Outcome)), attribute.String("lifeboat.resource.kind", e.Resource.Kind),
	)
	if e.ForwardedFor != "" {
		span.SetAttributes(attribute.String("lifeboat.forwarded_for", e.ForwardedFor))
	}
	if t.names {
		span.SetAttributes(
			attribute.String("lifeboat.resource.name", e.Resource.Name), attribute.String("lifeboat.resource.id", e.Resource.ID),
			attribute.String("lifeboat.vault.id", string(e.Resource.Vault)), attribute.String("lifeboat.principal.name", e.PrincipalName),
		)
	}
	fail(span, e.Outcome)
}

// outcome is the code of an error, or ok.
func outcome(code secret.Code) string {
	if code == "" {
		return "ok"
	}
	return string(code)
}

// fail marks a span as failed. It says the code only: messages may name things.
func fail(span trace.Span, code secret.Code) {
	if code != "" {
		span.SetStatus(codes.Error, string(code))
	}
}

// Step begins a step of the request that ctx belongs to; end ends it.
func (t *Tracer) Step(ctx context.Context, name string) (_ context.Context, end func(error)) {
	if !trace.SpanFromContext(ctx).IsRecording() {
		return ctx, func(error) {}
	}
	ctx, span := t.tracer.Start(ctx, name)
	return ctx, func(err error) {
		fail(span, secret.CodeOf(err))
		span.End()
	}
}

// Record records a step that is over, of the request whose trace the work item
// carries.
func (t *Tracer) Record(name, traceparent string, began, ended time.Time) {
	if traceparent == "" {
		return
	}
	ctx := t.format.Extract(context.Background(), propagation.MapCarrier{"traceparent": traceparent})
	_, span := t.tracer.Start(ctx, name, trace.WithTimestamp(began))
	span.End(trace.WithTimestamp(ended))
}
