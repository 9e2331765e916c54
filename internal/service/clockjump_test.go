package service_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// machine is what the processes of a region run on; its clocks are the harness's.
type machine struct {
	h          *harness
	passed, up time.Duration
	boot       string
}

func startMachine(t *testing.T) *machine {
	m := &machine{h: start(t), boot: "first"}
	m.h.Passed = func() time.Duration { return m.passed }
	m.h.Boot = func() (string, time.Duration) { return m.boot, m.up }
	return m
}

// run lets time pass with the process running.
func (m *machine) run(d time.Duration) {
	m.h.pass(d)
	m.passed += d
	m.up += d
}

// restart has the process be away for a while; the machine stays on.
func (m *machine) restart(away time.Duration) {
	m.run(away)
	m.passed = 0
	m.h.Service = service.New(m.h.Options)
}

// reboot has the machine be off for a while.
func (m *machine) reboot(off time.Duration) {
	m.restart(off)
	m.boot += "+"
	m.up = time.Minute
}

// jump sets the time of day.
func (m *machine) jump(by time.Duration) { m.h.pass(by) }

// held is how much of the time of day does not count yet.
func (m *machine) held() time.Duration {
	m.h.t.Helper()
	at, err := service.SoundTime(m.h.Service, m.h.t.Context())
	must(m.h.t, err)
	return m.h.now().Sub(at)
}

func TestClockJumpsAcrossRestarts(t *testing.T) {
	for name, c := range map[string]struct {
		happens func(*machine)
		held    time.Duration
	}{
		"nothing":                              {func(m *machine) { m.run(day) }, 0},
		"a process is away, its machine is on": {func(m *machine) { m.restart(20 * day) }, 0},
		"a short reboot":                       {func(m *machine) { m.reboot(time.Hour) }, 0},
		"a long time off":                      {func(m *machine) { m.reboot(20 * day) }, 20 * day},
		"a jump while the process is away":     {func(m *machine) { m.restart(time.Hour); m.jump(20 * day) }, 20 * day},
		"a jump of a machine that is off":      {func(m *machine) { m.reboot(time.Minute); m.jump(20 * day) }, 20*day + time.Minute},
		"a small correction":                   {func(m *machine) { m.restart(time.Hour); m.jump(50 * time.Minute) }, 0},
		"set back":                             {func(m *machine) { m.restart(time.Hour); m.jump(-20 * day) }, 0},
		"set back while off":                   {func(m *machine) { m.reboot(time.Hour); m.jump(-20 * day) }, 0},
		"ahead, and set right after a restart": {func(m *machine) {
			m.jump(20 * day)
			m.held()
			m.restart(time.Hour)
			m.jump(-20 * day)
		}, 0},
		"behind, and set right after a restart": {func(m *machine) {
			m.jump(-20 * day)
			m.held()
			m.restart(time.Hour)
			m.jump(20 * day)
		}, 20 * day},
		"the machine is suspended": {func(m *machine) {
			m.h.pass(20 * day)
			m.up += 20 * day
		}, 0},
		"the machine is suspended, and the clock jumps": {func(m *machine) {
			m.h.pass(20 * day)
			m.up += time.Hour
		}, 20*day - time.Hour},
		"another process takes over": {func(m *machine) { m.reboot(time.Hour + 50*time.Minute) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			m := startMachine(t)
			if held := m.held(); held != 0 {
				t.Fatalf("%s of a new region's time does not count", held)
			}
			c.happens(m)
			if held := m.held(); held != c.held {
				t.Errorf("%s does not count, want %s", held, c.held)
			}
			m.run(day - time.Second)
			if held := m.held(); held != c.held {
				t.Errorf("within a day %s does not count, want %s", held, c.held)
			}
			if held := m.h.TimeHeld(); held != c.held {
				t.Errorf("it tells of %s", held)
			}
			m.run(time.Second)
			if held := m.held(); held != 0 || m.h.TimeHeld() != 0 {
				t.Errorf("after a day %s does not count", held)
			}
		})
	}
}

// What a jump across a restart makes due waits for a day in which the region runs;
// what is due anyway does not wait.
func TestWhatAJumpMakesDueWaitsAcrossRestarts(t *testing.T) {
	m := startMachine(t)
	h := m.h
	for name, window := range map[string]time.Duration{"soon": 7 * day, "late": 20 * day} {
		h.create(service.NewSecret{Name: name})
		_, err := h.DeleteSecret(h.ctx(), service.Deletion{SecretRef: ref(name), Window: window})
		must(t, err)
	}
	h.sweep(service.Swept{})
	m.run(7*day - time.Hour)
	h.sweep(service.Swept{})
	m.reboot(time.Minute)
	m.jump(100 * day)
	h = m.h
	h.sweep(service.Swept{})
	m.run(2 * time.Hour)
	h.sweep(service.Swept{Purged: 1}) // the one that is due without the jump
	for range 5 {                     // a region that is on for an hour a day
		m.run(time.Hour)
		h.sweep(service.Swept{})
		m.reboot(23 * time.Hour)
		h.sweep(service.Swept{})
	}
	m.run(16 * time.Hour)
	h.sweep(service.Swept{})
	m.run(time.Hour)
	h.sweep(service.Swept{Purged: 1})
}

// A sweep that cannot note what it saw must see it again.
func TestAJumpThatCannotBeNotedIsSeenAgain(t *testing.T) {
	m := startMachine(t)
	m.held()
	m.jump(20 * day)
	answered := m.h.failClock()
	if _, err := m.h.Sweep(t.Context()); !secret.HasCode(err, secret.CodeUnavailable) {
		t.Fatalf("a sweep goes on without: %v", err)
	}
	answered()
	if held := m.held(); held != 20*day {
		t.Errorf("%s does not count", held)
	}
}

// failClock has the store refuse the record of the clock.
func (h *harness) failClock() (restore func()) {
	store := h.Store
	h.Store = clockless{h.shard}
	return func() { h.Store = store }
}

type clockless struct{ *shard }

func (c clockless) Commit(ctx context.Context, txn record.Txn) (int64, error) {
	for _, w := range txn.Writes {
		if w.Key == record.ClockKey {
			return 0, secret.Errorf(secret.CodeUnavailable, "the store is away")
		}
	}
	return c.shard.Commit(ctx, txn)
}

// Whatever processes and machines do, time that may have come by a jump does not
// count before the region has run for a day, and all of it counts then.
func TestClockOfRandomHistories(t *testing.T) {
	type jump struct{ by, ran time.Duration }
	hours := func(t *rapid.T, name string, lowest, most int) time.Duration {
		return time.Duration(rapid.IntRange(lowest, most).Draw(t, name)) * time.Hour
	}
	rapid.Check(t, func(rt *rapid.T) {
		m := startMachine(t)
		m.held()
		var jumps []jump
		back := false
		run := func(d time.Duration) {
			m.run(d)
			for i := range jumps {
				jumps[i].ran += d
			}
		}
		jumpBy := func(d time.Duration) {
			m.jump(d)
			back = back || d < 0
			if d > 2*time.Hour {
				jumps = append(jumps, jump{by: d})
			}
		}
		for range rapid.IntRange(1, 12).Draw(rt, "events") {
			switch rapid.SampledFrom([]string{"run", "run", "restart", "reboot", "jump", "jump while off", "set back"}).Draw(rt, "event") {
			case "run":
				run(hours(rt, "for", 0, 30))
			case "restart":
				m.restart(hours(rt, "for", 0, 100))
			case "reboot":
				m.reboot(hours(rt, "for", 0, 100))
			case "jump":
				jumpBy(hours(rt, "by", 1, 1000))
			case "jump while off":
				m.reboot(hours(rt, "for", 0, 10))
				jumpBy(hours(rt, "by", 1, 1000))
			case "set back":
				jumpBy(-hours(rt, "by", 1, 1000))
			}
			held, least := m.held(), time.Duration(0)
			for _, j := range jumps {
				if j.ran < day {
					least += j.by
				}
			}
			if held < 0 || !back && held < least {
				rt.Fatalf("%s does not count, at least %s must not", held, least)
			}
		}
		run(day)
		if held := m.held(); held != 0 {
			rt.Fatalf("%s does not count after a day", held)
		}
	})
}

func TestTheClockIsNotedSeldom(t *testing.T) {
	m := startMachine(t)
	writes := 0
	m.h.shard.mu.Lock()
	m.h.shard.beforeCommit = func(txn record.Txn) {
		for _, w := range txn.Writes {
			if strings.HasPrefix(string(w.Key), string(record.ClockKey)) {
				writes++
			}
		}
	}
	m.h.shard.mu.Unlock()
	for range 24 * 6 {
		m.held()
		m.run(10 * time.Minute)
	}
	if writes != 24 {
		t.Errorf("%d writes in a day", writes)
	}
}
