package keyring

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"

	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const knownText = "lifeboat key check, format 1"

// NewCheck wraps a known text for the region's record (KeyCheck and MasterKey),
// so that Check can tell whether the key service is the one that the region was
// initialised with. Errors: those of kms.Wrapper.
func (k *Keyring) NewCheck(ctx context.Context, region secret.RegionName, incarnation secret.Incarnation) (kms.Wrapped, error) {
	return k.opts.Wrapper.Wrap(ctx, []byte(knownText), checkBinding(string(region), string(incarnation)))
}

// Check unwraps the known text of a region's record. It changes nothing but what
// Health tells. Errors:
// secret.CodeKeyUnavailable if the key service lacks the master key (caused by
// kms.ErrWrongKey) or does not answer (kms.ErrFault), secret.CodeTampered if the
// record's check was changed or is another region's.
func (k *Keyring) Check(ctx context.Context, region *recordpb.Region) error {
	wrapped := kms.Wrapped{MasterKey: region.GetMasterKey(), Bytes: region.GetKeyCheck()}
	text, err := k.opts.Wrapper.Unwrap(ctx, wrapped, checkBinding(region.GetName(), region.GetIncarnation()))
	switch {
	case err == nil:
		k.answered()
	case errors.Is(err, kms.ErrWrongKey):
		k.noteFailure(err)
		k.opts.Sealed.Refused(wrapped.MasterKey)
	case !errors.Is(err, kms.ErrTampered) && !errors.Is(err, context.Canceled): // the record's fault, or nobody's
		k.noteFailure(err)
	}
	if err != nil {
		return secret.Wrap(secret.CodeOf(err), err, fmt.Sprintf("key service does not fit region %q, which was initialised with master key %q", region.GetName(), region.GetMasterKey())).
			WithHint("configure the key service that the region was initialised with; nothing was changed")
	}
	if subtle.ConstantTimeCompare(text, []byte(knownText)) != 1 {
		return secret.Wrap(secret.CodeTampered, kms.ErrTampered, fmt.Sprintf("the key check of region %q has another text", region.GetName()))
	}
	return nil
}

func checkBinding(region, incarnation string) []byte {
	b := appendFramed(nil, "lifeboat key check")
	b = appendFramed(b, region)
	return appendFramed(b, incarnation)
}

// CheckDataKey unwraps a data key that may be in no store yet, and drops it. It
// shows that the key service has the master key of a backup's records. Errors:
// those of kms.Wrapper.
func (k *Keyring) CheckDataKey(ctx context.Context, stored *recordpb.DataKey) error {
	id := keyID{stored.GetScope(), stored.GetGeneration()}
	raw, err := k.opts.Wrapper.Unwrap(ctx, wrappedOf(stored), id.binding())
	clear(raw)
	if err != nil {
		return secret.Wrap(secret.CodeOf(err), err, fmt.Sprintf("data key %s cannot be unwrapped", id))
	}
	return nil
}
