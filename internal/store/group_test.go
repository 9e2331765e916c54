package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/store"
)

// queue is a shard whose store is held up, so that transactions gather.
type queue struct {
	t     *testing.T
	proxy *proxy
	// direct reaches the store on another way.
	direct *store.Shard
	shard  *store.Shard
}

type outcome struct {
	revision int64
	err      error
}

// holdUp lets one transaction be under way and keeps it there.
func holdUp(t *testing.T) (q *queue, first <-chan outcome) {
	t.Helper()
	address := freeAddress(t)
	e := start(t, store.EmbeddedOptions{ListenClient: address})
	q = &queue{t: t, proxy: startProxy(t, address), direct: open(t, e.Client())}
	q.shard = dialPlain(t, q.proxy.address())
	t.Cleanup(q.shard.Close)
	mustCommit(t, q.shard, put("connected", "1", 0))
	q.proxy.up.shut()
	first = q.commit(context.Background(), put("first", "1", 0))
	until(t, func() bool { return q.shard.Flying() == 1 })
	q.untilHeldUp()
	return q, first
}

// untilHeldUp waits until something is on its way to the store.
func (q *queue) untilHeldUp() {
	q.t.Helper()
	until(q.t, func() bool {
		q.proxy.up.mu.Lock()
		defer q.proxy.up.mu.Unlock()
		return q.proxy.up.waiting > 0
	})
}

// sendWhatWaits lets the first transaction through, and holds up those that are
// then sent together.
func (q *queue) sendWhatWaits(first <-chan outcome) {
	q.t.Helper()
	q.proxy.down.shut()
	q.proxy.up.open()
	until(q.t, func() bool {
		_, found, err := q.direct.View(context.Background()).Get("first")
		return found && err == nil
	})
	q.proxy.up.shut()
	q.proxy.down.open()
	(<-first).committed(q.t)
	until(q.t, func() bool { return q.shard.Waiting() == 0 })
	q.untilHeldUp()
}

// commit commits in the background. All but the first wait before it returns.
func (q *queue) commit(ctx context.Context, txn record.Txn) <-chan outcome {
	q.t.Helper()
	before := q.shard.Waiting()
	done := make(chan outcome, 1)
	go func() {
		revision, err := q.shard.Commit(ctx, txn)
		done <- outcome{revision, err}
	}()
	if txn.Writes[0].Key != "first" {
		until(q.t, func() bool { return q.shard.Waiting() > before })
	}
	return done
}

// until waits for a condition.
func until(t *testing.T, holds func() bool) {
	t.Helper()
	for limit := time.Now().Add(time.Minute); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("waited in vain")
		}
	}
}

func (o outcome) committed(t *testing.T) int64 {
	t.Helper()
	if o.err != nil {
		t.Error(o.err)
	}
	return o.revision
}

// What waits commits together, each by its own conditions: one that fails leaves
// the others alone, and what depends on another comes after it.
func TestWhatGathersCommitsTogether(t *testing.T) {
	t.Parallel()
	q, first := holdUp(t)
	a := q.commit(context.Background(), put("a", "1", 0))
	conflicting := q.commit(context.Background(), put("connected", "2", 77))
	both := put("a", "2", 0) // as a caller that comes a moment later than a
	both.Put("c", []byte("1"))
	after := q.commit(context.Background(), both)
	b := q.commit(context.Background(), put("b", "1", 0))
	q.proxy.up.open()

	if alone, together := (<-first).committed(t), (<-a).committed(t); alone >= together {
		t.Errorf("what waited is at revision %d, what it waited for at %d", together, alone)
	} else if other := (<-b).committed(t); other != together {
		t.Errorf("two that waited are at revisions %d and %d", together, other)
	}
	wantCode(t, (<-conflicting).err, secret.CodeStale)
	wantCode(t, (<-after).err, secret.CodeStale)
	if r := mustGet(t, q.direct, "connected"); string(r.Value) != "1" {
		t.Errorf("a transaction with a condition that does not hold wrote %s", r.Value)
	}
	if _, found, err := q.direct.View(context.Background()).Get("c"); found || err != nil {
		t.Errorf("a part of a transaction was written: %v, %v", found, err)
	}
}

// Who gives up before its transaction was sent knows that nothing was done; who
// does later does not. The others are not concerned.
func TestGivingUpHarmsNobodyElse(t *testing.T) {
	t.Parallel()
	q, first := holdUp(t)
	early, giveUp := context.WithCancel(context.Background())
	stays := q.commit(context.Background(), put("stays", "1", 0))
	leaves := q.commit(early, put("leaves", "1", 0))
	giveUp()
	left := <-leaves
	wantCode(t, left.err, secret.CodeUnavailable)
	if !errors.Is(left.err, context.Canceled) {
		t.Errorf("%v hides its cause", left.err)
	}
	late, giveUp := context.WithCancel(context.Background())
	leavesLate := q.commit(late, put("leaves late", "1", 0))

	q.sendWhatWaits(first)
	giveUp()
	wantCode(t, (<-leavesLate).err, secret.CodeOutcomeUnknown)
	q.proxy.up.open()
	(<-stays).committed(t)
	mustGet(t, q.direct, "leaves late")
	if _, found, err := q.direct.View(context.Background()).Get("leaves"); found || err != nil {
		t.Errorf("what was given up in time was written: %v, %v", found, err)
	}
	mustCommit(t, q.shard, put("later", "1", 0))
}

// When nobody waits for a transaction any more it is given up, too, and does not
// hold up those that follow.
func TestAllGivingUp(t *testing.T) {
	t.Parallel()
	q, first := holdUp(t)
	ctx, giveUp := context.WithCancel(context.Background())
	one, two := q.commit(ctx, put("one", "1", 0)), q.commit(ctx, put("two", "1", 0))
	q.sendWhatWaits(first)
	giveUp()
	wantCode(t, (<-one).err, secret.CodeOutcomeUnknown)
	wantCode(t, (<-two).err, secret.CodeOutcomeUnknown)
	until(t, func() bool { return q.shard.Flying() == 0 })
	q.proxy.up.open()
	mustCommit(t, q.shard, put("later", "1", 0))
}

// The failure of a transaction that callers share is that of each of them.
func TestSharedFailure(t *testing.T) {
	t.Parallel()
	q, first := holdUp(t)
	one, two := q.commit(context.Background(), put("one", "1", 0)), q.commit(context.Background(), put("two", "1", 0))
	q.sendWhatWaits(first)
	q.proxy.cut()
	for _, done := range []<-chan outcome{one, two} {
		wantCode(t, (<-done).err, secret.CodeOutcomeUnknown)
	}
}

// Together many writers do what each would alone: of those that want to raise a
// counter from one value exactly one does, and a transaction is whole.
func TestManyWritersAreAtomic(t *testing.T) {
	t.Parallel()
	s := open(t, start(t, store.EmbeddedOptions{}).Client())
	t.Cleanup(s.Close)
	const writers, counters, each = 24, 5, 40
	var mu sync.Mutex
	won := map[string]int{} // by counter and the value it had
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				counter := record.Key(fmt.Sprintf("counter/%d", (w+i)%counters))
				now, _, err := s.View(context.Background()).Get(counter)
				if err != nil {
					t.Error(err)
					return
				}
				before := fmt.Sprintf("%s=%s", counter, now.Value)
				txn := put(counter, string(now.Value)+"x", now.Revision)
				txn.Put("twin-of-"+counter, []byte(string(now.Value)+"x"))
				ctx, cancel := context.WithCancel(context.Background())
				if i%10 == 9 {
					cancel() // now or in a moment
				} else if i%10 == 8 {
					time.AfterFunc(time.Duration(w)*100*time.Microsecond, cancel)
				}
				revision, err := s.Commit(ctx, txn)
				cancel()
				switch secret.CodeOf(err) {
				case "":
					mu.Lock()
					won[before]++
					mu.Unlock()
					if revision <= now.Revision {
						t.Errorf("%s went from revision %d to %d", counter, now.Revision, revision)
					}
				case secret.CodeStale, secret.CodeUnavailable, secret.CodeOutcomeUnknown:
				default:
					t.Errorf("%v", err)
				}
			}
		})
	}
	wg.Wait()
	raised := map[record.Key]int{}
	for before, n := range won {
		if n != 1 {
			t.Errorf("%d writers raised %s", n, before)
		}
		raised[record.Key(before[:len("counter/0")])]++
	}
	for c := range counters {
		counter := record.Key(fmt.Sprintf("counter/%d", c))
		now, twin := mustGet(t, s, counter), mustGet(t, s, "twin-of-"+counter)
		if string(now.Value) != string(twin.Value) || now.Revision != twin.Revision {
			t.Errorf("%s is %s at %d, its twin %s at %d", counter, now.Value, now.Revision, twin.Value, twin.Revision)
		}
		if len(now.Value) < raised[counter] {
			t.Errorf("%s was raised %d times and is %d", counter, raised[counter], len(now.Value))
		}
	}
}

// A store that fills up tells each of those that share a transaction the truth.
func TestFillingUpTogether(t *testing.T) {
	t.Parallel()
	s := open(t, start(t, store.EmbeddedOptions{QuotaBytes: 4 << 20}).Client())
	t.Cleanup(s.Close)
	value := make([]byte, 32<<10)
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := 0; ; i++ {
				key := record.Key(fmt.Sprintf("secret/%02d-%05d", w, i))
				_, err := s.Commit(context.Background(), put(key, string(value), 0))
				_, found, readErr := s.View(context.Background()).Get(key)
				if readErr != nil {
					t.Error(readErr)
					return
				}
				switch secret.CodeOf(err) {
				case "":
					if !found {
						t.Errorf("%s was acknowledged and is not there", key)
						return
					}
					continue
				case secret.CodeStoreFull:
					if found {
						t.Errorf("%s was refused and is there", key)
					}
				case secret.CodeOutcomeUnknown:
				default:
					t.Error(err)
				}
				return
			}
		})
	}
	wg.Wait()
}
