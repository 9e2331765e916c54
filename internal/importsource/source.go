package importsource

import (
	"context"
	"time"

	"golang.org/x/time/rate"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Source is a secret manager to import from. Its methods may be called at once.
type Source interface {
	// Names calls visit for what there is, in any order.
	Names(ctx context.Context, visit func(name string) error) error
	// Get reads one. A *Refusal says that it cannot be imported, other errors that
	// the source fails.
	Get(ctx context.Context, name string) (Item, error)
}

// Item is a secret of another secret manager.
type Item struct {
	// Versions are the ones to import, oldest first; the last one is current.
	Versions    []Version
	Description secret.Plaintext
	ContentType string
	Tags        map[string]string
	// Metadata is custom metadata, with where the secret is from.
	Metadata map[string]string
}

// Version is one value.
type Version struct {
	// ID names it in the source, whatever else changes there.
	ID    string
	Value secret.Plaintext
}

// Refusal says why something cannot be imported.
type Refusal struct{ Reason string }

// Error implements error.
func (r *Refusal) Error() string { return r.Reason }

// MetadataSource is the key of custom metadata that says where a secret is from.
const MetadataSource = "imported-from"

// Limits of Options.
const (
	DefaultRate = 50
	maxRate     = 10_000
	callTimeout = 30 * time.Second
)

// pace bounds the requests of one source.
type pace struct{ limiter *rate.Limiter }

// newPace allows so many requests a second; 0 means DefaultRate.
func newPace(perSecond float64) (pace, error) {
	if perSecond == 0 {
		perSecond = DefaultRate
	}
	if perSecond < 0 || perSecond > maxRate {
		return pace{}, secret.Invalid("rate", "is %g; allowed are up to %d requests a second", perSecond, maxRate)
	}
	return pace{rate.NewLimiter(rate.Limit(perSecond), max(1, int(perSecond/10)))}, nil
}

func (p pace) wait(ctx context.Context) error { return p.limiter.Wait(ctx) }
