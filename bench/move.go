package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
)

// moving is how many secrets a vault has that moves, each with a writer.
const moving = 32

// measureMove measures how long secrets cannot be changed while their vault moves over
// a link with a round trip: the longest write of each, of writers that go on without a
// break and know only the former home.
func measureMove(ctx context.Context, b *bench) (err error) {
	r, err := startReplicated(ctx, filepath.Join(b.dir, "move"), "west")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	for i := range moving {
		if err := r.put(ctx, fmt.Sprintf("secret-%d", i), []byte("one")); err != nil {
			return err
		}
	}
	if err := r.waitEmpty(ctx, "west"); err != nil {
		return err
	}
	r.delay(roundTrip)
	during, stop := context.WithCancel(ctx)
	defer stop()
	pauses := make([]float64, moving)
	var g errgroup.Group
	for i := range pauses {
		g.Go(func() error {
			for during.Err() == nil {
				began := time.Now()
				if err := r.put(ctx, fmt.Sprintf("secret-%d", i), []byte("another")); err != nil {
					return err
				}
				pauses[i] = max(pauses[i], time.Since(began).Seconds()*1000)
			}
			return nil
		})
	}
	moved := r.moveVault(ctx)
	stop()
	if err := errors.Join(moved, g.Wait()); err != nil {
		return err
	}
	b.report.add("move_pause_p50_ms", "ms", percentile(pauses, 50))
	b.report.add("move_pause_p99_ms", "ms", percentile(pauses, 99))
	return nil
}

// moveVault moves the vault to west and waits until that is done.
func (r *replicated) moveVault(ctx context.Context) error {
	if _, err := r.client().MoveVault(ctx, connect.NewRequest(&lifeboatv1.MoveVaultRequest{Vault: r.account.Vault, To: "west"})); err != nil {
		return err
	}
	for {
		answer, err := r.Region(home).Operator().ListMoves(ctx, connect.NewRequest(&lifeboatv1.ListMovesRequest{}))
		if err != nil || len(answer.Msg.GetMoves()) == 0 {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}
