package main

import (
	"os"
	"testing"
	"time"
)

// TestMain lets the test binary be the region's processes too.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		if role, ok := roles[os.Args[1]]; ok {
			exit(role(os.Args[2:]))
		}
	}
	os.Exit(m.Run())
}

// A region that was under load, with watches, broken connections and refused
// requests, has as many goroutines and descriptors as before. Whether memory
// grows takes longer to tell: make soak.
func TestSoakLeaksNothing(t *testing.T) {
	found, requests, err := soak(t.Context(), soakOptions{duration: 8 * time.Second, sampleEach: time.Second, dir: t.TempDir(), log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != hosts+1 || requests < 100 {
		t.Fatalf("%d processes answered %d requests", len(found), requests)
	}
	for _, s := range found {
		if s.after.goroutines > s.before.goroutines+soakSlack {
			t.Errorf("%s had %d goroutines before the load and has %d after it", s.process, s.before.goroutines, s.after.goroutines)
		}
		if s.after.descriptors > s.before.descriptors+soakSlack {
			t.Errorf("%s had %d descriptors before the load and has %d after it", s.process, s.before.descriptors, s.after.descriptors)
		}
		if len(s.samples) == 0 {
			t.Errorf("%s was not sampled", s.process)
		}
	}
}

func TestGrowth(t *testing.T) {
	for _, tt := range []struct {
		name string
		anon []float64
		want float64
	}{
		{"too few samples", []float64{1, 2}, 0},
		{"the first third does not count", []float64{1, 1, 100, 100, 100, 100}, 0},
		{"growth", []float64{1, 1, 100, 100, 110, 110}, 10},
		{"less", []float64{1, 100, 50}, -50},
	} {
		s := &soaked{}
		for _, a := range tt.anon {
			s.samples = append(s.samples, use{anonMB: a})
		}
		if got := s.growthPercent(); got < tt.want-1e-9 || got > tt.want+1e-9 {
			t.Errorf("%s: grew %g %%, want %g", tt.name, got, tt.want)
		}
	}
}
