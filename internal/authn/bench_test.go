package authn

import "testing"

func BenchmarkBearer(b *testing.B) {
	w := newWorld()
	a := newAuthenticator(b, Options{})
	if _, err := a.Bearer(w, w.token, now); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Bearer(w, w.token, now); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBearerParallel(b *testing.B) {
	w := newWorld()
	a := newAuthenticator(b, Options{})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := a.Bearer(w, w.token, now); err != nil {
				b.Error(err)
			}
		}
	})
}
