package link

import (
	"context"
	"net/http"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	peerv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1"
	"github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1/peerv1connect"
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
func (s regionService) Hello(context.Context, *connect.Request[peerv1.HelloRequest]) (*connect.Response[peerv1.HelloResponse], error) {
	l := s.links
	life := l.Life()
	answer := &peerv1.HelloResponse{
		Region: string(l.Region), Incarnation: string(life.Incarnation), RestoreEpoch: life.RestoreEpoch,
		Release: l.Release, Process: l.Process, Now: timestamppb.New(l.Now()), ReplicationSchema: l.ReplicationSchema,
	}
	for _, o := range l.Origins() {
		answer.Origins = append(answer.Origins, &peerv1.Origin{Incarnation: string(o.Incarnation), Revision: o.Revision})
	}
	return connect.NewResponse(answer), nil
}
