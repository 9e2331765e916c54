package store

import (
	"context"
	"runtime"
	"sync"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// maxFlights bounds how many of a shard's transactions are under way at once.
// What is wanted meanwhile waits and is then committed together: one entry of the
// store's log, one fsync and one apply for many; a caller by itself never waits.
// More than one at once makes batches smaller, which cost a fifth more CPU with
// 16 writers, and no writer gains.
const maxFlights = 1

// maxGroupBytes bounds the keys and values that callers' transactions have
// together: members of the store keep a number of entries in memory, whatever
// their size, and little is gained by larger ones.
const maxGroupBytes = 64 << 10

// group gathers the transactions that are wanted while others are under way.
type group struct {
	mu      sync.Mutex
	waiting []*waiter
	// flying counts the transactions of etcd that are under way.
	flying  int
	closed  bool
	flights sync.WaitGroup // the goroutines of those that callers share
}

// waiter is a transaction whose caller waits. Of the fields that change, mu of
// the group guards sent, result may be read once done is closed.
type waiter struct {
	txn    record.Txn
	sent   *flight
	result TxnResult
	done   chan struct{}
}

// flight is a transaction of etcd that several callers share.
type flight struct {
	// callers counts those that have not given up; mu of the group guards it.
	callers int
	cancel  context.CancelFunc
}

// join returns nil if the caller is to commit by itself and then to land, else
// what it has to wait for.
func (g *group) join(txn record.Txn) *waiter {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.flying < maxFlights || g.closed {
		g.flying++
		return nil
	}
	w := &waiter{txn: txn, done: make(chan struct{})}
	g.waiting = append(g.waiting, w)
	return w
}

// land is called when a caller's own transaction has ended: if others wait, theirs
// follow it.
func (s *Shard) land() {
	g := &s.group
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) == 0 {
		g.flying--
		return
	}
	g.flights.Add(1)
	go func() {
		defer g.flights.Done()
		for s.fly() {
		}
	}()
}

// fly commits one batch of what waits. It reports whether there was anything.
func (s *Shard) fly() bool {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	batch := s.group.board(&flight{cancel: cancel})
	if len(batch) == 0 {
		return false
	}
	txns, results := make([]record.Txn, len(batch)), make([]TxnResult, len(batch))
	for i, w := range batch {
		txns[i] = w.txn
	}
	_ = s.commitBatch(ctx, txns, results) // it is in the results
	for i, w := range batch {
		w.result = results[i]
		close(w.done)
	}
	return true
}

// board takes those of the waiting transactions that can be one of etcd, the
// longest waiting first. What depends on an earlier one waits for the next
// flight: its caller may as well have come later. If none waits the place of the
// flight is free again.
func (g *group) board(f *flight) (batch []*waiter) {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := assembly{most: maxGroupBytes}
	rest := g.waiting[:0]
	for _, w := range g.waiting {
		if a.take(w.txn) {
			w.sent = f
			batch = append(batch, w)
		} else {
			rest = append(rest, w)
		}
	}
	clear(g.waiting[len(rest):])
	g.waiting = rest
	if f.callers = len(batch); f.callers == 0 {
		g.flying--
	}
	return batch
}

// await waits for the result of a transaction that waits or is under way with
// others, until ctx ends or the time for one operation has passed.
func (s *Shard) await(ctx context.Context, w *waiter) (int64, error) {
	limit := time.NewTimer(s.timeout)
	defer limit.Stop()
	var err error
	select {
	case <-w.done:
		runtime.Gosched() // first the next flight, for which others wait
	case <-ctx.Done():
		err = s.group.leave(ctx.Err(), w)
	case <-limit.C:
		err = s.group.leave(context.DeadlineExceeded, w)
	}
	if err != nil {
		return 0, err
	}
	return w.result.Revision, w.result.Err
}

// leave has a caller give up for a cause, without harm to the others. It returns nil
// if there is a result after all.
func (g *group) leave(cause error, w *waiter) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-w.done:
		return nil
	default:
	}
	if w.sent == nil {
		for i := range g.waiting {
			if g.waiting[i] == w {
				g.waiting = append(g.waiting[:i], g.waiting[i+1:]...)
				break
			}
		}
		return secret.Wrap(secret.CodeUnavailable, cause, "the request ended before its transaction was sent")
	}
	if w.sent.callers--; w.sent.callers == 0 {
		w.sent.cancel() // nobody waits for it any more
	}
	return secret.Wrap(secret.CodeOutcomeUnknown, cause, "the store did not answer in time; the transaction may have committed")
}

// close waits for the flights; from then on every caller commits by itself.
func (g *group) close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.flights.Wait()
}
