package store

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
)

const (
	defaultTimeout   = 5 * time.Second
	defaultHeartbeat = time.Second
	// scanPage is the number of records one request of a Scan reads. Records are
	// at most a little over secret.MaxValueBytes, so a page stays under 20 MiB.
	scanPage = 256
)

// Options configure a Shard.
type Options struct {
	// Client reaches the etcd cluster. The Shard does not close it.
	Client *clientv3.Client
	// Prefix is put before every key, such as "lifeboat/base/". No prefix of a
	// cluster may be the beginning of another.
	Prefix string
	// Timeout bounds one operation; 0 means 5 seconds.
	Timeout time.Duration
	// Heartbeat is how often Feed makes sure that it is up to date; 0 means
	// 1 second. A peer that is silent for four heartbeats is taken for dead.
	Heartbeat time.Duration
	// Maintenance says what RunMaintenance keeps.
	Maintenance Maintenance
	// Logger receives what RunMaintenance and Hold did or failed to do; nil
	// discards it.
	Logger *slog.Logger
}

// Shard is one shard's authoritative records. Its methods may be called
// concurrently.
type Shard struct {
	client *clientv3.Client
	// kv takes transactions, with these options.
	kv          pb.KVClient
	callOptions []grpc.CallOption
	prefix      string
	timeout     time.Duration
	heartbeat   time.Duration
	maintenance Maintenance
	log         *slog.Logger
	// sharedBytes is how many bytes the keys of a full page shared of late, and
	// one: a guess of how far the next page reaches.
	sharedBytes atomic.Int64
	upkeep      upkeep
	group       group
	// wary counts the batches of which it is not tried to do all at once.
	wary atomic.Int32
}

// Open returns the shard kept under o.Prefix. It does no I/O. Close it when nobody
// uses it any more.
func Open(o Options) *Shard {
	s := &Shard{
		client: o.Client, prefix: o.Prefix, timeout: o.Timeout, heartbeat: o.Heartbeat,
		maintenance: o.Maintenance.withDefaults(), log: o.Logger,
	}
	s.kv, s.callOptions = kvOf(o.Client)
	if s.timeout <= 0 {
		s.timeout = defaultTimeout
	}
	if s.heartbeat <= 0 {
		s.heartbeat = defaultHeartbeat
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	return s
}

// Close waits for the transactions of callers that gave up. Commit stays usable.
func (s *Shard) Close() { s.group.close() }

// The keys under the prefix: 0x00 begins what is not a record (leases), so
// records are the keys from prefix+0x01 on.
const (
	firstRecord = "\x01"
	leasePrefix = "\x00lease/"
)

func (s *Shard) key(k record.Key) string { return s.prefix + string(k) }

// bounds returns the range of etcd keys for start <= key < end; an empty end is
// the end of the shard.
func (s *Shard) bounds(start, end record.Key) (from, to string) {
	from, to = s.key(max(start, firstRecord)), s.key(end)
	if end == "" {
		to = clientv3.GetPrefixRangeEnd(s.prefix)
	}
	return from, to
}

func (s *Shard) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, s.timeout)
}

// View returns a linearizable view of the shard: each Get and each page of a
// Scan sees everything that was committed before it began. A Scan reads pages
// of 256 records, each at the latest revision, so it may see some writes that
// commit while it runs and miss others. Errors have secret.CodeUnavailable
// unless the store gave a better reason.
func (s *Shard) View(ctx context.Context) record.View { return view{shard: s, ctx: ctx} }

type view struct {
	shard *Shard
	ctx   context.Context
}

// Linearizable says that what the view reads is never old.
func (v view) Linearizable() {}

// Get implements record.View.
func (v view) Get(key record.Key) (record.Stored, bool, error) {
	ctx, cancel := v.shard.bounded(v.ctx)
	defer cancel()
	resp, err := v.shard.client.Get(ctx, v.shard.key(key))
	if err != nil {
		return record.Stored{}, false, readError(ctx, err)
	}
	if len(resp.Kvs) == 0 {
		return record.Stored{}, false, nil
	}
	return v.shard.stored(resp.Kvs[0]), true, nil
}

// Scan implements record.View.
func (v view) Scan(start, end record.Key, visit func(record.Stored) bool) error {
	for {
		page, err := v.shard.Page(v.ctx, start, end, scanPage)
		if err != nil {
			return err
		}
		for _, r := range page.Records {
			if !visit(r) {
				return nil
			}
		}
		if !page.More {
			return nil
		}
		start = page.Records[len(page.Records)-1].Key + "\x00"
	}
}

// Revision returns the latest revision of the store; it is linearizable.
func (s *Shard) Revision(ctx context.Context) (int64, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	header, err := s.header(ctx)
	if err != nil {
		return 0, err
	}
	return header.Revision, nil
}

func (s *Shard) header(ctx context.Context) (*pb.ResponseHeader, error) {
	resp, err := s.client.Get(ctx, s.prefix+leasePrefix, clientv3.WithCountOnly())
	if err != nil {
		return nil, readError(ctx, err)
	}
	return resp.Header, nil
}

// stored converts a key of the shard. Its value is never nil, since nil means
// that there is no record.
func (s *Shard) stored(kv *mvccpb.KeyValue) record.Stored {
	value := kv.Value
	if value == nil {
		value = []byte{}
	}
	return record.Stored{Key: record.Key(kv.Key[len(s.prefix):]), Value: value, Revision: kv.ModRevision}
}
