package service

import (
	"context"

	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// InspectSecret calls look with a secret that the caller may describe, and audits
// it.
func (s *Service) InspectSecret(ctx context.Context, ref SecretRef, look func(record.View, *secret.Secret) error) error {
	return s.inspect(ctx, authz.DescribeSecret, func(c *call, view record.View) error {
		t, err := c.target(view, ref)
		if err != nil {
			return err
		}
		if err := c.authorize(view, t.resource()); err != nil {
			return err
		}
		if t.secret == nil {
			return c.noSecret(view, t.vault)
		}
		return look(view, t.secret)
	})
}

// InspectVault calls look with a vault on which the caller may do an action, and
// audits it.
func (s *Service) InspectVault(ctx context.Context, ref string, action authz.Action, look func(record.View, *secret.Vault) error) error {
	return s.inspect(ctx, action, func(c *call, view record.View) error {
		v, _, err := c.vault(view, ref)
		if err != nil {
			return err
		}
		if err := c.authorize(view, vaultResource(v)); err != nil {
			return err
		}
		return look(view, v)
	})
}
