package faultproxy_test

import (
	"io"
	"testing"
	"time"
)

// BenchmarkDelayed is how much a connection carries over 80 ms of round trip.
func BenchmarkDelayed(b *testing.B) {
	for _, delay := range []time.Duration{0, 40 * time.Millisecond, 100 * time.Millisecond} {
		b.Run(delay.String(), func(b *testing.B) {
			const size = 256 << 20
			p := start(b, sink(b))
			c := dial(b, p)
			p.Delay(delay)
			b.SetBytes(size)
			block := make([]byte, 1<<20)
			for b.Loop() {
				for range size / len(block) {
					if _, err := c.Write(block); err != nil {
						b.Fatal(err)
					}
				}
				if _, err := c.Write([]byte{1}); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
