package keyring

import (
	"context"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Digest is Sealer.MAC without a sealer: it needs only the scope's MAC key, which
// is the same in every region, and reads the view only if that is not cached.
// Errors: secret.CodeKeyUnavailable, caused by record.ErrNotFound if there is no
// such scope; those of the view.
func (k *Keyring) Digest(ctx context.Context, view record.View, scope, domain string, parts ...[]byte) (secret.MAC, error) {
	key, err := k.get(ctx, view, keyID{scope, macGeneration})
	if err != nil {
		return nil, err
	}
	return (&Sealer{mac: key}).MAC(domain, parts...), nil
}
