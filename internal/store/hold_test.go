package store_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/store"
)

func TestHoldPassesTheRoleOn(t *testing.T) {
	t.Parallel()
	s := open(t, start(t, store.EmbeddedOptions{}).Client())
	before, err := s.Revision(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	f := follow(t, s, before)
	var holders atomic.Int32
	held := make(chan string)
	hold := func(ctx context.Context, owner string) <-chan error {
		ended := make(chan error, 1)
		go func() {
			ended <- s.Hold(ctx, "pipeline", 20*time.Second, owner, func(ctx context.Context) error {
				if n := holders.Add(1); n != 1 {
					t.Errorf("%d holders", n)
				}
				defer holders.Add(-1)
				held <- owner
				<-ctx.Done()
				return ctx.Err()
			})
		}()
		return ended
	}
	ctx1, stop1 := context.WithCancel(context.Background())
	ctx2, stop2 := context.WithCancel(context.Background())
	defer stop2()
	first := hold(ctx1, "one")
	if owner := <-held; owner != "one" {
		t.Fatalf("held by %s", owner)
	}
	second := hold(ctx2, "two")
	stop1()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("the first returned %v", err)
	}
	if owner := <-held; owner != "two" {
		t.Fatalf("passed on to %s", owner)
	}
	stop2()
	if err := <-second; !errors.Is(err, context.Canceled) {
		t.Errorf("the second returned %v", err)
	}
	last := mustCommit(t, s, put("a", "1", 0))
	if changes := f.reach(t, last); len(changes) != 1 {
		t.Errorf("the feed shows leases: %v", changes)
	}
	if keys := scanKeys(t, s, "", ""); len(keys) != 1 {
		t.Errorf("a scan shows leases: %v", keys)
	}
}

func TestHoldReturnsWhatRunReturns(t *testing.T) {
	t.Parallel()
	s := open(t, start(t, store.EmbeddedOptions{}).Client())
	boom := errors.New("boom")
	for range 2 { // the role is free again at once
		err := s.Hold(context.Background(), "r", time.Second, "one", func(context.Context) error { return boom })
		if !errors.Is(err, boom) {
			t.Errorf("got %v", err)
		}
	}
	wantCode(t, s.Hold(context.Background(), "r", time.Millisecond, "one", nil), secret.CodeInvalid)
}

// Whoever is cut off from the store is told to stop, and takes the role up again
// when it is back.
func TestHoldEndsWithItsLease(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	e := start(t, store.EmbeddedOptions{ListenClient: address})
	p := startProxy(t, address)
	s := dialPlain(t, p.address())
	ctx, cancel := context.WithCancel(context.Background())
	held, lost := make(chan struct{}), make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		ended <- s.Hold(ctx, "r", time.Second, "cut off", func(ctx context.Context) error {
			held <- struct{}{}
			<-ctx.Done()
			lost <- struct{}{}
			return ctx.Err()
		})
	}()
	<-held
	p.up.shut()
	p.down.shut()
	<-lost
	err := open(t, e.Client()).Hold(context.Background(), "r", time.Second, "heir", func(context.Context) error { return nil })
	if err != nil {
		t.Error(err)
	}
	p.cut()
	p.up.open()
	p.down.open()
	<-held
	cancel()
	<-lost
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
