package store

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// streams ends the network clients' streams, such as watches, when a server
// closes; by itself etcd would wait seconds for the clients to end them.
type streams struct {
	closing context.Context
	close   context.CancelFunc
}

func newStreams() *streams {
	s := new(streams)
	s.closing, s.close = context.WithCancel(context.Background())
	return s
}

// intercept runs a stream with a context that ends when the server closes. Its
// clients are told "unavailable", so that they go on with another member.
func (s *streams) intercept(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	defer context.AfterFunc(s.closing, cancel)()
	err := handle(srv, boundStream{stream, ctx})
	if s.closing.Err() != nil {
		return status.Error(codes.Unavailable, "the server is closing")
	}
	return err
}

// boundStream is a stream with another context.
type boundStream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context implements grpc.ServerStream.
func (s boundStream) Context() context.Context { return s.ctx }
