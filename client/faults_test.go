package client_test

import (
	"context"
	"fmt"
	"math/rand/v2"
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

	at, err := w.At(names[0])
	if err != nil {
		t.Fatal(err)
	}
	var writers []*writer
	var writing sync.WaitGroup
	for i, through := range []*client.Client{w.Client, w.Client, w.Client, w.Client, at, at} {
		each := &writer{id: fmt.Sprint("w", i), through: through, follows: through == w.Client}
		writers = append(writers, each)
		writing.Go(func() { each.work(failing) })
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
	succeeded, tried := 0, 0
	for _, each := range writers {
		each.check(t, done)
		if each.follows {
			succeeded, tried = succeeded+len(each.acknowledged), tried+each.tried
		}
	}
	if succeeded < tried/10 {
		t.Errorf("only %d of %d writes succeeded", succeeded, tried)
	}
}

// writer writes, and keeps what it was told.
type writer struct {
	id      string
	through *client.Client
	// follows is set if the client knows all regions, and follows the home.
	follows bool

	tried                 int
	acknowledged, refused []string
}

func (w *writer) work(ctx context.Context) {
	for ; ctx.Err() == nil; w.tried++ {
		id := fmt.Sprint(w.id, "-", w.tried)
		var err error
		if w.tried%2 == 0 {
			_, err = w.through.DeleteVault(context.WithoutCancel(ctx), &lifeboatv1.DeleteVaultRequest{Vault: id})
			id = "delete vault " + id
		} else {
			_, err = w.through.PutSecretVersion(context.WithoutCancel(ctx), &client.PutSecretVersionRequest{Vault: "v", Secret: "s", Value: []byte("x"), RequestToken: id})
			id = "put " + id
		}
		switch {
		case err == nil:
			w.acknowledged = append(w.acknowledged, id)
		case !client.MayBeDone(err):
			w.refused = append(w.refused, id)
		}
	}
}

func (w *writer) check(t *testing.T, done map[string]int) {
	for _, what := range w.acknowledged {
		if done[what] == 0 {
			t.Errorf("%s: acknowledged, but not done", what)
		}
	}
	for _, what := range w.refused {
		if done[what] > 0 {
			t.Errorf("%s: refused, but done", what)
		}
	}
	t.Logf("%s: of %d writes %d were acknowledged, %d refused", w.id, w.tried, len(w.acknowledged), len(w.refused))
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
