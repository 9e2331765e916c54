package link_test

import (
	"bytes"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/link"
)

// BenchmarkUpload is how much one request carries to a peer 80 ms away.
func BenchmarkUpload(b *testing.B) {
	const size = 64 << 20
	p := newPair(b)
	p.west.mux.HandleFunc("/take", func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	p.east.await(b, "west", reachable)
	p.way.Delay(40 * time.Millisecond)
	client, err := p.east.links.Client("west")
	must(b, err)
	block := make([]byte, size)
	b.SetBytes(size)
	for b.Loop() {
		answer, err := client.Post(link.URL("west")+"/take", "application/octet-stream", bytes.NewReader(block)) //nolint:noctx // bounded by the benchmark
		must(b, err)
		must(b, answer.Body.Close())
	}
}
