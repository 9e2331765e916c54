package issuer

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/issuer/issuertest"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// shard is a view with one issuer, whose keys a keeper keeps.
type shard struct {
	mu      sync.Mutex
	issuer  *secret.Issuer
	keys    *secret.IssuerKeys
	failing bool
	tries   []time.Time
}

func (s *shard) Get(key record.Key) (record.Stored, bool, error) {
	if s.keys == nil || key != record.IssuerKeysKey("A", "ci") {
		return record.Stored{}, false, nil
	}
	return record.Stored{Key: key, Value: record.IssuerKeySets.Encode(s.keys)}, true, nil
}

func (s *shard) Scan(_, _ record.Key, visit func(record.Stored) bool) error {
	visit(record.Stored{Key: record.IssuerKey("A", "ci"), Value: record.Issuers.Encode(s.issuer)})
	return nil
}

func (s *shard) keeper() *Keeper {
	return NewKeeper(KeeperOptions{
		Region: "east",
		View: func(fn func(record.View) error) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			return fn(s)
		},
		Refresh: func(context.Context, secret.AccountID, string) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.tries = append(s.tries, time.Now())
			if s.failing {
				return errors.New("down")
			}
			s.keys = &secret.IssuerKeys{Account: "A", Name: "ci", Issuer: "I", Set: []byte("{}"), FetchedAt: time.Now()}
			return nil
		},
	})
}

func newShard() *shard {
	s := &shard{issuer: &secret.Issuer{
		ID: "I", Account: "A", Name: "ci", Source: secret.KeysByDiscovery, RefreshEvery: 15 * time.Minute, Ownership: secret.NewOwnership("east", "1"),
	}}
	return s
}

func (s *shard) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.tries)
}

// Keys are fetched at once, then on schedule; an issuer that is down is tried
// again, less and less often, and comes back to the schedule.
func TestScheduleOfFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShard()
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		k := s.keeper()
		wg.Go(func() { _ = k.RunSchedule(ctx) })
		time.Sleep(time.Hour)
		if n := s.count(); n < 4 || n > 5 {
			t.Errorf("fetched %d times in an hour", n)
		}
		s.mu.Lock()
		s.failing, s.tries = true, nil
		s.mu.Unlock()
		time.Sleep(time.Hour)
		if n := s.count(); n < 10 || n > 25 {
			t.Errorf("tried %d times while it was down", n)
		}
		s.mu.Lock()
		s.failing, s.tries = false, nil
		s.mu.Unlock()
		time.Sleep(time.Hour)
		if n := s.count(); n < 4 || n > 5 {
			t.Errorf("fetched %d times in an hour", n)
		}
		// Issuers of other regions, and given keys, are left alone.
		s.mu.Lock()
		s.issuer.Ownership.Home, s.tries, s.keys = "west", nil, nil
		s.mu.Unlock()
		time.Sleep(time.Hour)
		if n := s.count(); n != 0 {
			t.Errorf("fetched %d times for another region", n)
		}
		cancel()
		wg.Wait()
	})
}

// However many callers lack a key, the issuer is asked a few times.
func TestAsksAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShard()
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		k := s.keeper()
		wg.Go(func() { _ = k.RunAsks(ctx) })
		for range 6000 { // a minute
			for range 10 {
				k.Ask("A", "ci")
			}
			time.Sleep(10 * time.Millisecond)
		}
		if n := s.count(); n < 3 || n > 10 {
			t.Errorf("fetched %d times in a minute", n)
		}
		cancel()
		wg.Wait()
	})
}

func TestFetch(t *testing.T) {
	published := issuertest.New(t)
	by := func(change func(*secret.Issuer)) *secret.Issuer {
		i := &secret.Issuer{URL: published.URL, Source: secret.KeysByDiscovery, CAPEM: published.CAPEM}
		change(i)
		return i
	}
	for name, i := range map[string]*secret.Issuer{
		"discovery": by(func(*secret.Issuer) {}),
		"URL":       by(func(i *secret.Issuer) { i.Source, i.KeysURL = secret.KeysByURL, published.KeysURL() }),
	} {
		if set, err := Fetch(t.Context(), i); err != nil || len(set) < 50 {
			t.Errorf("%s: %q, %v", name, set, err)
		}
	}
	for name, i := range map[string]*secret.Issuer{
		"not trusted":   by(func(i *secret.Issuer) { i.CAPEM = "" }),
		"other issuer":  by(func(i *secret.Issuer) { i.URL += "/" }),
		"not found":     by(func(i *secret.Issuer) { i.Source, i.KeysURL = secret.KeysByURL, published.URL+"/nothing" }),
		"not reachable": by(func(i *secret.Issuer) { i.Source, i.KeysURL = secret.KeysByURL, "https://127.0.0.1:1/" }),
	} {
		if _, err := Fetch(t.Context(), i); !secret.HasCode(err, secret.CodeUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	published.Down(true)
	if _, err := Fetch(t.Context(), by(func(*secret.Issuer) {})); !secret.HasCode(err, secret.CodeUnavailable) {
		t.Errorf("down: %v", err)
	}
}
