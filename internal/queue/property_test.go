package queue_test

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lifeboat-secrets/lifeboat/internal/queue"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const (
	worldRecords = 4
	worldCap     = 2
)

// world is two control processes of a region, whose feeds may be late, with one
// target. A record holds the number of its last mutation.
type world struct {
	t     *rapid.T
	shard *shard
	now   time.Time
	// processes are the present ones; flights what they, or those that they
	// replaced, have taken and not given back.
	processes [2]*process
	flights   []flight
	// mutated, cleared and delivered are the numbers that each record has, that
	// other regions may have, and that the target has.
	mutated, cleared, delivered [worldRecords]int
	// begun is the revision at which a comparison began, compared how many records
	// it has passed.
	begun    int64
	compared int
}

// flight is a message with the process that took it.
type flight struct {
	by *process
	m  queue.Message
	// sent is set once the target has what was read.
	sent bool
}

func newWorld(t *rapid.T) *world {
	w := &world{t: t, shard: newShard(), now: time.Unix(1_000_000, 0)}
	w.crash(0)
	w.crash(1)
	return w
}

// crash replaces a process. The old one may well go on with what it has taken.
func (w *world) crash(i int) {
	w.processes[i] = w.shard.start(w.t, queue.Options{Cap: worldCap, Now: func() time.Time { return w.now }})
}

func (w *world) process() *process { return w.processes[rapid.IntRange(0, 1).Draw(w.t, "process")] }

func (w *world) index() int { return rapid.IntRange(0, worldRecords-1).Draw(w.t, "record") }

// read returns the number of a record and whether its mutation is not cleared.
func (w *world) read(view record.View, n int) (number int, open bool) {
	stored, _, _ := view.Get(key(n))
	_, open, _ = view.Get(record.WorkKey(key(n)))
	if stored.Value != nil {
		text, err := record.DecodeReference(stored.Value)
		w.accept(err)
		number, err = strconv.Atoi(text)
		w.accept(err)
	}
	return number, open
}

// accept ends the test for errors other than those that a race explains.
func (w *world) accept(err error) {
	if err != nil && !secret.HasCode(err, secret.CodeStale) && !secret.HasCode(err, secret.CodeNotFound) {
		w.t.Fatal(err)
	}
}

func (w *world) mutate(n int) {
	w.mutated[n]++
	var txn record.Txn
	txn.Put(key(n), record.EncodeReference(strconv.Itoa(w.mutated[n])))
	txn.Put(record.WorkKey(key(n)), record.WorkItems.Encode(&recordpb.WorkItem{Record: string(key(n))}))
	_, err := w.shard.Commit(context.Background(), txn)
	w.accept(err)
}

// clear does what the pipeline of a process does, by what the process has heard.
func (w *world) clear(p *process, n int) {
	var item record.Stored
	var number int
	w.accept(p.View(func(view record.View) error {
		item, _, _ = view.Get(record.WorkKey(key(n)))
		number, _ = w.read(view, n)
		return nil
	}))
	if item.Revision == 0 {
		return
	}
	var txn record.Txn
	txn.Require(item.Key, item.Revision)
	txn.Delete(item.Key)
	p.Enqueue(&txn, []secret.RegionName{west}, key(n), w.now)
	_, err := w.shard.Commit(context.Background(), txn)
	if w.accept(err); err == nil {
		w.cleared[n] = number
	}
}

// send has the target receive what the process that took the message reads, from
// its own copy or from the store.
func (w *world) send(f *flight) {
	view := w.shard.View(context.Background())
	if rapid.Bool().Draw(w.t, "local") {
		w.accept(f.by.View(func(local record.View) error { view = local; return nil }))
	}
	var n int
	_, err := fmt.Sscanf(string(f.m.Record), "secret/V/%d", &n)
	w.accept(err)
	if number, open := w.read(view, n); !open {
		w.delivered[n] = max(w.delivered[n], number)
		f.sent = true
	}
}

// giveBack ends a flight in one of the ways there are.
func (w *world) giveBack(f flight) {
	ctx, messages := context.Background(), []queue.Message{f.m}
	how := rapid.IntRange(0, 3).Draw(w.t, "how")
	switch {
	case f.sent:
		w.accept(f.by.Done(ctx, west, messages))
	case how == 0:
		f.by.Unreachable(west, messages)
	case how == 1:
		f.by.Release(west, messages, time.Duration(rapid.IntRange(0, 5).Draw(w.t, "rest"))*time.Second)
	default:
		w.accept(f.by.Failed(ctx, west, []queue.Failure{{Message: f.m, Code: secret.CodeInternal, Reason: "test"}}))
	}
}

func (w *world) flight() (i int, ok bool) {
	if len(w.flights) == 0 {
		return 0, false
	}
	return rapid.IntRange(0, len(w.flights)-1).Draw(w.t, "flight"), true
}

// compare goes on with a comparison of everything.
func (w *world) compare(p *process) {
	ctx := context.Background()
	switch {
	case w.begun == 0:
		revision, err := p.BeginResynchronise(ctx, west)
		w.accept(err)
		w.begun, w.compared = revision, 0
	case w.compared < worldRecords:
		if number, open := w.read(w.shard.View(ctx), w.compared); !open {
			w.delivered[w.compared] = max(w.delivered[w.compared], number)
		}
		w.compared++
	default:
		w.accept(p.EndResynchronise(ctx, west, w.begun))
		w.begun = 0
	}
}

func (w *world) actions() map[string]func(*rapid.T) {
	ctx := context.Background()
	return map[string]func(*rapid.T){
		"mutate": func(*rapid.T) { w.mutate(w.index()) },
		"clear":  func(*rapid.T) { w.clear(w.process(), w.index()) },
		"hear":   func(t *rapid.T) { w.process().hear(rapid.IntRange(1, 8).Draw(t, "changes")) },
		"take": func(*rapid.T) {
			p := w.process()
			for _, m := range p.Take(west, 2) {
				w.flights = append(w.flights, flight{by: p, m: m})
			}
		},
		"send": func(*rapid.T) {
			if i, ok := w.flight(); ok {
				w.send(&w.flights[i])
			}
		},
		"give back": func(*rapid.T) {
			if i, ok := w.flight(); ok {
				w.giveBack(w.flights[i])
				w.flights = append(w.flights[:i], w.flights[i+1:]...)
			}
		},
		"crash": func(t *rapid.T) {
			if rapid.IntRange(0, 3).Draw(t, "rarely") == 0 {
				w.crash(rapid.IntRange(0, 1).Draw(t, "process"))
			}
		},
		"load":    func(*rapid.T) { w.accept(w.process().Load()) },
		"compare": func(*rapid.T) { w.compare(w.process()) },
		"operate": func(t *rapid.T) {
			p := w.process()
			switch rapid.IntRange(0, 4).Draw(t, "operation") {
			case 0:
				w.accept(p.Pause(ctx, west, queue.Pause{Until: w.now.Add(3 * time.Second)}))
			case 1:
				w.accept(p.Resume(ctx, west))
			case 2:
				w.accept(p.RetryAll(ctx, west))
			case 3:
				w.accept(p.Retry(ctx, west, key(w.index())))
			case 4:
				w.accept(p.Resynchronise(ctx, west, "test"))
			}
		},
		"wait": func(t *rapid.T) {
			w.now = w.now.Add(time.Duration(rapid.IntRange(1, 4000).Draw(t, "ms")) * time.Millisecond)
		},
		"": func(*rapid.T) { w.nothingIsLost() },
	}
}

// nothingIsLost holds at every moment. A state that was overwritten is lacked no
// more once the mutation that did so is cleared, which tells of it anew.
func (w *world) nothingIsLost() {
	for n := range worldRecords {
		told := w.shard.has(record.MessageKey(west, key(n))) || w.shard.has(record.ResynchronisationKey(west)) || w.shard.has(record.WorkKey(key(n)))
		if w.cleared[n] > w.delivered[n] && !told {
			w.t.Fatalf("%s: the target has %d of %d, and nothing says so: %v", key(n), w.delivered[n], w.cleared[n], w.shard.keys("", ""))
		}
	}
}

// settle has everything delivered, as happens when all is well.
func (w *world) settle() {
	w.flights, w.begun = nil, 0
	w.crash(0)
	ctx, p := context.Background(), w.processes[0]
	w.accept(p.Resume(ctx, west))
	for range 2 * worldRecords {
		w.now = w.now.Add(10 * time.Minute)
		p.hear(len(w.shard.log))
		for n := range worldRecords {
			w.clear(p, n)
		}
		p.hear(len(w.shard.log))
		for _, m := range p.Take(west, 10) {
			f := flight{by: p, m: m}
			w.send(&f)
			w.giveBack(f)
		}
		for range worldRecords + 2 {
			if w.shard.has(record.ResynchronisationKey(west)) || w.begun != 0 {
				w.compare(p)
			}
		}
	}
	p.hear(len(w.shard.log))
	if s := p.Status(west); s.Depth+s.InFlight+s.Failed != 0 || s.Resynchronisation != nil || w.delivered != w.mutated {
		w.t.Fatalf("mutated %v, delivered %v; left: %+v, %v", w.mutated, w.delivered, s, w.shard.keys("", ""))
	}
}

// Whatever crashes, is late or is done twice: what a target lacks is known until
// it has it, and in the end it has everything.
func TestNothingIsLost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		t.Repeat(w.actions())
		w.settle()
		w.nothingIsLost()
	})
}
