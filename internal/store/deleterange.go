package store

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
)

// DeleteRange deletes the records with start <= key < end in one request and
// returns how many there were. Errors: those of Commit but CodeStale. It may be
// repeated.
func (s *Shard) DeleteRange(ctx context.Context, start, end record.Key) (int64, error) {
	from, to := s.bounds(start, end)
	r := &pb.DeleteRangeRequest{Key: []byte(from), RangeEnd: []byte(to)}
	resp, err := s.send(ctx, &pb.TxnRequest{Success: []*pb.RequestOp{deletion(r)}})
	if err != nil {
		return 0, err
	}
	return resp.Responses[0].GetResponseDeleteRange().Deleted, nil
}
