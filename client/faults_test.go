package client_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
)

// TestUnderRandomFaults writes while regions are cut off, break connections off after
// they have done what they were asked, and hand the home to each other. What carries no
// request token is done at most once, and once if the caller was told so; what carries
// one is always done under the same.
func TestUnderRandomFaults(t *testing.T) {
	w := newWorld(t, func(c *client.Config) { c.Timeout = 300 * time.Millisecond }, "east", "west", "south")
	names := w.Regions()
	ruled := &atomic.Pointer[string]{}
	ruled.Store(&names[0])
	for i, name := range names {
		w.regions[name].ruled, w.regions[name].heir = ruled, names[(i+1)%len(names)]
	}
	failing, healed := context.WithCancel(t.Context())
	var faults sync.WaitGroup
	faults.Go(func() {
		defer healed()
		w.fail(names, ruled)
	})

	const writers = 4
	tried := make([]int, writers)
	acknowledged := make([][]string, writers)
	var writing sync.WaitGroup
	for i := range writers {
		writing.Go(func() {
			for n := 0; failing.Err() == nil; n++ {
				tried[i]++
				id := fmt.Sprintf("w%d-%d", i, n)
				var err error
				if n%2 == 0 {
					_, err = w.DeleteVault(t.Context(), &lifeboatv1.DeleteVaultRequest{Vault: id})
					id = "delete vault " + id
				} else {
					_, err = w.PutSecretVersion(t.Context(), &client.PutSecretVersionRequest{Vault: "v", Secret: "s", Value: []byte("x"), RequestToken: id})
					id = "put " + id
				}
				if err == nil {
					acknowledged[i] = append(acknowledged[i], id)
				}
			}
		})
	}
	faults.Wait()
	writing.Wait()

	done := map[string]int{}
	for _, f := range w.regions {
		for _, what := range f.done {
			done[what]++
		}
	}
	for what, times := range done {
		if times > 1 && what[:3] != "put" {
			t.Errorf("%s: done %d times", what, times)
		}
	}
	told := slices.Concat(acknowledged...)
	for _, what := range told {
		if done[what] == 0 {
			t.Errorf("%s: acknowledged, but not done", what)
		}
	}
	all := tried[0] + tried[1] + tried[2] + tried[3]
	if len(told) < all/10 {
		t.Errorf("only %d of %d writes succeeded", len(told), all)
	}
	t.Logf("%d of %d acknowledged, %d done", len(told), all, len(done))
}

// fail changes the world many times, at random moments, and heals it then.
func (w *world) fail(names []string, ruled *atomic.Pointer[string]) {
	for range 200 {
		at := names[rand.IntN(len(names))]
		switch rand.IntN(5) {
		case 0:
			w.network[at].Cut()
		case 1, 2:
			w.network[at].Heal()
		case 3:
			breaks := rand.IntN(3) > 0
			w.regions[at].set(func() { w.regions[at].breaks = breaks })
		case 4:
			ruled.Store(&at)
		}
		time.Sleep(rand.N(10 * time.Millisecond)) // a fault lasts for a while
	}
	for _, name := range names {
		w.network[name].Heal()
		w.regions[name].set(func() { w.regions[name].breaks = false })
	}
}
