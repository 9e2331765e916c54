package failover_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
)

// writer puts unique values through one client until it is stopped.
type writer struct {
	running sync.WaitGroup
	stop    context.CancelFunc

	mu     sync.Mutex
	last   string
	token  string // of the last one
	errs   []error
	done   int
	within time.Duration // the longest that a write took
}

func (w *world) write(t *testing.T, c *client.Client) *writer {
	ctx, cancel := context.WithCancel(t.Context())
	writes := &writer{stop: cancel}
	writes.running.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			value := fmt.Sprint("value ", n)
			begin := time.Now()
			token, err := put(t.Context(), c, "shop", "busy", value)
			writes.mu.Lock()
			writes.done++
			writes.within = max(writes.within, time.Since(begin))
			if err != nil {
				writes.errs = append(writes.errs, err)
			} else {
				writes.last, writes.token = value, token
			}
			writes.mu.Unlock()
		}
	})
	return writes
}

func (w *writer) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.done
}

// TestAClientFollowsTheHome has the home move by a takeover, and back as planned, under
// clients that are never made anew.
func TestAClientFollowsTheHome(t *testing.T) {
	t.Parallel()
	w := start(t)
	ctx := t.Context()
	east, west := w.Region("east"), w.Region("west")
	c := w.client(t, 30*time.Second, "east", "west")
	_, err := put(ctx, c, "shop", "db", "of east")
	must(t, err)
	alone, err := c.At("west")
	must(t, err)
	until(t, "west has it", func() bool {
		_, _, err := read(ctx, alone, "shop", "db", "")
		return err == nil
	})

	w.Isolate("east")
	w.networks["east"].Cut()
	until(t, "west takes east over", func() bool {
		_, err := west.Operator().TakeOverRegion(ctx, connect.NewRequest(&lifeboatv1.TakeOverRegionRequest{Region: "east"}))
		return err == nil
	})
	begin := time.Now()
	token, err := put(ctx, c, "shop", "db", "of west")
	must(t, err)
	t.Logf("the first write after the takeover took %s", time.Since(begin))
	if value, region, err := read(ctx, c, "shop", "db", token); err != nil || value != "of west" || region != "west" {
		t.Errorf("read %q of %s, %v", value, region, err)
	}
	// A new secret, and one that there is not: west knows for sure now.
	_, err = put(ctx, c, "shop", "new", "made in west")
	must(t, err)
	_, _, err = read(ctx, c, "shop", "nothing", "")
	wantCode(t, err, client.CodeNotFound)
	until(t, "balancers send writes to west", func() bool {
		answer, err := west.Client(west.Host(0), "").HTTP.Get(west.Host(0).URL() + "/health/vaults/" + w.vault + "/writes")
		if err != nil {
			return false
		}
		defer func() { _ = answer.Body.Close() }()
		return answer.StatusCode == http.StatusOK
	})

	// East returns as a replica. The token of west holds there: that state, or a refusal.
	w.Rejoin("east")
	w.networks["east"].Heal()
	back := w.client(t, 30*time.Second, "east")
	until(t, "east has it too", func() bool {
		value, _, err := read(ctx, back, "shop", "db", token)
		if err == nil && value != "of west" {
			t.Fatalf("east answers %q to a token of west", value)
		}
		return err == nil
	})
	until(t, "nothing is taken over any more", func() bool {
		for _, r := range w.All() {
			answer, err := r.Operator().ListTakeovers(ctx, connect.NewRequest(&lifeboatv1.ListTakeoversRequest{}))
			if err != nil || len(answer.Msg.GetTakeovers())+len(answer.Msg.GetSupersededBy()) > 0 {
				return false
			}
		}
		return true
	})
	w.moveUnderWrites(t, c, east.Name())
}

// moveUnderWrites moves the vault as planned. Every write succeeds: one that comes while
// the secret is on its way waits for it.
func (w *world) moveUnderWrites(t *testing.T, c *client.Client, to string) {
	t.Helper()
	writes := w.write(t, c)
	until(t, "writes arrive", func() bool { return writes.count() > 3 })
	west := w.Region("west")
	_, err := west.Client(west.Control(), w.token).MoveVault(t.Context(), connect.NewRequest(&lifeboatv1.MoveVaultRequest{Vault: "shop", To: to}))
	must(t, err)
	homes := func() []string {
		var homes []string
		for _, name := range []string{"db", "busy", "new"} {
			got, err := c.DescribeSecret(t.Context(), &client.DescribeSecretRequest{Vault: "shop", Secret: name})
			if err == nil {
				homes = append(homes, got.GetSecret().GetOwnership().GetHomeRegion())
			}
		}
		return homes
	}
	until(t, "all have moved", func() bool { return slices.Equal(homes(), []string{to, to, to}) })
	more := writes.count() + 3
	until(t, "writes arrive in "+to, func() bool { return writes.count() > more })
	writes.stop()
	writes.running.Wait()
	t.Logf("%d writes, %d failed; the longest took %s", writes.done, len(writes.errs), writes.within)
	for _, err := range writes.errs {
		t.Errorf("a write failed during the move: %v", err)
	}
	if value, _, err := read(t.Context(), c, "shop", "busy", writes.token); err != nil || value != writes.last {
		t.Errorf("read %q, %v; the last write was %q", value, err, writes.last)
	}
}
