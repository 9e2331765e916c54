package region

import (
	"context"
	"net/http"
	"net/http/pprof"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// startAdmin serves metrics, profiles and health without authentication, on an
// address that is the operator's alone.
func (p *Process) startAdmin(ctx context.Context) error {
	if p.config.Listen.AdminAddress == "" {
		return nil
	}
	mux := http.NewServeMux()
	p.addHealth(mux)
	mux.Handle("GET /metrics", promhttp.HandlerFor(p.registry(), promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	listener, err := p.serve(ctx, "admin listener", p.config.Listen.AdminAddress, nil, mux)
	p.admin = listener
	return err
}
