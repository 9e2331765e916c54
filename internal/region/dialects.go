package region

import (
	"net/http"
	"slices"

	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/frontdoor"
	"github.com/lifeboat-secrets/lifeboat/internal/frontdoor/aws"
)

// withDialects returns the handler of the native dialect, which the options are
// for, and of those others that are configured.
func (p *Process) withDialects(options frontdoor.Options) http.Handler {
	native := frontdoor.NewHandler(options)
	c := p.config.AWS
	if !c.Enabled {
		return native
	}
	dialect := aws.New(p.awsOptions())
	options.Dialect, options.Protocol = dialect, dialect
	if options.Local != nil {
		options.Local = dialect.ReadOnly
	}
	if options.Mutates != nil {
		options.Mutates = func(r *http.Request) bool { return !dialect.ReadOnly(r) }
	}
	other := frontdoor.NewHandler(options)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if aws.Matches(r) {
			other.ServeHTTP(w, r)
			return
		}
		native.ServeHTTP(w, r)
	})
}

func (p *Process) awsOptions() aws.Options {
	c := p.config.AWS
	return aws.Options{
		Service: p.service, Region: p.config.Region.Name, RegionNames: c.RegionNames, Vault: c.Vault,
		TypeOf:   func(err error) string { return frontdoor.StatusOf(err).AWS },
		Replicas: p.replicasOf,
		Rotator: func(name string) bool {
			return slices.ContainsFunc(p.config.Rotators, func(r config.Rotator) bool { return r.Name == name })
		},
	}
}
