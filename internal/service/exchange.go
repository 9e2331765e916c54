package service

import (
	"context"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/authn"
	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// actionExchangeToken is audited but needs no policy.
const actionExchangeToken authz.Action = "ExchangeToken"

// tokenKind is what the audit log calls an exchanged token.
const tokenKind = "token"

// DefaultExchangeLifetime and MaxExchangeLifetime bound exchanged tokens unless
// the options say otherwise; MaxExchangeLifetime is also the most that they may
// say.
const (
	DefaultExchangeLifetime = 15 * time.Minute
	MaxExchangeLifetime     = 12 * time.Hour
)

// ExchangedToken is the answer to ExchangeToken.
type ExchangedToken struct {
	authn.Exchanged
	Principal *secret.Principal
	// Lifetime is how long it works from now.
	Lifetime time.Duration
}

// ExchangeToken answers a short-lived token for what the caller presents. Nothing
// is stored. A lifetime of 0 means the default; a longer one than the limit is
// CodeInvalid.
func (s *Service) ExchangeToken(ctx context.Context, lifetime time.Duration) (made ExchangedToken, err error) {
	err = s.inspect(ctx, actionExchangeToken, func(c *call, view record.View) error {
		if lifetime == 0 {
			lifetime = min(s.ExchangeLifetime, s.ExchangeLimit)
		}
		if lifetime < 0 || lifetime > s.ExchangeLimit {
			return secret.Invalid("expires_in", "is %s; the limit is %s", lifetime, s.ExchangeLimit)
		}
		token, err := s.Authenticator.Exchange(ctx, view, c.caller, lifetime, c.now)
		if err != nil {
			return err
		}
		made = ExchangedToken{Exchanged: token, Principal: c.caller.Principal, Lifetime: token.ExpiresAt.Sub(c.now)}
		c.entry.Resource.Kind, c.entry.Resource.ID, c.entry.Resource.Account = tokenKind, token.ID, c.caller.Account
		return nil
	})
	return made, err
}
