package service

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/audit"
	"github.com/lifeboat-secrets/lifeboat/internal/authn"
	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Request is what a front door knows of a request beside its payload. It lives
// as long as the request and is used by one goroutine.
type Request struct {
	// ID is in the answer, in errors and in the audit log.
	ID string
	// Source is the client's address.
	Source netip.Addr
	// ForwardedBy names the host that passed the request on, if one did.
	ForwardedBy string
	// Presented is what the request shows of who calls, for Authenticate of the
	// dialects that sign nothing.
	Presented authn.Presented
	// Authenticate proves who calls, from what the dialect found in the request.
	Authenticate func(view record.View, now time.Time) (authn.Caller, error)

	// FromRegion is the region of whose process ForwardedBy is, if it is another one.
	FromRegion secret.RegionName

	started time.Time
	audited bool
	// handedOver is the record that the request was refused for because this region has
	// handed it over to its home.
	handedOver *notHomeError
}

// HandedOver returns the record that the request could not change because this region
// has handed it over to another one, and that region; ok is false if that was not so.
func (r *Request) HandedOver() (key record.Key, home secret.RegionName, ok bool) {
	if r.handedOver == nil {
		return "", "", false
	}
	return r.handedOver.key, r.handedOver.home, true
}

type requestKey struct{}

// WithRequest returns a context that carries r.
func WithRequest(ctx context.Context, r *Request) context.Context {
	r.started = time.Now()
	return context.WithValue(ctx, requestKey{}, r)
}

// RequestFrom returns the request that ctx carries, nil if none.
func RequestFrom(ctx context.Context) *Request {
	r, _ := ctx.Value(requestKey{}).(*Request)
	return r
}

// Audited reports whether the audit log has taken the request's line.
func (r *Request) Audited() bool { return r.audited }

// call is one use case being carried out.
type call struct {
	service *Service
	request *Request
	caller  authn.Caller
	action  authz.Action
	now     time.Time
	entry   audit.Entry
	// permitted is what the caller was last permitted to act on; zero is nothing.
	permitted authz.Resource
	// traceparent is what the work item carries of the request's trace, ended tells
	// the tracer what came of the request; "" and nil if it is not traced.
	traceparent string
	ended       func(*audit.Entry)
}

// begin opens a use case. A mutation is refused while the audit log fails, so
// that nothing is done that could not be audited.
func (s *Service) begin(ctx context.Context, action authz.Action, mutation bool) (*call, error) {
	r := RequestFrom(ctx)
	if r == nil {
		return nil, secret.Errorf(secret.CodeInternal, "use case %s without a request", action)
	}
	c := &call{service: s, request: r, action: action, now: s.Now()}
	c.entry = audit.Entry{
		Time: c.now, RequestID: r.ID, Source: r.Source, ForwardedFor: r.ForwardedBy, Action: string(action),
	}
	if s.Tracer != nil {
		c.traceparent, c.ended = s.Tracer.Begin(ctx)
	}
	if mutation {
		if err := s.Audit.Ready(); err != nil {
			return c, err
		}
		if r.Authenticate != nil { // not by the region itself
			return c, s.waitPeersAsked(ctx)
		}
	}
	return c, nil
}

// authenticate finds out who calls, once.
func (c *call) authenticate(view record.View) error {
	if c.caller.Principal != nil {
		return nil
	}
	caller, err := c.request.Authenticate(view, c.now)
	if err != nil {
		return err
	}
	c.caller = caller
	c.entry.Principal = caller.Principal.ID
	c.entry.PrincipalName = caller.Principal.Name
	c.entry.Account = caller.Principal.Account
	c.entry.Credential = caller.Credential
	c.entry.Method, c.entry.Proof = caller.Method, caller.Proof
	c.entry.BreakGlass = caller.BreakGlass
	return c.service.Throttle.Allow(caller.Account, "")
}

// authorize decides by the policies of the resource's account.
func (c *call) authorize(view record.View, resource authz.Resource) error {
	c.about(resource)
	// A mutation that is planned again, now on the store itself, keeps the
	// decision of its first plan: reading all policies from the store each time
	// would make a contended record slower still.
	if c.entry.Decision == audit.Allow && same(&c.permitted, &resource) {
		return nil
	}
	decision, err := c.service.Authorizer.Decide(view, authz.Request{
		Caller: c.caller.Principal, Action: c.action, Resource: resource,
		Context: authz.Context{SourceIP: c.request.Source, Time: c.now, Region: c.service.Region, Method: c.caller.Method},
	})
	if err != nil {
		return err
	}
	c.entry.Policies = decision.Policies
	if !decision.Allowed {
		c.entry.Decision = audit.Deny
		return c.denied(resource.Kind)
	}
	// The vault's bucket is for those who may use it: who is refused empties only
	// that of its own account.
	if err := c.service.Throttle.Allow("", resource.Vault); err != nil {
		return err
	}
	c.entry.Decision = audit.Allow
	c.permitted = resource
	return nil
}

// about names in the audit log what the call is about.
func (c *call) about(r authz.Resource) {
	c.entry.Resource = audit.Resource{Kind: string(r.Kind), ID: r.ID, Name: r.Name, Vault: r.Vault, Account: r.Account}
}

// same reports whether policies cannot tell the resources apart.
func same(a, b *authz.Resource) bool {
	x, y := *a, *b
	x.Tags, y.Tags = nil, nil
	return x.Kind == y.Kind && x.ID == y.ID && x.Name == y.Name && x.Account == y.Account && x.Vault == y.Vault &&
		x.VaultName == y.VaultName && x.Principal == y.Principal && maps.Equal(a.Tags, b.Tags)
}

// foreign turns "there is no such" into a refusal for whoever asks about an
// account that is not its own, so that names cannot be guessed. Operators may
// know which accounts exist.
func (c *call) foreign(account secret.AccountID, kind authz.ResourceKind, err error) error {
	own := c.caller.Principal.Account
	if !secret.HasCode(err, secret.CodeNotFound) || account == own || own == secret.SystemAccount {
		return err
	}
	c.entry.Decision = audit.Deny
	return c.denied(kind)
}

func (c *call) denied(kind authz.ResourceKind) error {
	return secret.Errorf(secret.CodeDenied, "%s is not permitted to %s this %s", c.caller.Principal.Name, c.action, kind).
		WithHint("a policy of the resource's account must permit it")
}

// end writes the audit line. The answer may leave only if it returns nil or
// the use case's own error.
func (c *call) end(err error) error {
	if c == nil {
		return err
	}
	c.entry.Outcome = secret.CodeOf(err)
	if refused, ok := errors.AsType[*notHomeError](err); ok && refused.handedOver {
		c.request.handedOver = refused
	}
	c.entry.Committed = c.entry.Committed || c.entry.Outcome == secret.CodeOutcomeUnknown
	c.entry.Duration = time.Since(c.request.started)
	c.service.Observe(c.action, c.entry.Outcome, c.entry.Duration)
	if c.ended != nil {
		c.ended(&c.entry)
	}
	c.request.audited = true
	if auditErr := c.service.Audit.Write(&c.entry); auditErr != nil {
		if c.entry.Committed {
			return secret.Wrap(secret.CodeOutcomeUnknown, auditErr, "what was asked may have been done, but cannot be audited now").
				WithHint("repeat it only with the same request token; without one, look first what is there")
		}
		return auditErr
	}
	return err
}

// Refuse audits a request that failed before it reached a use case: malformed,
// too large, or for an unknown operation.
func (s *Service) Refuse(r *Request, action string, code secret.Code) error {
	r.audited = true
	s.Observe(authz.Action(action), code, 0)
	return s.Audit.Write(&audit.Entry{
		Time: s.Now(), RequestID: r.ID, Source: r.Source, ForwardedFor: r.ForwardedBy, Action: action,
		Outcome: code, Duration: time.Since(r.started),
	})
}
