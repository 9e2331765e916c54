package record

import (
	"errors"

	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
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

// MomentToProto returns the stored form of a moment.
func MomentToProto(m secret.Moment) *recordpb.Moment {
	return &recordpb.Moment{Incarnation: string(m.Incarnation), Revision: m.Revision}
}

// MomentsFromProto returns stored moments.
func MomentsFromProto(all []*recordpb.Moment) (moments []secret.Moment) {
	for _, m := range all {
		moments = append(moments, secret.Moment{Incarnation: secret.Incarnation(m.GetIncarnation()), Revision: m.GetRevision()})
	}
	return moments
}
