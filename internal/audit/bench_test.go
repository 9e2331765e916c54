package audit

import (
	"path/filepath"
	"testing"
)

// BenchmarkWrite is the cost of one line on the path of a request, with 16
// requests at once for every two processors.
func BenchmarkWrite(b *testing.B) {
	for _, sync := range []Sync{SyncNone, SyncInterval} {
		b.Run(string(sync), func(b *testing.B) {
			l := openTest(b, Options{Paths: []string{filepath.Join(b.TempDir(), "audit.log")}, Sync: sync})
			e := testEntry()
			b.ReportAllocs()
			b.SetParallelism(8)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := l.Write(e); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	c := encoder{buf: make([]byte, 0, 2*MaxLineBytes)}
	e := testEntry()
	b.ReportAllocs()
	for b.Loop() {
		c.encode(nil, e)
	}
}
