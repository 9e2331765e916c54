package service

import (
	"context"

	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Operate authorises an operator's action on the region, does it, and audits it.
// change says whether act changes anything, subject what it is about.
func (s *Service) Operate(ctx context.Context, action authz.Action, change bool, subject string, act func(context.Context) error) error {
	c, err := s.begin(ctx, action, change)
	if err != nil {
		return c.end(err)
	}
	_, err = s.read(ctx, func(view record.View) error {
		if err := c.authenticate(view); err != nil {
			return err
		}
		return c.authorize(view, c.regionResource())
	})
	if subject != "" {
		c.entry.Resource.Name = subject
	}
	if err == nil {
		err = act(ctx)
		c.entry.Committed = change && err == nil
	}
	return c.end(err)
}

// GenerateValue makes random content by generate; nothing is stored. Every
// principal that the policies of its own account permit may ask.
func (s *Service) GenerateValue(ctx context.Context, generate func() (secret.Plaintext, error)) (value secret.Plaintext, err error) {
	err = s.inspect(ctx, authz.GenerateValue, func(c *call, view record.View) error {
		account, err := c.account(view, "")
		if err != nil {
			return err
		}
		if err := c.authorize(view, accountResource(account)); err != nil {
			return err
		}
		value, err = generate()
		return err
	})
	return value, err
}
