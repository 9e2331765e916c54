package keyring_test

import (
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/keyring"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func BenchmarkOpen1KiB(b *testing.B) {
	w := newWorld(b, keyring.Options{Now: time.Now})
	sealed := w.seal(b, vault, string(make([]byte, 1024)), place())
	b.SetBytes(1024)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.Open(b.Context(), &w.shard, vault, sealed, place()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen1KiBParallel(b *testing.B) {
	w := newWorld(b, keyring.Options{Now: time.Now})
	sealed := w.seal(b, vault, string(make([]byte, 1024)), place())
	ctx := b.Context()
	b.SetBytes(1024)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := w.Open(ctx, &w.shard, vault, sealed, place()); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkSeal1KiB(b *testing.B) {
	w := newWorld(b, keyring.Options{Now: time.Now})
	s := w.sealer(b, vault)
	content := secret.NewPlaintext(make([]byte, 1024))
	b.SetBytes(1024)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Seal(content, place()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMAC1KiB(b *testing.B) {
	s := newWorld(b, keyring.Options{Now: time.Now}).sealer(b, vault)
	content := make([]byte, 1024)
	b.ReportAllocs()
	for b.Loop() {
		s.MAC("value", content)
	}
}
