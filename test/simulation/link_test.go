package simulation

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	peerv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/replication"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// quality is how a link is.
type quality int

const (
	good quality = iota
	// lossy links lose requests and answers, delay them for up to a second, and
	// deliver some once more, up to a minute later.
	lossy
	down
	// hanging links answer nothing, until the caller gives up.
	hanging
)

// link is how one region reaches another.
type link struct {
	world    *world
	from, to secret.RegionName
}

// deliveries counts those that are under way. More may begin while others wait for
// their end, which a sync.WaitGroup does not allow.
type deliveries struct {
	mu    sync.Mutex
	n     int
	ended chan struct{} // closed when n is 0 again
}

func (d *deliveries) begin(deliver func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.n++; d.n == 1 {
		d.ended = make(chan struct{})
	}
	go func() {
		deliver()
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.n--; d.n == 0 {
			close(d.ended)
		}
	}()
}

func (d *deliveries) wait() {
	d.mu.Lock()
	ended := d.ended
	d.mu.Unlock()
	if ended != nil {
		<-ended
	}
}

type sourceKey struct{}

func sourceOf(ctx context.Context) (service.Source, bool) {
	from, ok := ctx.Value(sourceKey{}).(secret.RegionName)
	return service.Source{Region: from}, ok
}

var errLink = connect.NewError(connect.CodeUnavailable, errors.New("the link is bad"))

// carry takes a request to the other end and its answer back.
func carry[Q, A any](ctx context.Context, l *link, req *connect.Request[Q], serve func(*replication.Receiver, context.Context, *connect.Request[Q]) (*connect.Response[A], error)) (*connect.Response[A], error) {
	w := l.world
	to := w.region(l.to)
	call := func(ctx context.Context) (*connect.Response[A], error) {
		copied := proto.Clone(any(req.Msg).(proto.Message))
		return serve(to.receiver, context.WithValue(ctx, sourceKey{}, l.from), connect.NewRequest(any(copied).(*Q)))
	}
	switch w.quality(l.from, l.to) {
	case down:
		pause(ctx, 50*time.Millisecond)
		return nil, errLink
	case hanging:
		<-ctx.Done()
		return nil, errLink
	case lossy:
		pause(ctx, time.Duration(rand.IntN(1000))*time.Millisecond)
		if rand.IntN(3) == 0 {
			late := time.Duration(rand.IntN(60_000)) * time.Millisecond
			w.late.begin(func() {
				time.Sleep(late)
				_, _ = call(context.Background())
			})
		}
		if rand.IntN(3) == 0 {
			return nil, errLink
		}
	}
	answer, err := call(ctx)
	if w.quality(l.from, l.to) == lossy && rand.IntN(3) == 0 {
		return nil, errLink
	}
	return answer, err
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (l *link) Deliver(ctx context.Context, req *connect.Request[peerv1.DeliverRequest]) (*connect.Response[peerv1.DeliverResponse], error) {
	return carry(ctx, l, req, (*replication.Receiver).Deliver)
}

func (l *link) CompareDigests(ctx context.Context, req *connect.Request[peerv1.CompareDigestsRequest]) (*connect.Response[peerv1.CompareDigestsResponse], error) {
	return carry(ctx, l, req, (*replication.Receiver).CompareDigests)
}

func (l *link) GetHeld(ctx context.Context, req *connect.Request[peerv1.GetHeldRequest]) (*connect.Response[peerv1.GetHeldResponse], error) {
	return carry(ctx, l, req, (*replication.Receiver).GetHeld)
}

func (l *link) ConfirmDeleted(ctx context.Context, req *connect.Request[peerv1.ConfirmDeletedRequest]) (*connect.Response[peerv1.ConfirmDeletedResponse], error) {
	return carry(ctx, l, req, (*replication.Receiver).ConfirmDeleted)
}

func (l *link) GetForgotten(ctx context.Context, req *connect.Request[peerv1.GetForgottenRequest]) (*connect.Response[peerv1.GetForgottenResponse], error) {
	return carry(ctx, l, req, (*replication.Receiver).GetForgotten)
}

func (l *link) PullReplicas(ctx context.Context, req *connect.Request[peerv1.PullReplicasRequest]) (*connect.Response[peerv1.PullReplicasResponse], error) {
	return carry(ctx, l, req, (*replication.Receiver).PullReplicas)
}

func (l *link) ListReplicas(ctx context.Context, req *connect.Request[peerv1.ListReplicasRequest]) (*connect.Response[peerv1.ListReplicasResponse], error) {
	return carry(ctx, l, req, (*replication.Receiver).ListReplicas)
}
