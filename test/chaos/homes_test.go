//go:build !faultpoints

package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
)

// homesWorld is a regionsWorld whose vaults change their homes, and what its clients
// were told.
type homesWorld struct {
	*regionsWorld
	ledger ledger
}

// TestHomes takes regions over, lets them return, and moves vaults, at random moments
// and under the faults of TestRegions, while clients write unique values in whichever
// region takes them. After all is healed each value that was acknowledged, by whomever,
// is in a version of its secret or in a conflict that is listed (G7), revision tokens
// say which (G2), every secret has one home and equal copies everywhere (G6), and no
// reader has seen a copy go back (G3).
func TestHomes(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("repeat with: go test ./test/chaos -run TestHomes -chaos.seed %d -chaos.duration %s", seed, *durationFlag)
	w := &homesWorld{regionsWorld: beginRegions(t), ledger: newLedger()}
	ctx, cancel := context.WithTimeout(t.Context(), *durationFlag)
	defer cancel()
	reading, stop := context.WithCancel(t.Context()) // also while the regions catch up
	defer stop()
	var load, readers sync.WaitGroup
	stream := uint64(0)
	next := func() *rand.Rand { stream++; return rand.New(rand.NewPCG(seed, stream)) }
	for _, v := range replicatedVaults {
		for i := range 3 {
			r := next()
			load.Go(func() { (&scribe{world: w, vault: v, id: i, r: r}).work(ctx) })
		}
		for _, p := range w.processes {
			if r := next(); p.clients[v.name] != nil && v.in(p.region) {
				readers.Go(func() { w.poll(reading, p, v, r) })
			}
		}
	}
	breaks := next()
	load.Go(func() { w.breakThings(ctx, breaks) })
	moves := next()
	load.Go(func() { w.moveVaults(ctx, moves) })
	targets := next()
	if *durationFlag > 20*time.Second { // a target that is new again needs some time
		load.Go(func() { w.changeTargetsAtHome(ctx, targets) })
	}
	w.loseRegions(ctx, next())
	load.Wait()
	w.mend()
	w.replicateFromHomes() // also a region that took over what it was no target of any more
	w.reconciled()
	w.quiet()
	w.replicateFromHomes()
	w.reconciled()
	w.quiet()
	stop()
	readers.Wait()
	w.checkHomes()
}

// in reports whether a region is to hold the vault.
func (v replicatedVault) in(region string) bool {
	return region == v.home || slices.Contains(v.targets, region)
}

// holders are the regions that hold a vault, in the order of regionNames.
func (v replicatedVault) holders() (all []string) {
	for _, region := range regionNames {
		if v.in(region) {
			all = append(all, region)
		}
	}
	return all
}

// loseRegions cuts a region off, or does not, and has another one take it over, again
// and again until ctx ends. The first time all goes by the book.
func (w *homesWorld) loseRegions(ctx context.Context, r *rand.Rand) {
	rest(ctx, 500*time.Millisecond)
	w.lose(ctx, r, "east", "west", true)
	for wait(ctx, r, 500*time.Millisecond, 4*time.Second) {
		lost, heir := pick(r, regionNames), pick(r, regionNames)
		if lost == heir {
			continue
		}
		w.lose(ctx, r, lost, heir, r.IntN(3) > 0)
		if third := w.third(lost, heir); r.IntN(4) == 0 { // two heirs
			w.takeOver(ctx, third, lost, true)
		}
		if wait(ctx, r, 0, 3*time.Second) && r.IntN(3) > 0 {
			w.t.Logf("%s is rejoined", lost)
			w.regions.Rejoin(lost)
		}
	}
}

func (w *homesWorld) third(a, b string) string {
	return regionNames[slices.IndexFunc(regionNames, func(r string) bool { return r != a && r != b })]
}

// lose has heir take lost over, cut off or not.
func (w *homesWorld) lose(ctx context.Context, r *rand.Rand, lost, heir string, cut bool) {
	if cut {
		w.t.Logf("%s is cut off", lost)
		w.count("fault: isolated")
		w.regions.Isolate(lost)
		wait(ctx, r, 0, time.Second)
	}
	w.takeOver(ctx, heir, lost, !cut || r.IntN(2) == 0)
	wait(ctx, r, 0, 2*time.Second)
	if cut {
		w.t.Logf("%s is back", lost)
		w.regions.Rejoin(lost)
	}
}

// takeOver asks for a takeover until it is one, for a few seconds. A region that says it
// is one already, after an attempt that it did not answer, counts as having made it then.
// If it goes on refusing, as when a link was mended meanwhile and the lost region can be
// reached, it is told to take it over all the same.
func (w *homesWorld) takeOver(ctx context.Context, heir, lost string, unfenced bool) {
	var err error
	unanswered := false
	for attempt := range 10 {
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), attemptTimeout)
		_, err = w.operators[heir].TakeOverRegion(limited, &lifeboatv1.TakeOverRegionRequest{Region: lost, AcceptUnfenced: unfenced || attempt >= 5})
		cancel()
		code := client.CodeOf(err)
		if err == nil || code == client.CodeExists {
			break
		}
		unanswered = unanswered || client.MayBeDone(err)
		rest(ctx, 300*time.Millisecond)
	}
	w.t.Logf("%s takes %s over: %v", heir, lost, err)
	if err == nil || unanswered && client.CodeOf(err) == client.CodeExists {
		w.count("takeover")
	}
}

// moveVaults moves vaults as planned, and takes some moves back, until ctx ends.
func (w *homesWorld) moveVaults(ctx context.Context, r *rand.Rand) {
	for wait(ctx, r, time.Second, 5*time.Second) {
		v := pick(r, replicatedVaults)
		at, to := pick(r, v.holders()), pick(r, v.holders())
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), attemptTimeout)
		c := pick(r, w.clients(at, v))
		_, err := c.MoveVault(limited, &lifeboatv1.MoveVaultRequest{Vault: v.name, To: to})
		if e, ok := errors.AsType[*client.Error](err); ok && e.Code == client.CodeNotHome && e.Home != to && v.in(e.Home) {
			at = e.Home
			_, err = pick(r, w.clients(at, v)).MoveVault(limited, &lifeboatv1.MoveVaultRequest{Vault: v.name, To: to})
		}
		w.t.Logf("%s is to move from %s to %s: %v", v.name, at, to, err)
		if err == nil {
			w.count("move")
			if r.IntN(5) == 0 {
				_, err := c.AbortMove(limited, &lifeboatv1.AbortMoveRequest{Vault: v.name})
				w.t.Logf("the move of %s is taken back: %v", v.name, err)
			}
		}
		cancel()
	}
}

// changeTargetsAtHome has vaults go to other regions at random until ctx ends.
func (w *homesWorld) changeTargetsAtHome(ctx context.Context, r *rand.Rand) {
	for wait(ctx, r, 2*time.Second, 8*time.Second) {
		v := pick(r, replicatedVaults)
		var targets []string
		for _, target := range v.holders() {
			if r.IntN(4) > 0 {
				targets = append(targets, target)
			}
		}
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), attemptTimeout)
		home, err := w.replicateFromHome(limited, v, pick(r, v.holders()), targets)
		cancel()
		w.t.Logf("%s, whose home is %s, is to go to %v: %v", v.name, home, targets, err)
		if err == nil {
			w.count("targets ")
		}
	}
}

// replicateFromHome sets the targets of a vault where its home is, as a region knows.
func (w *homesWorld) replicateFromHome(ctx context.Context, v replicatedVault, asked string, targets []string) (home string, err error) {
	got, err := w.clients(asked, v)[0].GetVault(ctx, &lifeboatv1.GetVaultRequest{Vault: v.name})
	if err != nil {
		return "", err
	}
	home = got.GetVault().GetOwnership().GetHomeRegion()
	others := slices.DeleteFunc(slices.Clone(targets), func(region string) bool { return region == home })
	return home, w.replicate(ctx, w.clients(home, v)[0], v, others)
}

// replicateFromHomes has each vault go to all regions that are to hold it.
func (w *homesWorld) replicateFromHomes() {
	for _, v := range replicatedVaults {
		w.eventually(v.name+" goes to all its targets", func(ctx context.Context) (err error) {
			for _, asked := range v.holders() { // one of them has the vault
				if _, err = w.replicateFromHome(ctx, v, asked, v.holders()); err == nil {
					return nil
				}
			}
			return err
		})
	}
}

// breakThings breaks links, processes and disks at random until ctx ends.
func (w *homesWorld) breakThings(ctx context.Context, r *rand.Rand) {
	for wait(ctx, r, 300*time.Millisecond, 1500*time.Millisecond) {
		w.revive()
		p := pick(r, w.processes)
		switch r.IntN(12) {
		case 0, 1, 2:
			w.count("fault: kill")
			w.t.Logf("killed %s", p.name)
			must(w.t, p.Kill())
			wait(ctx, r, 0, 800*time.Millisecond)
			w.start(p)
		case 3, 4:
			w.pause(p, func() { wait(ctx, r, 100*time.Millisecond, 7*time.Second) })
		case 5:
			w.restart(p)
		case 6, 7, 8:
			w.breakLink(r)
		case 9:
			if *durationFlag > time.Minute {
				w.fillDisk(ctx, r, p.region)
			}
		}
	}
}

// reconciled waits until no region has taken another one over any more, and none moves.
func (w *homesWorld) reconciled() {
	for _, name := range regionNames {
		w.eventually(name+" has taken nobody over, and is not", func(ctx context.Context) error {
			w.retryQueues(ctx, name)
			answer, err := w.operators[name].ListTakeovers(ctx, &lifeboatv1.ListTakeoversRequest{})
			if err == nil && len(answer.GetTakeovers())+len(answer.GetSupersededBy()) > 0 {
				err = fmt.Errorf("it says %v; messages: %v", answer, w.failed(ctx))
			}
			return err
		})
		w.eventually(name+" moves nothing", func(ctx context.Context) error {
			w.retryQueues(ctx, name)
			answer, err := w.operators[name].ListMoves(ctx, &lifeboatv1.ListMovesRequest{})
			if err == nil && len(answer.GetMoves()) > 0 {
				err = fmt.Errorf("it says %v", answer)
			}
			return err
		})
	}
}

// retryQueues has a region try at once what waits; whoever returns waits for it.
func (w *homesWorld) retryQueues(ctx context.Context, name string) {
	queues, err := w.operators[name].ListQueues(ctx, &lifeboatv1.ListQueuesRequest{})
	if err != nil {
		return
	}
	for _, q := range queues.GetQueues() {
		if q.GetDepth() > 0 {
			_, _ = w.operators[name].RetryQueue(ctx, &lifeboatv1.RetryQueueRequest{Region: q.GetRegion()})
		}
	}
}

// failed is what regions were refused, for whoever reads of a failure.
func (w *homesWorld) failed(ctx context.Context) (all []string) {
	for _, name := range regionNames {
		for _, target := range regionNames {
			if name == target {
				continue
			}
			for f, err := range w.operators[name].ListFailures(ctx, &lifeboatv1.ListFailuresRequest{Region: target}) {
				all = append(all, fmt.Sprint(name, " to ", target, ": ", f, err))
			}
		}
	}
	return all
}
