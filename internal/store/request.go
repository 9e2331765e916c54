package store

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
)

// Transactions are built from etcd's own messages: those of clientv3 copy each key
// and value several times, which was a twentieth of what a mutation costs.

// maxSentBytes bounds a request over the network, as clientv3 does: a little more
// than etcd's own limit.
const maxSentBytes = 2 << 20

// inProcessKV are the operations of a server in this process, with the way to send
// it a request as it is.
type inProcessKV struct {
	clientv3.KV
	direct pb.KVClient
}

// kvOf returns what takes requests as they are, and the options for each.
func kvOf(c *clientv3.Client) (pb.KVClient, []grpc.CallOption) {
	if kv, ok := c.KV.(inProcessKV); ok {
		return kv.direct, nil
	}
	return clientv3.RetryKVClient(c), []grpc.CallOption{grpc.WaitForReady(true), grpc.MaxCallSendMsgSize(maxSentBytes)}
}

// request returns a transaction in etcd's terms. It refers to the values.
func (s *Shard) request(conditions []record.Condition, writes []record.Write) *pb.TxnRequest {
	r := &pb.TxnRequest{Compare: make([]*pb.Compare, len(conditions)), Success: make([]*pb.RequestOp, len(writes))}
	for i, c := range conditions {
		r.Compare[i] = &pb.Compare{
			Key: s.rawKey(c.Key), Target: pb.Compare_MOD, TargetUnion: &pb.Compare_ModRevision{ModRevision: c.Revision},
		}
	}
	for i, w := range writes {
		r.Success[i] = s.write(w)
	}
	return r
}

func (s *Shard) write(w record.Write) *pb.RequestOp {
	if w.Value == nil {
		return deletion(&pb.DeleteRangeRequest{Key: s.rawKey(w.Key)})
	}
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: s.rawKey(w.Key), Value: w.Value}}}
}

func deletion(r *pb.DeleteRangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: r}}
}

// nested returns a transaction as an operation of another.
func nested(r *pb.TxnRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: r}}
}

func (s *Shard) rawKey(k record.Key) []byte {
	return append(append(make([]byte, 0, len(s.prefix)+len(k)), s.prefix...), k...)
}

// send does one etcd transaction, once.
func (s *Shard) send(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	if err := ended(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	ctx, a := withAttempt(ctx)
	resp, err := s.kv.Txn(ctx, r, s.callOptions...)
	if err != nil {
		return nil, writeError(ctx, clientv3.ContextError(ctx, err), a)
	}
	return resp, nil
}
