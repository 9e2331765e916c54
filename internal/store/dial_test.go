package store_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/store"
)

func dial(t testing.TB, o store.DialOptions) *clientv3.Client {
	t.Helper()
	client, err := store.Dial(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

func dialPlain(t testing.TB, address string) *store.Shard {
	t.Helper()
	return open(t, dial(t, store.DialOptions{Endpoints: []string{address}}))
}

func TestDialedStoreThatIsDown(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	client := dial(t, store.DialOptions{Endpoints: []string{address}})
	hasty := store.Open(store.Options{Client: client, Prefix: prefix, Timeout: 3 * heartbeat, Heartbeat: heartbeat})
	_, err := hasty.Commit(context.Background(), put("a", "1", 0))
	wantCode(t, err, secret.CodeUnavailable) // nothing was sent, and that is known
	if err := follow(t, hasty, 0).end(); !secret.HasCode(err, secret.CodeUnavailable) {
		t.Errorf("feed: %v", err)
	}
	if h := hasty.Health(context.Background()); h.Err == nil || len(h.Members) != 1 || h.Members[0].Err == nil {
		t.Errorf("health: %+v", h)
	}
	s := open(t, client)
	start(t, store.EmbeddedOptions{ListenClient: address})
	revision := mustCommit(t, s, put("a", "1", 0))
	follow(t, s, revision-1).reach(t, revision)
}

// A network that swallows everything: what was sent may have committed.
func TestCommitIntoSilence(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	e := start(t, store.EmbeddedOptions{ListenClient: address})
	p := startProxy(t, address)
	s := dialPlain(t, p.address())
	revision := mustCommit(t, s, put("a", "1", 0))

	p.down.shut() // requests arrive, answers do not
	_, err := s.Commit(context.Background(), put("b", "1", 0))
	wantCode(t, err, secret.CodeOutcomeUnknown)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v hides its cause", err)
	}
	if r := mustGet(t, open(t, e.Client()), "b"); r.Revision <= revision {
		t.Error("the transaction did not arrive")
	}
	p.cut()
	p.down.open()
	mustGet(t, s, "b") // reads are repeated until the connection is back
	_, err = s.Commit(context.Background(), put("b", "2", 0))
	wantCode(t, err, secret.CodeStale)
}

func TestFeedNoticesSilence(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	e := start(t, store.EmbeddedOptions{ListenClient: address})
	direct := open(t, e.Client())
	p := startProxy(t, address)
	s := dialPlain(t, p.address())
	revision := mustCommit(t, s, put("a", "1", 0))
	f := follow(t, s, 0)
	f.reach(t, revision)
	p.down.shut()
	p.up.shut()
	revision = mustCommit(t, direct, put("b", "1", 0))
	wantCode(t, f.end(), secret.CodeUnavailable)
	p.cut()
	p.down.open()
	p.up.open()
	if changes := follow(t, s, revision-1).reach(t, revision); len(changes) != 1 || changes[0].Key != "b" {
		t.Errorf("after the interruption: %v", changes)
	}
}

// Cut connections are bridged, or end the feed; either way nothing is lost.
func TestFeedAcrossCutsAndRestart(t *testing.T) {
	t.Parallel()
	o := store.EmbeddedOptions{ListenClient: freeAddress(t), Dir: t.TempDir()}
	e := startUnowned(t, o)
	p := startProxy(t, o.ListenClient)
	s := dialPlain(t, p.address())
	before := mustCommit(t, s, put("first", "1", 0))
	wrote := make(map[int64]map[record.Key]string)
	f := follow(t, s, before)
	n := 0
	commit := func(shard *store.Shard) int64 {
		n++
		revision := mustCommit(t, shard, put(numbered(n), "x", 0))
		wrote[revision] = map[record.Key]string{numbered(n): "x"}
		return revision
	}
	last := commit(s)
	f.reach(t, last)
	p.cut()
	last = commit(open(t, e.Client()))
	f.reach(t, last)
	closeServer(t, e)
	e = startUnowned(t, o)
	defer closeServer(t, e)
	last = commit(open(t, e.Client()))
	f.wait(func() bool { return f.reached() >= last })
	f.stop()
	changes := follow(t, s, before).reach(t, last)
	checkHistory(t, changes, wrote, before)
	if f.reached() >= last {
		checkHistory(t, f.reach(t, last), wrote, before)
	}
}

// A store that was replaced under a running feed, by one that is behind or one
// that is ahead, must not be followed as if nothing had happened.
func TestFeedOfReplacedStore(t *testing.T) {
	t.Parallel()
	for name, commits := range map[string]int{"behind": 1, "ahead": 50} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			replacement := store.EmbeddedOptions{ListenClient: freeAddress(t), Dir: t.TempDir()}
			prepared := startUnowned(t, replacement)
			load(t, open(t, prepared.Client()), 1, commits)
			closeServer(t, prepared)

			e := startUnowned(t, store.EmbeddedOptions{ListenClient: replacement.ListenClient})
			s := dialPlain(t, replacement.ListenClient)
			_, last := load(t, s, 2, 10)
			f := follow(t, s, 0)
			f.reach(t, last)
			closeServer(t, e)
			start(t, replacement)
			err := f.end()
			if f.reached() != last {
				t.Errorf("the feed went on from %d to %d of another store", last, f.reached())
			}
			if errors.Is(err, store.ErrAhead) {
				return
			}
			wantCode(t, err, secret.CodeUnavailable) // the pause was noticed first
			if name == "behind" {
				if err := follow(t, s, last).end(); !errors.Is(err, store.ErrAhead) {
					t.Errorf("feed of a replaced store: %v", err)
				}
			}
		})
	}
}

func TestDialRefusesBadOptions(t *testing.T) {
	t.Parallel()
	for field, o := range map[string]store.DialOptions{
		"endpoints": {},
		"tls":       {Endpoints: []string{"192.0.2.1:2379"}},
		"username":  {Endpoints: []string{"127.0.0.1:2379"}, Username: "u"},
	} {
		_, err := store.Dial(context.Background(), o)
		wantCode(t, err, secret.CodeInvalid)
		if !strings.HasPrefix(err.Error(), field) {
			t.Errorf("%v does not name %s", err, field)
		}
	}
}
