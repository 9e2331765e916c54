package tracing

import (
	"context"
	"log/slog"
	"sync/atomic"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// Stats count spans since New. Those that ended and were neither sent nor failed
// wait to be sent, or were dropped because too many did.
type Stats struct{ Ended, Sent, Failed uint64 }

// Stats returns the counts.
func (t *Tracer) Stats() Stats {
	e := t.exporter
	return Stats{Ended: e.ended.Load(), Sent: e.sent.Load(), Failed: e.failed.Load()}
}

// exporter counts what is sent and says when the receiver fails.
type exporter struct {
	next sdktrace.SpanExporter
	log  *slog.Logger

	ended, sent, failed atomic.Uint64
	failing             atomic.Bool
}

// ExportSpans implements sdktrace.SpanExporter. It returns no error: the SDK would
// hand it to a handler that all of the program shares.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := e.next.ExportSpans(ctx, spans)
	if err != nil {
		e.failed.Add(uint64(len(spans)))
		if !e.failing.Swap(true) {
			e.log.Warn("traces cannot be sent; they are dropped until they can", "error", err)
		}
		return nil
	}
	e.sent.Add(uint64(len(spans)))
	if e.failing.Swap(false) {
		e.log.Info("traces are sent again")
	}
	return nil
}

// Shutdown implements sdktrace.SpanExporter.
func (e *exporter) Shutdown(ctx context.Context) error { return e.next.Shutdown(ctx) }

// counting counts the spans that end.
type counting struct{ exporter *exporter }

// OnStart implements sdktrace.SpanProcessor.
func (counting) OnStart(context.Context, sdktrace.ReadWriteSpan) {}

// OnEnd implements sdktrace.SpanProcessor.
func (c counting) OnEnd(s sdktrace.ReadOnlySpan) {
	if s.SpanContext().IsSampled() {
		c.exporter.ended.Add(1)
	}
}

// Shutdown implements sdktrace.SpanProcessor.
func (counting) Shutdown(context.Context) error { return nil }

// ForceFlush implements sdktrace.SpanProcessor.
func (counting) ForceFlush(context.Context) error { return nil }
