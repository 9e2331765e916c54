package store_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/store"
)

// fsynced starts an embedded store that is as durable as in production.
func fsynced(b *testing.B) *store.Shard {
	b.Helper()
	e, err := store.StartEmbedded(b.Context(), store.EmbeddedOptions{
		Name: "one", Dir: b.TempDir(), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { closeServer(b, e) })
	return store.Open(store.Options{Client: e.Client(), Prefix: prefix})
}

// mutation is the shape of a mutation: four records written, three compared.
func mutation(n int64) record.Txn {
	var t record.Txn
	value := make([]byte, 512)
	for _, kind := range []string{record.SecretPrefix, record.VersionPrefix, record.SecretNamePrefix, record.WorkPrefix} {
		t.Put(record.Key(fmt.Sprintf("%s%012d", kind, n)), value)
	}
	t.Require(t.Writes[0].Key, 0)
	t.Require(record.FenceKey, 0)
	t.Require("active-data-key/x", 0)
	return t
}

// write commits b.N mutations from several writers.
func write(b *testing.B, s *store.Shard, writers int, committed func(revision int64)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
				revision, err := s.Commit(context.Background(), mutation(n))
				if err != nil {
					b.Error(err)
					return
				}
				committed(revision)
			}
		})
	}
	wg.Wait()
}

func BenchmarkCommit(b *testing.B) {
	for _, writers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			s := fsynced(b)
			b.ResetTimer()
			before := cpu(b)
			write(b, s, writers, func(int64) {})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "txn/s")
			b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
		})
	}
}

// cpu returns the CPU time that this process has used.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// BenchmarkFeedLag measures from the return of Commit to the delivery by Feed;
// negative when the feed was first.
func BenchmarkFeedLag(b *testing.B) {
	for _, writers := range []int{1, 16} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) { feedLag(b, writers) })
	}
}

func feedLag(b *testing.B, writers int) {
	s := fsynced(b)
	var mu sync.Mutex
	committed, delivered := make(map[int64]time.Time), make(map[int64]time.Time)
	before, err := s.Revision(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- s.Feed(ctx, before, func(batch store.Batch) error {
			now := time.Now()
			mu.Lock()
			defer mu.Unlock()
			for _, c := range batch.Changes {
				delivered[c.Revision] = now
			}
			if len(delivered) >= b.N {
				cancel()
			}
			return nil
		})
	}()
	b.ResetTimer()
	write(b, s, writers, func(revision int64) {
		now := time.Now()
		mu.Lock()
		defer mu.Unlock()
		committed[revision] = now
	})
	<-ended
	lags := make([]time.Duration, 0, b.N)
	for revision, at := range committed {
		lags = append(lags, delivered[revision].Sub(at))
	}
	slices.Sort(lags)
	b.ReportMetric(float64(lags[len(lags)/2])/1e3, "µs-p50")
	b.ReportMetric(float64(lags[len(lags)*99/100])/1e3, "µs-p99")
}

// BenchmarkCommitEach64 finishes work items in batches of 64.
func BenchmarkCommitEach64(b *testing.B) {
	s := fsynced(b)
	for b.Loop() {
		txns := make([]record.Txn, 64)
		for i := range txns {
			txns[i].Put(numbered(i), []byte("done"))
		}
		if _, _, err := s.CommitEach(context.Background(), txns); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGet(b *testing.B) {
	s := fsynced(b)
	mustCommit(b, s, put("a", "1", 0))
	for b.Loop() {
		mustGet(b, s, "a")
	}
}
