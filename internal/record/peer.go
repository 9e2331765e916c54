package record

import (
	"errors"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// PinnedIncarnation returns the one life of another region that this one has
// links with: the first that it met, or the one that an operator admitted. It is
// empty if that region was never met.
func PinnedIncarnation(view View, region secret.RegionName) (secret.Incarnation, error) {
	peer, _, err := Load(view, Peers, PeerKey(region))
	if errors.Is(err, ErrNotFound) {
		return "", nil
	}
	return secret.Incarnation(peer.GetIncarnation()), err
}
