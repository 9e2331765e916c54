package replica_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/replica"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// versionRecord is a version of 1 KB.
func versionRecord(n int) (record.Key, []byte) {
	id := secret.ID(fmt.Sprintf("v.%08d", n))
	v := &secret.Version{Secret: id, ID: "1", Value: bytes.Repeat([]byte{byte(n)}, 1024)}
	return record.VersionKey(id, v.ID), record.Versions.Encode(v)
}

func BenchmarkGet(b *testing.B) {
	const n = 100_000
	m := newMemory()
	for i := 0; i < n; i += 1000 {
		var writes []record.Write
		for j := range 1000 {
			key, value := versionRecord(i + j)
			writes = append(writes, record.Write{Key: key, Value: value})
		}
		m.commit(writes...)
	}
	h := start(b, options(b, m))
	h.wait(m.head())
	keys := make([]record.Key, n)
	for i := range keys {
		keys[i], _ = versionRecord(i)
	}
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		var key record.Key
		get := func(v record.View) error {
			s, ok, err := v.Get(key)
			if err != nil || !ok || len(s.Value) < 1024 {
				b.Error(key, ok, err)
			}
			return err
		}
		for pb.Next() {
			key = keys[rand.IntN(n)]
			_ = h.View(get)
		}
	})
}

// BenchmarkApply measures changes of 1 KB from commit to applied with fsync, as
// many in flight as the name says.
func BenchmarkApply(b *testing.B) {
	for _, burst := range []int{1, 64, 1024} {
		b.Run(fmt.Sprint(burst), func(b *testing.B) {
			m := newMemory()
			opts := options(b, m)
			opts.NoSync = false
			h := start(b, opts)
			h.wait(m.put(name(1), ref(1)))
			m.compact()
			for i := 0; i < b.N; i += burst {
				for j := range burst {
					m.put(versionRecord((i + j) % 50_000))
				}
				h.wait(m.head())
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N), "ns/change")
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, n := range []int{1000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			m := newMemory()
			var writes []record.Write
			for i := range n {
				key, value := versionRecord(i)
				writes = append(writes, record.Write{Key: key, Value: value})
			}
			m.commit(writes...)
			h := start(b, options(b, m))
			h.wait(m.head())
			h.end()
			for b.Loop() {
				l, err := replica.Open(h.opts)
				if err != nil {
					b.Fatal(err)
				}
				if err := l.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
