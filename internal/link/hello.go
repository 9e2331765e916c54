package link

import (
	"context"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	peerv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1"
	"github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1/peerv1connect"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// maxHelloBytes bounds what is read of a Hello.
const maxHelloBytes = 16 << 10

// Hello returns the service with which every link begins, to be served behind
// Accept.
func (l *Links) Hello() (path string, handler http.Handler) {
	return peerv1connect.NewRegionServiceHandler(regionService{l}, connect.WithReadMaxBytes(maxHelloBytes))
}

type regionService struct{ links *Links }

// Hello implements peerv1connect.RegionServiceHandler.
func (s regionService) Hello(ctx context.Context, r *connect.Request[peerv1.HelloRequest]) (*connect.Response[peerv1.HelloResponse], error) {
	l := s.links
	life := l.Life()
	peer, _ := PeerFrom(ctx)
	answer := &peerv1.HelloResponse{
		Region: string(l.Region), Incarnation: string(life.Incarnation), RestoreEpoch: life.RestoreEpoch,
		Release: l.Release, Process: l.Process, Now: timestamppb.New(l.Now()), ReplicationSchema: l.ReplicationSchema,
	}
	if pin, err := l.Pinned(peer.Region); err == nil && pin.Forgets(secret.Incarnation(r.Header().Get(headerIncarnation))) {
		answer.TakenOver = pin.Heir // so that it accepts nothing that would be lost
	} else if l.TakenOver != nil {
		answer.TakenOver, answer.HeldUpRecords = l.TakenOver(peer.Region)
	}
	for _, o := range l.Origins() {
		answer.Origins = append(answer.Origins, &peerv1.Origin{Incarnation: string(o.Incarnation), Revision: o.Revision})
	}
	if behind, known := l.behind(ctx, r.Header()); known {
		seconds := behind.Seconds()
		answer.BehindSeconds = &seconds
	}
	return connect.NewResponse(answer), nil
}

// behind returns how far the peer that asks is behind. What was sent to one life of it
// says nothing of what another one lacks.
func (l *Links) behind(ctx context.Context, h http.Header) (time.Duration, bool) {
	peer, ok := PeerFrom(ctx)
	if !ok || l.Behind == nil {
		return 0, false
	}
	pin, err := l.Pinned(peer.Region)
	if err != nil || !pin.Admits(secret.Incarnation(h.Get(headerIncarnation))) {
		return 0, false
	}
	return l.Behind(peer.Region)
}
