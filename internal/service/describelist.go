package service

import (
	"context"

	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/keyring"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// describer returns what opens the descriptions of a vault's secrets for a list:
// that of a secret that the caller may not describe is left out. Listing itself
// is what the audit log tells of.
func (c *call) describer(ctx context.Context, view record.View, vault *secret.Vault) func(*secret.Secret) (secret.Plaintext, error) {
	return func(sec *secret.Secret) (secret.Plaintext, error) {
		if len(sec.Description) == 0 {
			return secret.Plaintext{}, nil
		}
		t := target{vault: vault, id: sec.ID, name: sec.Name, secret: sec}
		decision, err := c.service.Authorizer.Decide(view, authz.Request{
			Caller: c.caller.Principal, Action: authz.DescribeSecret, Resource: t.resource(),
			Context: authz.Context{SourceIP: c.request.Source, Time: c.now, Region: c.service.Region, Method: c.caller.Method},
		})
		if err != nil || !decision.Allowed {
			return secret.Plaintext{}, err
		}
		return c.service.Keyring.Open(ctx, view, string(vault.ID), sec.Description, associatedData(sec, "", keyring.Description))
	}
}
