package simulation

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"

	peerv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/queue"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// A sender sleeps in the middle of a request, past its lease. Its successor brings
// the target a newer state. What the first then delivers is refused by its order,
// and neither the copy nor a message that has come meanwhile is touched.
func TestASenderThatWakesUpLateIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		east, west := w.region("east"), w.region("west")
		_, err := east.service.ReplicateVault(east.as(east.token), service.VaultReplication{Vault: east.vault, Targets: &[]secret.Target{{Region: "west"}}})
		must(t, err)
		must(t, create(w, east, step{}))
		must(t, w.rest())
		key := east.keyOf("secret-0")

		sleeping := &sleeper{link: &link{w, "east", "west"}, asleep: make(chan struct{}), wake: make(chan struct{})}
		wake := sync.OnceFunc(func() { close(sleeping.wake) })
		defer wake()
		east.crash()
		east.over = sleeping
		east.start()
		must(t, put(w, east, step{set: 2}))
		<-sleeping.asleep
		late := orderIn(east, key)

		east.over = nil
		end := east.succeed("west")
		must(t, put(w, east, step{set: 3}))
		time.Sleep(10 * time.Second)
		newer := orderIn(east, key)
		if held := orderIn(west, key); held != newer || newer.Compare(late) <= 0 {
			t.Fatalf("the successor brought %s; the home has %s and the sleeper %s", held, newer, late)
		}
		end()
		must(t, put(w, east, step{set: 4}))
		time.Sleep(5 * time.Second)
		if held := orderIn(west, key); held != newer {
			t.Fatalf("west has %s although nobody sends", held)
		}

		wake()
		must(t, w.rest())
		must(t, w.failure())
		if code := sleeping.answer(); code != string(secret.CodeStale) {
			t.Errorf("the late state was answered %q", code)
		}
		if held := orderIn(west, key); held != orderIn(east, key) || held.Compare(newer) <= 0 {
			t.Errorf("west has %s, the home %s", held, orderIn(east, key))
		}
		if s := east.process.queue.Status("west"); s.Depth+s.InFlight+s.Failed > 0 {
			t.Errorf("the queue is not at rest: %+v", s)
		}
	})
}

// A sender sleeps with a live state in its hands until the secret has been deleted and
// every region has forgotten it. What it then delivers brings nothing back.
func TestASenderThatWakesUpAfterTheCollectionBringsNothingBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		east, west := w.region("east"), w.region("west")
		_, err := east.service.ReplicateVault(east.as(east.token), service.VaultReplication{Vault: east.vault, Targets: &[]secret.Target{{Region: "west"}}})
		must(t, err)
		must(t, create(w, east, step{name: 1}))
		must(t, w.rest())

		sleeping := &sleeper{link: &link{w, "east", "west"}, asleep: make(chan struct{}), wake: make(chan struct{})}
		wake := sync.OnceFunc(func() { close(sleeping.wake) })
		defer wake()
		east.crash()
		east.over = sleeping
		east.start()
		must(t, create(w, east, step{}))
		key := east.keyOf("secret-0")
		<-sleeping.asleep
		east.over = nil
		end := east.succeed("west")
		defer end()
		_, err = east.service.DeleteSecret(east.as(east.token), service.Deletion{SecretRef: step{}.ref(east), Immediate: true})
		must(t, err)
		for range 60 {
			if time.Sleep(time.Second); !holdsAnything(east, key) && !holdsAnything(west, key) {
				break
			}
		}
		if holdsAnything(east, key) || holdsAnything(west, key) {
			t.Fatal("the secret is not forgotten")
		}

		wake()
		must(t, w.rest())
		must(t, w.failure())
		if code := sleeping.answer(); code != "read again" {
			t.Errorf("the late state was answered %q", code)
		}
		if holdsAnything(west, key) {
			t.Error("the secret came back")
		}
	})
}

func holdsAnything(r *region, key record.Key) bool {
	_, ok := ownerIn(r.shard.snapshot(), key)
	return ok
}

func orderIn(r *region, key record.Key) secret.Order {
	o, _ := ownerIn(r.shard.snapshot(), key)
	return o.Order
}

// succeed runs one more sender for the target, as a process does that has taken the
// lease over, until end is called.
func (r *region) succeed(target secret.RegionName) (end func()) {
	q := queue.New(queue.Options{Store: r.shard, Local: local{r.shard}, Cap: queueCap})
	s := r.newSender(q, r.process.routes, target)
	r.shard.feeding.Lock()
	told := r.shard.changed
	r.shard.changed = func(changes []record.Change) {
		q.Changed(changes)
		s.Changed(changes)
		told(changes)
	}
	must(r.world.t, q.Load())
	r.shard.feeding.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = s.Run(ctx) })
	return func() {
		cancel()
		running.Wait()
	}
}

// sleeper is a link on which every request waits until wake is closed.
type sleeper struct {
	*link
	asleep, wake chan struct{}

	mu    sync.Mutex
	slept bool
	code  string
}

func (s *sleeper) Deliver(ctx context.Context, req *connect.Request[peerv1.DeliverRequest]) (*connect.Response[peerv1.DeliverResponse], error) {
	s.mu.Lock()
	first := !s.slept
	s.slept = true
	s.mu.Unlock()
	if first {
		close(s.asleep)
	}
	<-s.wake
	answer, err := s.link.Deliver(context.WithoutCancel(ctx), req)
	if !first {
		return answer, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.code = "no answer"; err == nil {
		if s.code = answer.Msg.GetReceipts()[0].GetCode(); answer.Msg.GetReceipts()[0].GetReadAgain() {
			s.code = "read again"
		}
	}
	return answer, err
}

func (s *sleeper) answer() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.code
}
