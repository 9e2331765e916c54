//go:build !faultpoints

package chaos_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"
)

// TestKill kills and pauses processes at random under load, and then checks what
// was promised: nothing that was acknowledged is lost or done twice, no client
// with a revision token goes back, all processes end up with the same records,
// each acknowledged mutation has its audit line, and nothing is on disk in the
// clear.
func TestKill(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("repeat with: go test ./test/chaos -run TestKill -chaos.seed %d -chaos.duration %s", seed, *durationFlag)
	c := begin(t, shape{controls: 1, hosts: 3})
	end := time.Now().Add(*durationFlag)
	for round := uint64(0); time.Now().Before(end) && !t.Failed(); round++ {
		c.killRound(newLoad(c, seed+round, fmt.Sprintf("round-%d/", round)), min(time.Until(end), roundDuration))
	}
}

// roundDuration bounds how long one load runs: the check of its history takes
// memory and time that grow with it.
const roundDuration = 15 * time.Second

// killRound makes faults under load and checks what came of it.
func (c *cell) killRound(l *load, duration time.Duration) {
	ctx, cancel := context.WithTimeout(c.t.Context(), duration)
	defer cancel()
	loaded := make(chan struct{})
	go func() {
		defer close(loaded)
		l.run(ctx)
	}()
	c.makeFaults(ctx, l.random(0))
	<-loaded
	c.restart()
	c.settled()
	l.check()
	c.t.Logf("%s answers: %v; %d walks, %d operations, %d acknowledged mutations",
		l.prefix, l.answers, l.walks, len(l.history.operations), len(l.acknowledged))
}

// check looks at everything that must hold in the end.
func (l *load) check() {
	t := l.cell.t
	final := l.cell.checkEqual(l.prefix)
	states := map[string]map[uint64]string{}
	for _, name := range l.stable {
		states[name] = final[name].values
	}
	for i, err := range append(l.wrong, l.history.check(states)...) {
		if i == 20 {
			t.Error("… and more")
			break
		}
		t.Error(err)
	}
	l.checkChurn(final)
	l.checkAudit()
	l.cell.checkNoPlaintext(l.canary, l.cell.operator, l.cell.admin)
	if l.walks == 0 || len(l.acknowledged) < 30 {
		t.Errorf("too little was done to show anything: %d walks, %d acknowledged mutations", l.walks, len(l.acknowledged))
	}
}

// restart starts what does not run.
func (c *cell) restart() {
	for _, p := range c.processes() {
		if !p.running() {
			p.start()
		}
	}
}

// makeFaults kills and pauses processes at random until ctx ends. It leaves none
// paused; some may be down.
func (c *cell) makeFaults(ctx context.Context, r *rand.Rand) {
	for wait(ctx, r, 400*time.Millisecond, 1200*time.Millisecond) {
		switch r.IntN(7) {
		case 0, 1:
			c.killSome(ctx, r, pick(r, c.hosts))
		case 2:
			c.killSome(ctx, r, pick(r, c.controls))
		case 3:
			c.killSome(ctx, r, pick(r, c.hosts), pick(r, c.controls))
		case 4:
			c.killSome(ctx, r, c.processes()...)
		case 5:
			c.pause(ctx, r, pick(r, c.hosts))
		case 6:
			c.pause(ctx, r, pick(r, c.controls))
		}
	}
}

// killSome kills the processes at once and starts them again after a while.
func (c *cell) killSome(ctx context.Context, r *rand.Rand, some ...*process) {
	var ids []string
	for _, p := range some {
		p.kill()
		ids = append(ids, p.id)
	}
	c.t.Logf("killed %v", ids)
	wait(ctx, r, 0, 800*time.Millisecond)
	for _, p := range some {
		p.start()
	}
}

// pause stops a process from running for a while, as a virtual machine that is
// moved, or a host that swaps.
func (c *cell) pause(ctx context.Context, r *rand.Rand, p *process) {
	p.signal(syscall.SIGSTOP)
	c.t.Logf("paused %s", p.id)
	wait(ctx, r, 100*time.Millisecond, 2*time.Second)
	p.signal(syscall.SIGCONT)
}

// wait lets time pass, between least and most, and reports whether ctx goes on.
func wait(ctx context.Context, r *rand.Rand, least, most time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(least + time.Duration(r.Int64N(int64(most-least)))):
		return true
	}
}
