package queue_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/queue"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// secretKey is as long as keys are.
func secretKey(n int) record.Key {
	return record.Key(fmt.Sprintf("secret/01J00000000000000000000000/01J%023d", n))
}

func feed(q *queue.Queue, target secret.RegionName, from, to int) {
	changes := make([]record.Change, 0, to-from)
	for n := from; n < to; n++ {
		changes = append(changes, record.Change{Stored: record.Stored{
			Key: record.MessageKey(target, secretKey(n)), Revision: int64(n + 1),
			Value: record.Messages.Encode(&recordpb.Message{Target: string(target), Record: string(secretKey(n)), CommittedAt: int64(n + 1), Since: int64(n + 1)}),
		}})
	}
	q.Changed(changes)
}

func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// What a full queue costs in memory: B/message.
func BenchmarkMemory(b *testing.B) {
	for _, targets := range []int{1, 10} {
		b.Run(fmt.Sprintf("targets=%d", targets), func(b *testing.B) {
			for range b.N {
				before := heapInUse()
				s := newShard()
				p := s.start(b, queue.Options{})
				for i := range targets {
					feed(p.Queue, secret.RegionName(fmt.Sprint("region-", i)), 0, 100_000)
				}
				b.ReportMetric(float64(heapInUse()-before)/float64(targets*100_000), "B/message")
				runtime.KeepAlive(p)
			}
		})
	}
}

func BenchmarkEnqueue(b *testing.B) {
	for _, depth := range []int{0, 99_999} {
		b.Run(fmt.Sprintf("depth=%d", depth), func(b *testing.B) {
			s := newShard()
			p := s.start(b, queue.Options{})
			feed(p.Queue, west, 0, depth)
			k, targets, now := secretKey(1), []secret.RegionName{west}, time.Now()
			b.ReportAllocs()
			for b.Loop() {
				var txn record.Txn
				p.Enqueue(&txn, targets, k, now)
			}
		})
	}
}

func BenchmarkTakeAndRelease(b *testing.B) {
	s := newShard()
	p := s.start(b, queue.Options{})
	feed(p.Queue, west, 0, 100_000)
	b.ReportAllocs()
	for b.Loop() {
		p.Release(west, p.Take(west, 1), 0)
	}
}
