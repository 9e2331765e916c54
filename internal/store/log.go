package store

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// logSampling is the period in which etcd may say the same thing once.
const logSampling = time.Minute

// etcdLogger returns a logger for etcd that passes warnings and errors on to
// log, each message at most once a minute, and drops the rest. While it closes,
// etcd complains of every listener that ends; then only what is fatal passes.
func etcdLogger(log *slog.Logger, closing *atomic.Bool, opts ...zap.Option) *zap.Logger {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	core := zapcore.NewSamplerWithOptions(slogCore{handler: log.Handler(), closing: closing}, logSampling, 1, 0)
	return zap.New(core, opts...)
}

// irrelevant are warnings that do not apply here: the listener, if there is one,
// serves this project's own clients only; etcd's user tokens are not used outside
// of mutual TLS; a store that was just made has no schema version for an instant.
var irrelevant = map[string]bool{
	"Running http and grpc server on single port. This is not recommended for production.": true,
	"simple token is not cryptographically signed":                                         true,
	"Failed to detect schema version":                                                      true,
	"failed to update storage version":                                                     true,
}

// slogCore is a zapcore.Core that writes to a slog.Handler.
type slogCore struct {
	handler slog.Handler
	closing *atomic.Bool
}

// Enabled implements zapcore.LevelEnabler.
func (c slogCore) Enabled(level zapcore.Level) bool {
	least := zapcore.WarnLevel
	if c.closing.Load() {
		least = zapcore.DPanicLevel
	}
	return level >= least && c.handler.Enabled(context.Background(), slogLevel(level))
}

// With implements zapcore.Core.
func (c slogCore) With(fields []zapcore.Field) zapcore.Core {
	return slogCore{handler: c.handler.WithAttrs(attrs(fields)), closing: c.closing}
}

// Check implements zapcore.Core.
func (c slogCore) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) && !irrelevant[e.Message] {
		return checked.AddCore(e, c)
	}
	return checked
}

// Write implements zapcore.Core.
func (c slogCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	r := slog.NewRecord(e.Time, slogLevel(e.Level), "etcd: "+e.Message, 0)
	r.AddAttrs(attrs(fields)...)
	return c.handler.Handle(context.Background(), r)
}

// Sync implements zapcore.Core.
func (c slogCore) Sync() error { return nil }

// slogLevel takes etcd's warnings for what they mostly are, remarks, and its
// errors for warnings: what matters to the operator is reported by Health and
// by the errors of this package.
func slogLevel(level zapcore.Level) slog.Level {
	switch {
	case level >= zapcore.DPanicLevel:
		return slog.LevelError
	case level >= zapcore.ErrorLevel:
		return slog.LevelWarn
	default:
		return slog.LevelInfo
	}
}

func attrs(fields []zapcore.Field) []slog.Attr {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(enc)
	}
	as := make([]slog.Attr, 0, len(enc.Fields))
	for _, f := range fields {
		if v, ok := enc.Fields[f.Key]; ok {
			as = append(as, slog.Any(f.Key, v))
			delete(enc.Fields, f.Key)
		}
	}
	return as
}
