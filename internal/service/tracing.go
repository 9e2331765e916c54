package service

import (
	"context"

	"github.com/lifeboat-secrets/lifeboat/internal/audit"
)

// Tracer records how long the steps of requests take.
type Tracer interface {
	// Begin returns what the work item of a mutation carries of the request's
	// trace, and a function to tell what came of the request; "" and nil if the
	// request is not traced.
	Begin(ctx context.Context) (traceparent string, ended func(*audit.Entry))
	// Step begins a step of the request that ctx belongs to; end ends it.
	Step(ctx context.Context, name string) (_ context.Context, end func(error))
}

// step begins a step of a request, if steps are recorded.
func (s *Service) step(ctx context.Context, name string) (context.Context, func(error)) {
	if s.Tracer == nil {
		return ctx, endNothing
	}
	return s.Tracer.Step(ctx, name)
}

func endNothing(error) {}
