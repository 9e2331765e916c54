//go:build !faultpoints

package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// makeFaults breaks links, processes and disks at random until ctx ends. It begins
// with those that the rest may not come to in a short run.
func (w *regionsWorld) makeFaults(ctx context.Context, r *rand.Rand) {
	rest(ctx, time.Second)
	w.changeAndBack(replicatedVaults[0])
	w.pauseSender(ctx, replicatedVaults[0].home)
	w.fillDisk(ctx, r, pick(r, replicatedVaults).home)
	for wait(ctx, r, 200*time.Millisecond, 900*time.Millisecond) {
		w.revive()
		w.breakLink(r)
		p := pick(r, w.processes)
		switch r.IntN(8) {
		case 0, 1, 2:
			w.count("fault: kill")
			w.t.Logf("killed %s", p.name)
			must(w.t, p.Kill())
			wait(ctx, r, 0, 800*time.Millisecond)
			w.start(p)
		case 3:
			w.pause(p, func() { wait(ctx, r, 100*time.Millisecond, 7*time.Second) })
		case 4:
			w.restart(p)
		case 5:
			w.fillDisk(ctx, r, p.region)
		}
	}
}

// rest lets time pass without taking from the source of randomness, from which the
// faults would otherwise differ with how long something took.
func rest(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (w *regionsWorld) start(p *regionProcess) {
	p.runs.Add(1)
	must(w.t, p.Start(w.t.Context()))
}

// restart stops a process in order, which gives what it owns to another, and
// starts it again.
func (w *regionsWorld) restart(p *regionProcess) {
	w.count("fault: restart")
	w.t.Logf("restarted %s", p.name)
	must(w.t, p.Stop())
	w.start(p)
}

// pauseSender pauses a process that sends, while its store goes on, until another
// one has taken over: the first wakes up with what it was about to send.
func (w *regionsWorld) pauseSender(ctx context.Context, region string) {
	var sends, other *regionProcess
	for _, p := range w.processes {
		switch {
		case p.region != region || !slices.Contains(w.regions.Region(secret.RegionName(region)).Controls(), p.Process):
		case sends == nil && w.senders(p) > 0:
			sends = p
		default:
			other = p
		}
	}
	before := w.senders(other)
	w.pause(sends, func() {
		w.eventually(other.name+" sends instead of "+sends.name, func(context.Context) error {
			if w.senders(other) == before {
				return errors.New("it does not")
			}
			return nil
		})
		rest(ctx, 500*time.Millisecond)
	})
	w.count("senders moved")
}

// senders counts how often a process became the one that sends to a region.
func (w *regionsWorld) senders(p *regionProcess) int {
	return strings.Count(w.logOf(p), "this process replicates to the region")
}

// pause pauses a process while something else is done.
func (w *regionsWorld) pause(p *regionProcess, meanwhile func()) {
	w.count("fault: pause")
	w.t.Logf("paused %s", p.name)
	signal := func(s syscall.Signal) {
		if err := p.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) { // it may just end of a full disk
			w.t.Fatal(err)
		}
	}
	signal(syscall.SIGSTOP)
	defer signal(syscall.SIGCONT)
	meanwhile()
}

// fillDisk leaves a region without room for a while: store, local stores, audit logs
// and logs. Processes may end of it.
func (w *regionsWorld) fillDisk(ctx context.Context, r *rand.Rand, region string) {
	d := w.disks[region]
	if d == nil {
		return
	}
	w.count("fault: full disk")
	w.t.Logf("%s: its disk is full", region)
	d.wasFull = true
	before := w.refusedWrites(region)
	must(w.t, d.fill())
	for end := time.Now().Add(8 * time.Second); w.refusedWrites(region) == before && time.Now().Before(end); {
		rest(ctx, 100*time.Millisecond)
	}
	wait(ctx, r, 0, 3*time.Second)
	must(w.t, d.free())
	w.t.Logf("%s: its disk has room again", region)
}

// refusedWrites counts what the processes of a region say of writes without room.
func (w *regionsWorld) refusedWrites(region string) (n int) {
	for _, p := range w.processes {
		if p.region == region {
			n += strings.Count(w.logOf(p), "no space left on device")
		}
	}
	return n
}

// revive starts the processes again that have ended by themselves, which only a full
// disk may have them do.
func (w *regionsWorld) revive() {
	for _, p := range w.processes {
		if p.Running() {
			if p.Signal(syscall.Signal(0)) == nil {
				continue
			}
			must(w.t, p.Kill()) // collects it
		}
		w.t.Logf("%s has ended by itself", p.name)
		w.count("ended of a full disk")
		if d := w.disks[p.region]; d == nil || !d.wasFull {
			w.wrongly(fmt.Errorf("%s has ended by itself: %s", p.name, last(w.logOf(p), 2000)))
		}
		w.start(p)
	}
}

func last(s string, n int) string { return s[max(0, len(s)-n):] }

func (w *regionsWorld) breakLink(r *rand.Rand) {
	from, to := r.IntN(3), r.IntN(2)
	if to >= from {
		to++
	}
	link := w.regions.Link(regionNames[from], regionNames[to])
	faults := []struct {
		name string
		do   func()
	}{
		{"cut", link.Cut}, {"black hole", link.Blackhole}, {"slow", func() { link.Delay(300 * time.Millisecond) }},
		{"thin", func() { link.Throttle(4 << 10) }}, {"whole", link.Heal}, {"whole", link.Heal},
		{"isolated", func() { w.regions.Isolate(regionNames[from]) }}, {"rejoined", func() { w.regions.Rejoin(regionNames[from]) }},
	}
	fault := pick(r, faults)
	w.count("fault: " + fault.name)
	w.t.Logf("from %s to %s: %s", regionNames[from], regionNames[to], fault.name)
	fault.do()
}

// changeTargets has vaults go to other regions at random until ctx ends.
func (w *regionsWorld) changeTargets(ctx context.Context, r *rand.Rand) {
	for wait(ctx, r, time.Second, 4*time.Second) {
		v := pick(r, replicatedVaults)
		var targets []string
		for _, target := range v.targets {
			if r.IntN(3) > 0 {
				targets = append(targets, target)
			}
		}
		err := w.replicate(context.WithoutCancel(ctx), pick(r, w.clients(v.home, v)), v, targets)
		w.t.Logf("%s is to go to %v: %v", v.name, targets, err)
		w.answered("targets", v.name, err)
	}
}

// changeAndBack takes the last target of a vault off and puts it on again.
func (w *regionsWorld) changeAndBack(v replicatedVault) {
	for _, targets := range [][]string{v.targets[:len(v.targets)-1], v.targets} {
		w.eventually(fmt.Sprintf("%s goes to %v", v.name, targets), func(ctx context.Context) error {
			return w.replicate(ctx, w.clients(v.home, v)[0], v, targets)
		})
		w.answered("targets", v.name, nil)
	}
}

// replicate sets the targets of a vault, unless somebody changes it meanwhile.
func (w *regionsWorld) replicate(ctx context.Context, c *client.Client, v replicatedVault, targets []string) error {
	got, err := c.GetVault(ctx, &lifeboatv1.GetVaultRequest{Vault: v.name})
	if err != nil {
		return err
	}
	wanted := &lifeboatv1.ReplicateVaultRequest_Targets{}
	for _, target := range targets {
		wanted.Targets = append(wanted.Targets, &lifeboatv1.Target{Region: target})
	}
	_, err = c.ReplicateVault(ctx, &lifeboatv1.ReplicateVaultRequest{
		Vault: v.name, Targets: wanted, ExpectedOrder: got.GetVault().GetOwnership().GetOrder(),
	})
	return err
}

// replicateAll has each vault go to all its targets.
func (w *regionsWorld) replicateAll() {
	for _, v := range replicatedVaults {
		w.eventually(v.name+" goes to all its targets", func(ctx context.Context) error {
			return w.replicate(ctx, w.clients(v.home, v)[0], v, v.targets)
		})
	}
}

// checkDropped takes the first target of each vault off and checks that it drops
// its copies.
func (w *regionsWorld) checkDropped() {
	for _, v := range replicatedVaults {
		gone := v.targets[0]
		w.eventually(v.name+" does not go to "+gone, func(ctx context.Context) error {
			return w.replicate(ctx, w.clients(v.home, v)[0], v, v.targets[1:])
		})
		for _, c := range w.clients(gone, v) {
			w.eventually(gone+" has dropped "+v.name, func(ctx context.Context) error {
				found, err := c.GetVault(ctx, &lifeboatv1.GetVaultRequest{Vault: v.name})
				if code := client.CodeOf(err); code == client.CodeNotFound || code == client.CodeUnauthenticated {
					return nil // without a vault there the account is gone too
				}
				return fmt.Errorf("it answers %v, %w", found, err)
			})
		}
	}
}
