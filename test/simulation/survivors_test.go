package simulation

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"

	peerv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/replication"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// comparing is west, which has taken over east and was compared with south: south has
// something newer of b, and nothing of a.
type comparing struct {
	*takeovers
	west, south *region
}

// planning is how long a write may take in simulated time that waits for no region: it is
// planned again, after a pause, when its record has moved.
const planning = 40 * time.Millisecond

// compareSurvivors runs a test in which the keeper does nothing: records move when they
// are touched, and vaults are compared when the test says so.
func compareSurvivors(t *testing.T, test func(*testing.T, *comparing)) {
	synctest.Test(t, func(t *testing.T) {
		w := newTakeovers(t)
		defer w.close()
		c := &comparing{w, w.region("west"), w.region("south")}
		w.setLink("east", "west", down)
		w.put(w.region("east"), "b", "only in south")
		time.Sleep(time.Minute)
		for _, other := range names {
			w.setLink("east", other, down)
			w.setLink(other, "east", down)
		}
		must(t, c.west.service.TakeOver(t.Context(), "east", false))
		test(t, c)
	})
}

func (c *comparing) compare() {
	c.t.Helper()
	must(c.t, c.west.service.Survivors.Compare(c.t.Context(), "east", "", func(keys []record.Key) error {
		return fmt.Errorf("south alone has %v", keys)
	}))
}

// putIn writes in west, and returns how long that took.
func (c *comparing) putIn(name string) time.Duration {
	c.t.Helper()
	began, before := time.Now(), len(c.acknowledged[c.id(name)])
	c.put(c.west, name, "of west")
	if len(c.acknowledged[c.id(name)]) == before {
		c.t.Fatalf("west does not accept a write of %s", name)
	}
	return time.Since(began)
}

func (c *comparing) id(name string) secret.ID {
	return record.SecretIDOf(c.west.keyIn(c.vault, name))
}

// versions are how many a secret has in west.
func (c *comparing) versions(name string) int {
	return len(c.secretIn(c.west, c.id(name)).Versions)
}

func TestWhatSurvivorsAgreeOnOpensAtOnce(t *testing.T) {
	for name, one := range map[string]struct {
		// then happens after the comparison; a and b say whether south is waited for when
		// they are touched next.
		then func(*comparing)
		a, b bool
	}{
		"it has just been compared":       {func(*comparing) {}, false, true},
		"the survivor is cut off":         {func(c *comparing) { c.setLink("west", "south", down) }, false, true},
		"the process has started again":   {func(c *comparing) { c.west.service.Survivors = c.survivors(c.west) }, true, true},
		"that was more than a minute ago": {func(*comparing) { time.Sleep(61 * time.Second) }, true, true},
		"the copy here has changed since": {func(c *comparing) {
			key := record.SecretKey(c.id("a"))
			_, err := c.west.shard.Commit(c.t.Context(), record.Txn{Writes: []record.Write{{Key: key, Value: c.west.shard.snapshot().records[key].Value}}})
			must(c.t, err)
		}, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			compareSurvivors(t, func(t *testing.T, c *comparing) {
				c.compare()
				one.then(c)
				if c.quality("west", "south") == good {
					c.setLink("west", "south", hanging)
				}
				if asked := c.putIn("a") > planning; asked != one.a {
					t.Errorf("south is asked about a: %t", asked)
				}
				time.Sleep(10 * time.Second)
				if asked := c.putIn("b") > planning; asked != one.b {
					t.Errorf("south is asked about b: %t", asked)
				}
			})
		})
	}
}

// What south has newer is there before the first write.
func TestWhatDiffersIsFetchedBeforeItOpens(t *testing.T) {
	compareSurvivors(t, func(t *testing.T, c *comparing) {
		c.compare()
		c.putIn("a")
		c.putIn("b")
		if a, b := c.versions("a"), c.versions("b"); a != 2 || b != 3 {
			t.Errorf("west has %d versions of a and %d of b", a, b)
		}
	})
}

// A vault is compared when one of its records is touched, by the process in which that
// happens.
func TestATouchedVaultIsCompared(t *testing.T) {
	compareSurvivors(t, func(t *testing.T, c *comparing) {
		defer c.run()()
		c.putIn("b")
		synctest.Wait()
		c.setLink("west", "south", hanging)
		if took := c.putIn("a"); took > planning {
			t.Errorf("the first write of a took %s", took)
		}
	})
}

// A comparison is renewed: what a survivor has received since is known then.
func TestAComparisonIsRenewed(t *testing.T) {
	compareSurvivors(t, func(t *testing.T, c *comparing) {
		defer c.run()()
		c.compare()
		c.setLink("east", "south", good)
		c.put(c.region("east"), "a", "late in south")
		time.Sleep(11 * time.Second)
		c.setLink("east", "south", down)
		c.putIn("b")
		synctest.Wait()
		time.Sleep(5 * time.Second)
		if c.putIn("a"); c.versions("a") != 3 {
			t.Errorf("west has %d versions of a", c.versions("a"))
		}
		c.setLink("west", "south", good)
		time.Sleep(time.Minute)
		if late := c.acknowledged[c.id("a")][1]; c.inConflict(c.id("a"), late) {
			t.Error("what south had received is a conflict")
		}
	})
}

// run has vaults compared whose records are touched, until it is ended.
func (c *comparing) run() (end func()) {
	ctx, cancel := context.WithCancel(c.t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = c.west.service.Survivors.(*replication.Survivors).Run(ctx)
	}()
	return func() {
		cancel()
		<-ended
	}
}

// What a survivor receives after the comparison becomes a conflict there, and one that
// hangs holds up a write once in a while.
func TestWhatASurvivorReceivesLateIsKept(t *testing.T) {
	compareSurvivors(t, func(t *testing.T, c *comparing) {
		c.compare()
		c.setLink("east", "south", good)
		c.put(c.region("east"), "a", "late in south")
		time.Sleep(15 * time.Second)
		c.setLink("east", "south", down)
		if n := len(c.secretIn(c.south, c.id("a")).Versions); n != 2 {
			t.Fatalf("south has %d versions", n)
		}
		c.putIn("a")
		time.Sleep(time.Minute / 2)
		late := c.acknowledged[c.id("a")][1]
		if sec := c.secretIn(c.south, c.id("a")); sec.Ownership.Home != "west" || !c.inConflict(sec.ID, late) {
			t.Errorf("south has %+v, and no conflict", sec.Ownership)
		}
	})
}

func TestASurvivorThatHangsIsLeftAloneForAWhile(t *testing.T) {
	compareSurvivors(t, func(t *testing.T, c *comparing) {
		c.setLink("west", "south", hanging)
		began := time.Now()
		c.compare()
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("the comparison took %s", took)
		}
		if took := c.putIn("a"); took > planning {
			t.Errorf("south is asked at once again, for %s", took)
		}
		time.Sleep(5 * time.Second)
		if took := c.putIn("b"); took < 2*time.Second {
			t.Errorf("south is asked for %s", took)
		}
	})
}

// mute is a link over which digests are asked for in vain.
type mute struct{ *link }

func (mute) CompareDigests(ctx context.Context, _ *connect.Request[peerv1.CompareDigestsRequest]) (*connect.Response[peerv1.CompareDigestsResponse], error) {
	<-ctx.Done()
	return nil, connect.NewError(connect.CodeDeadlineExceeded, ctx.Err())
}

// A survivor that hangs while vaults are compared is waited for once, not for each.
func TestManyVaultsWaitForASurvivorOnce(t *testing.T) {
	compareSurvivors(t, func(t *testing.T, c *comparing) {
		c.setLink("east", "south", good)
		home := c.region("east")
		for i := range 20 {
			name := fmt.Sprint("more-", i)
			_, _, err := home.service.CreateVault(home.as(c.token), service.NewVault{Name: name})
			must(t, err)
			to := []secret.Target{{Region: "south"}, {Region: "west"}}
			_, err = home.service.ReplicateVault(home.as(c.token), service.VaultReplication{Vault: name, Targets: &to})
			must(t, err)
		}
		time.Sleep(time.Minute)
		s := c.survivors(c.west)
		s.Clients["south"] = mute{&link{c.world, "west", "south"}}
		began, missing := time.Now(), 0
		must(t, s.Compare(t.Context(), "east", "", func(keys []record.Key) error {
			missing += len(keys)
			return nil
		}))
		if took := time.Since(began); took != time.Minute || missing != 20 {
			t.Errorf("the comparison took %s, and found %d records that south alone has", took, missing)
		}
	})
}

// A survivor says what it has received since it was compared, unless it cannot know, and
// refuses what makes no sense.
func TestASurvivorSaysWhatItHasReceivedSince(t *testing.T) {
	compareSurvivors(t, func(t *testing.T, c *comparing) {
		ask := func(req *peerv1.CompareDigestsRequest) (*peerv1.CompareDigestsResponse, error) {
			answer, err := (&link{c.world, "west", "south"}).CompareDigests(t.Context(), connect.NewRequest(req))
			if err != nil {
				return nil, err
			}
			return answer.Msg, nil
		}
		vault := string(c.vault)
		first, err := ask(&peerv1.CompareDigestsRequest{Vault: vault, LostRegion: "east"})
		must(t, err)
		since := func(incarnation string) *peerv1.CompareDigestsResponse {
			t.Helper()
			answer, err := ask(&peerv1.CompareDigestsRequest{Vault: vault, LostRegion: "east", SinceIncarnation: incarnation, SinceRevision: first.GetRevision()})
			must(t, err)
			return answer
		}
		if a := since(first.GetIncarnation()); len(a.GetReplicas()) > 0 || a.GetIncarnation() != first.GetIncarnation() {
			t.Errorf("nothing was received: %v", a)
		}
		c.setLink("east", "south", good)
		c.put(c.region("east"), "a", "late in south")
		time.Sleep(15 * time.Second)
		if a := since(first.GetIncarnation()); len(a.GetReplicas()) != 1 || a.GetReplicas()[0].GetSeq() != 2 || a.GetRevision() <= first.GetRevision() {
			t.Errorf("one was received: %v", a)
		}
		if a := since("another"); len(a.GetReplicas()) > 0 || a.GetIncarnation() != "" {
			t.Errorf("in another life: %v", a)
		}
		for name, req := range map[string]*peerv1.CompareDigestsRequest{
			"a number of buckets": {LostRegion: "east", Buckets: 7},
			"a bucket":            {LostRegion: "east", Buckets: 256, Within: []uint32{256}},
			"buckets of none":     {LostRegion: "east", Within: []uint32{0}},
			"itself":              {LostRegion: "south"},
			"the caller":          {LostRegion: "west"},
		} {
			if req.Vault = vault; func() bool { _, err := ask(req); return err == nil }() {
				t.Errorf("%s is accepted", name)
			}
		}
	})
}
