package service

import (
	"context"

	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
)

// administer carries out a mutation of anything but a secret. These are rare, so
// each waits, within bounds, until every live host has it: a new credential or
// policy then works everywhere as soon as it is known.
func (s *Service) administer(ctx context.Context, action authz.Action, plan func(*call, record.View) (*record.Txn, error)) (cleared bool, err error) {
	c, err := s.begin(ctx, action, true)
	if err != nil {
		return false, c.end(err)
	}
	revision, err := s.commit(ctx, func(view record.View) (*record.Txn, error) {
		if err := c.authenticate(view); err != nil {
			return nil, err
		}
		return plan(c, view)
	})
	c.entry.Committed = revision > 0
	if err := c.end(err); err != nil {
		return false, err
	}
	return s.cleared(ctx, "", revision), nil
}

// inspect carries out a read of anything but a secret.
func (s *Service) inspect(ctx context.Context, action authz.Action, look func(*call, record.View) error) error {
	c, err := s.begin(ctx, action, false)
	if err != nil {
		return c.end(err)
	}
	_, err = s.read(ctx, func(view record.View) error {
		if err := c.authenticate(view); err != nil {
			return err
		}
		return look(c, view)
	})
	return c.end(err)
}

// actionWhoAmI is audited but needs no policy.
const actionWhoAmI authz.Action = "WhoAmI"
