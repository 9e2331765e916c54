package service_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

var errEnough = errors.New("enough")

// watch watches until want events have come, and returns their names and the
// token after the last one.
func (h *harness) watch(token string, want int) (names []string, last string, err error) {
	err = h.WatchSecrets(h.ctx(), "v", token, func(w service.Watched) error {
		last = w.ResumeToken
		if w.Event != nil {
			names = append(names, w.Event.GetName())
		}
		if len(names) == want {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return names, last, err
}

func TestAResumeTokenIsGoodForAsLongAsEventsAreKept(t *testing.T) {
	h := start(t)
	_, token, err := h.watch("", 0)
	must(t, err)
	h.create(service.NewSecret{Name: "a"})
	h.pass(time.Hour)
	names, next, err := h.watch(token, 1)
	if err != nil || fmt.Sprint(names) != "[a]" {
		t.Fatalf("resumed with %v, %v", names, err)
	}
	h.pass(time.Second)
	if _, _, err := h.watch(token, 1); !secret.HasCode(err, secret.CodeResumeGone) {
		t.Errorf("a token older than the events that are kept: %v", err)
	}
	h.create(service.NewSecret{Name: "b"})
	if names, _, err := h.watch(next, 1); err != nil || fmt.Sprint(names) != "[b]" {
		t.Errorf("resumed with %v, %v", names, err)
	}
}

// Mutations that committed together share a revision: a watch that ends between
// their events goes on with the next one.
func TestAWatchResumesWithinARevision(t *testing.T) {
	h := start(t)
	_, token, err := h.watch("", 0)
	must(t, err)
	h.create(service.NewSecret{Name: "a"})
	h.shard.together = true
	for _, name := range []string{"b", "c", "d"} {
		h.create(service.NewSecret{Name: name})
	}
	h.shard.together = false
	h.create(service.NewSecret{Name: "e"})
	var all []string
	for range 5 {
		names, next, err := h.watch(token, 1)
		must(t, err)
		all, token = append(all, names...), next
	}
	if fmt.Sprint(all) != "[a b c d e]" {
		t.Errorf("a watch that resumes after each event saw %v", all)
	}
	if names, _, err := h.watch(token, 0); err != nil || len(names) > 0 {
		t.Errorf("after the last event there are %v, %v", names, err)
	}
}

func TestASlowWatcherIsCutOffAndResumes(t *testing.T) {
	h := start(t)
	const events = 1500 // more than wait for a watcher
	begun, full := make(chan struct{}), make(chan struct{})
	var seen int
	var token string
	ended := make(chan error, 1)
	go func() {
		ended <- h.WatchSecrets(h.ctx(), "v", "", func(w service.Watched) error {
			token = w.ResumeToken
			if w.Event == nil {
				close(begun)
				<-full
				return nil
			}
			seen++
			return nil
		})
	}()
	<-begun
	h.create(service.NewSecret{Name: "a", Retention: secret.Retention{MaxVersions: 1}})
	for i := 1; i < events; i++ {
		_, err := h.PutSecretVersion(h.ctx(), service.NewValue{SecretRef: ref("a"), Value: secret.NewPlaintext(fmt.Append(nil, i))})
		must(t, err)
		h.pass(time.Second)
	}
	close(full)
	if err := <-ended; !secret.HasCode(err, secret.CodeUnavailable) {
		t.Fatalf("the slow watcher ended with %v", err)
	}
	if seen == 0 || seen == events {
		t.Fatalf("the slow watcher saw %d events", seen)
	}
	names, _, err := h.watch(token, events-seen)
	if err != nil || len(names) != events-seen {
		t.Errorf("after %d events the resumed watch saw %d, %v", seen, len(names), err)
	}
}

func TestAWatchEndsWithItsCaller(t *testing.T) {
	h := start(t)
	ctx, cancel := context.WithCancel(h.ctx())
	err := h.WatchSecrets(ctx, "v", "", func(service.Watched) error {
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}

// aged is a local copy that was up to date age ago.
type aged struct {
	localCopy
	age atomic.Int64
}

func (a *aged) Age() time.Duration { return time.Duration(a.age.Load()) }

// counted counts the records that scans of the store visit.
type counted struct {
	*shard
	visited int
}

func (c *counted) View(context.Context) record.View { return countedView{c.snapshot(), c} }

type countedView struct {
	view
	*counted
}

func (v countedView) Revision() int64                                 { return v.view.Revision() }
func (v countedView) Get(key record.Key) (record.Stored, bool, error) { return v.view.Get(key) }
func (v countedView) Scan(start, end record.Key, f func(record.Stored) bool) error {
	return v.view.Scan(start, end, func(s record.Stored) bool {
		v.visited++
		return f(s)
	})
}

func TestAResumeReadsOnlyWhatItMayHaveMissed(t *testing.T) {
	h := start(t)
	h.create(service.NewSecret{Name: "a"})
	for i := range 200 {
		_, err := h.PutSecretVersion(h.ctx(), service.NewValue{SecretRef: ref("a"), Value: secret.NewPlaintext(fmt.Append(nil, i))})
		must(t, err)
	}
	h.pass(10 * time.Minute)
	_, token, err := h.watch("", 0)
	must(t, err)
	h.pass(10 * time.Minute)
	h.create(service.NewSecret{Name: "b"})
	store := &counted{shard: h.shard}
	h.Store = store
	names, _, err := h.watch(token, 1)
	if err != nil || fmt.Sprint(names) != "[b]" {
		t.Fatalf("resumed with %v, %v", names, err)
	}
	if store.visited > 10 {
		t.Errorf("the resumed watch read %d events", store.visited)
	}
}

// A host that is cut off cannot vouch for the time since, so that its tokens are
// as old as what it knows.
func TestAHostThatIsCutOffGivesTokensAsOldAsItsCopy(t *testing.T) {
	h := start(t)
	cutOff := &aged{localCopy: localCopy{h.shard}}
	h.Local = cutOff
	_, young, err := h.watch("", 0)
	must(t, err)
	h.pass(40 * time.Minute)
	cutOff.age.Store(int64(40 * time.Minute))
	_, token, err := h.watch(young, 0)
	must(t, err)
	h.pass(20*time.Minute + time.Second)
	cutOff.age.Store(0) // as another host, where it goes on
	if _, _, err := h.watch(token, 0); !secret.HasCode(err, secret.CodeResumeGone) {
		t.Errorf("a token whose host knew nothing of the last hour: %v", err)
	}
}

func TestAWatchEndsOnceItsHostIsCutOffForLongerThanEventsAreKept(t *testing.T) {
	h := start(t)
	cutOff := &aged{localCopy: localCopy{h.shard}}
	h.Local = cutOff
	err := h.WatchSecrets(h.ctx(), "v", "", func(w service.Watched) error {
		if w.Event == nil {
			cutOff.age.Store(int64(time.Hour + time.Second))
			h.create(service.NewSecret{Name: "a"})
		}
		return nil
	})
	if !secret.HasCode(err, secret.CodeResumeGone) {
		t.Errorf("ended with %v", err)
	}
	if _, _, err := h.watch("", 0); !secret.HasCode(err, secret.CodeUnavailable) {
		t.Errorf("a new watch on such a host: %v", err)
	}
}

func TestAWatchEndsWithTheLifeOfTheRegion(t *testing.T) {
	h := start(t)
	err := h.WatchSecrets(h.ctx(), "v", "", func(w service.Watched) error {
		if w.Event != nil {
			t.Errorf("saw %s in another life", w.Event.GetName())
			return nil
		}
		h.create(service.NewSecret{Name: "a"}) // the event waits
		region, revision, err := record.Load(h.shard.snapshot(), record.Regions, record.RegionKey)
		must(t, err)
		region.Incarnation = "01JABCDEFGHJKMNPQRSTVWXYZ0"
		var txn record.Txn
		txn.Require(record.RegionKey, revision)
		txn.Put(record.RegionKey, record.Regions.Encode(region))
		_, err = h.shard.Commit(t.Context(), txn)
		must(t, err)
		return nil
	})
	if !secret.HasCode(err, secret.CodeResumeGone) {
		t.Errorf("ended with %v", err)
	}
}
