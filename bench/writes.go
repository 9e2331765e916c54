package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1/lifeboatv1connect"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
)

// putAfter is how many secrets a client makes before it puts to the first.
const putAfter = 16

// writeLoad makes secrets and puts a second version to each a little later: every
// client does one after the other.
func (c *cluster) writeLoad(prefix string) (*load, error) {
	value := make([]byte, valueBytes)
	_, _ = rand.Read(value) // never fails
	var made atomic.Int64
	names := make([][]string, connections)
	put := make([]bool, connections)
	next := func(client int) (string, []byte) {
		if put[client] = !put[client]; put[client] && len(names[client]) >= putAfter {
			name := names[client][0]
			names[client] = names[client][1:]
			b, _ := proto.Marshal(&lifeboatv1.PutSecretVersionRequest{Vault: vaultName, Secret: name, Value: value})
			return lifeboatv1connect.SecretServicePutSecretVersionProcedure, b
		}
		name := fmt.Sprintf("%s/password-%07d", prefix, made.Add(1))
		names[client] = append(names[client], name)
		b, _ := proto.Marshal(&lifeboatv1.CreateSecretRequest{Vault: vaultName, Name: name, Value: value})
		return lifeboatv1connect.SecretServiceCreateSecretProcedure, b
	}
	header := http.Header{"Content-Type": {protoType}, "Authorization": {"Bearer " + c.token}}
	l, err := newLoad(c.control, c.path("ca.pem"), false, header, next)
	if err != nil {
		return nil, err
	}
	return l.direct(), nil
}

// measureWrites compares creating and putting over TLS, with token, policies,
// audit and fsync, with an etcd alone in a process that does the same
// transactions without a network.
func measureWrites(ctx context.Context, b *bench) (err error) {
	c, err := b.region(ctx, alone, small)
	if err != nil {
		return err
	}
	shapes, err := c.shapes(ctx)
	if err != nil {
		return err
	}
	spec, err := json.Marshal(shapes)
	if err != nil {
		return err
	}
	etcd, err := spawn(ctx, "etcd", filepath.Join(b.dir, "etcd"), string(spec))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, etcd.stop()) }()
	l, err := c.writeLoad("new")
	if err != nil {
		return err
	}
	defer l.close()
	var ratio, cpuRatio, perSecond, perCPU, etcdPerSecond, p50, p99 []float64
	for range b.rounds {
		r, err := l.run(ctx, 2*b.round)
		if err != nil {
			return err
		}
		e, err := etcd.write(2 * b.round)
		if err != nil {
			return err
		}
		ratio, cpuRatio = append(ratio, r.perSecond/e.perSecond), append(cpuRatio, r.perCPUSecond/e.perCPUSecond)
		perSecond, perCPU = append(perSecond, r.perSecond), append(perCPU, r.perCPUSecond)
		etcdPerSecond = append(etcdPerSecond, e.perSecond)
		p50, p99 = append(p50, percentile(l.latencies, 50)), append(p99, percentile(l.latencies, 99))
	}
	b.report.add("write_vs_etcd_ratio", "", ratio...)
	b.report.add("write_vs_etcd_cpu_ratio", "", cpuRatio...)
	b.report.add("write_per_second", "1/s", perSecond...)
	b.report.add("write_per_cpu_second", "1/s", perCPU...)
	b.report.add("write_etcd_per_second", "1/s", etcdPerSecond...)
	b.report.add("write_p50_ms", "ms", p50...)
	b.report.add("write_p99_ms", "ms", p99...)
	return nil
}

// shape is what a transaction looks like to the store.
type shape struct {
	// Fixed is how many conditions it has on records that others have them on too, and
	// Conditions how many in all.
	Fixed, Conditions int
	Writes            []writeShape
}

type writeShape struct {
	KeyBytes, ValueBytes int
	// Same says which write of the transaction that made the secret has the same
	// key; -1 if none.
	Same int
}

// Conditions of the transactions: the fence, the active data key and for a creation the
// vault, which are fixed; the record, and for a creation the name.
var (
	createShape = shape{Fixed: 3, Conditions: 5}
	putShape    = shape{Fixed: 2, Conditions: 3}
)

// shapes makes a secret, puts to it, and looks at what came of it in the store.
func (c *cluster) shapes(ctx context.Context) ([]shape, error) {
	l, err := c.writeLoad("shape")
	if err != nil {
		return nil, err
	}
	defer l.close()
	client, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = client.Close() }()
	shard := shardOf(client)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	page, err := shard.Page(ctx, record.RegionKey, "", 1)
	if err != nil {
		return nil, err
	}
	// A client's first put comes after its first secrets.
	for range 2 * putAfter {
		if _, err := l.once(ctx, 0); err != nil {
			return nil, err
		}
	}
	shapes := make([]shape, 2)
	var created []record.Change
	errSeen := errors.New("seen")
	err = shard.Feed(ctx, page.Revision, func(b record.Batch) error {
		for changes := range byRevision(b.Changes) {
			switch {
			case !touches(changes, record.VersionPrefix):
			case created == nil:
				created = changes
				shapes[0] = createShape.of(changes, nil)
			case !touches(changes, record.SecretNamePrefix):
				shapes[1] = putShape.of(changes, created)
				return errSeen
			}
		}
		return nil
	})
	if errors.Is(err, errSeen) || len(shapes[1].Writes) > 0 {
		err = nil
	}
	return shapes, err
}

func touches(changes []record.Change, prefix string) bool {
	return slices.ContainsFunc(changes, func(c record.Change) bool { return c.Key.HasPrefix(prefix) })
}

// of returns the shape with the writes that made the changes.
func (s shape) of(changes, created []record.Change) shape {
	for _, change := range changes {
		same := slices.IndexFunc(created, func(c record.Change) bool { return c.Key == change.Key })
		s.Writes = append(s.Writes, writeShape{KeyBytes: len(change.Key), ValueBytes: len(change.Value), Same: same})
	}
	return s
}

// byRevision yields the changes of each transaction.
func byRevision(changes []record.Change) func(func([]record.Change) bool) {
	return func(yield func([]record.Change) bool) {
		for len(changes) > 0 {
			n := 1
			for n < len(changes) && changes[n].Revision == changes[0].Revision {
				n++
			}
			if !yield(changes[:n]) {
				return
			}
			changes = changes[n:]
		}
	}
}

// write has the etcd child write for a while.
func (c *child) write(length time.Duration) (rates, error) {
	before, err := c.cpu()
	if err != nil {
		return rates{}, err
	}
	var done written
	if err := c.ask(length.String(), &done); err != nil {
		return rates{}, err
	}
	after, err := c.cpu()
	if err != nil {
		return rates{}, err
	}
	n := float64(done.Transactions)
	return rates{perSecond: n / done.Seconds, perCPUSecond: n / (after - before).Seconds()}, nil
}
