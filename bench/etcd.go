package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/lifeboat-secrets/lifeboat/internal/store"
)

// written is the answer of the etcd child.
type written struct {
	Transactions int64
	Seconds      float64
}

// serveEtcd is what writes are compared with: an etcd alone in a process, with
// fsync, that does the transactions of a creation and a put in turn, with as
// many clients as the region has. Its arguments are the directory and the shapes
// of the transactions; each line of its input is how long to write.
func serveEtcd(args []string) (err error) {
	var shapes []shape
	if err := json.Unmarshal([]byte(args[1]), &shapes); err != nil {
		return err
	}
	ctx := context.Background()
	server, err := store.StartEmbedded(ctx, store.EmbeddedOptions{Name: "one", Dir: args[0]})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	w := &etcdWriter{client: server.Client(), create: shapes[0], put: shapes[1]}
	for i := range w.fixed {
		w.fixed[i] = fmt.Sprintf("fixed/%d", i)
		put, err := w.client.Put(ctx, w.fixed[i], "x")
		if err != nil {
			return err
		}
		w.revisions[i] = put.Header.Revision
	}
	fmt.Println("ready")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		length, err := time.ParseDuration(lines.Text())
		if err != nil {
			return err
		}
		done, err := w.run(ctx, length)
		if err != nil {
			return err
		}
		if err := answer(done); err != nil {
			return err
		}
	}
	return nil
}

type etcdWriter struct {
	client      *clientv3.Client
	create, put shape
	// fixed are the keys that many transactions compare.
	fixed     [3]string
	revisions [3]int64
	made      atomic.Int64
}

func (w *etcdWriter) run(ctx context.Context, length time.Duration) (written, error) {
	var g errgroup.Group
	var n atomic.Int64
	start := time.Now()
	for range connections {
		g.Go(func() error {
			for time.Since(start) < length {
				if err := w.pair(ctx, &n); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := g.Wait()
	return written{Transactions: n.Load(), Seconds: time.Since(start).Seconds()}, err
}

// pair does the transaction of a creation and then the one of a put.
func (w *etcdWriter) pair(ctx context.Context, n *atomic.Int64) error {
	var keys []string
	var revision int64
	for _, s := range []shape{w.create, w.put} {
		var cmps []clientv3.Cmp
		var puts []clientv3.Op
		for i, key := range w.fixed[:s.Fixed] {
			cmps = append(cmps, clientv3.Compare(clientv3.ModRevision(key), "=", w.revisions[i]))
		}
		for i, write := range s.Writes {
			var key string
			if write.Same >= 0 {
				key = keys[write.Same]
			} else {
				key = fmt.Sprintf("%d/%0*d", i, write.KeyBytes-2, w.made.Add(1))
			}
			keys = append(keys, key)
			value := make([]byte, write.ValueBytes)
			_, _ = rand.Read(value) // never fails
			puts = append(puts, clientv3.OpPut(key, string(value)))
			// The first key that a put shares with the creation is the secret's.
			if wanted := len(cmps) < s.Conditions; wanted && (revision == 0 || write.Same >= 0) {
				cmps = append(cmps, clientv3.Compare(clientv3.ModRevision(key), "=", revision))
			}
		}
		done, err := w.client.Txn(ctx).If(cmps...).Then(puts...).Commit()
		if err != nil {
			return err
		}
		if !done.Succeeded {
			return errors.New("a condition did not hold")
		}
		revision = done.Header.Revision
		n.Add(1)
	}
	return nil
}
