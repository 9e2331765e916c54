//go:build !faultpoints

package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
)

// written is a unique value that a client wrote to a secret.
type written struct {
	name, value string
	// in is the region that answered last, or was asked last.
	in string
	// token is of the acknowledged state; empty if the outcome is not known.
	token string
	// replayed is set if the answer was to a repeated request: its token is of the state
	// at that time, which may be a later one.
	replayed bool
	// refused is set if the only attempt was refused before anything was done.
	refused bool
}

// ledger is what clients were told. It is safe for concurrent use.
type ledger struct {
	mu sync.Mutex
	// live are the secrets that are written to, by vault.
	live map[string][]string
	puts map[string]int
	// home is where a secret was written last.
	home map[string]string
	// purged are the secrets that somebody has tried to purge.
	purged map[string]bool
	// made is in which vault each secret was made, if that was acknowledged.
	made    map[string]string
	written []written
}

func newLedger() ledger {
	return ledger{live: map[string][]string{}, puts: map[string]int{}, home: map[string]string{}, purged: map[string]bool{}, made: map[string]string{}}
}

func (l *ledger) add(o written) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.written = append(l.written, o)
	if o.token != "" {
		l.home[o.name] = o.in
	}
}

// choose returns a secret of a vault to be written, and where it was written last;
// false if another one is to be made.
func (l *ledger) choose(vault string, r *rand.Rand) (name, home string, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if live := l.live[vault]; len(live) >= 5 {
		name = pick(r, live)
		if l.puts[name]++; l.puts[name] >= maxPuts {
			l.leave(vault, name)
		}
		return name, l.home[name], true
	}
	return "", "", false
}

// leave has a secret be written no more.
func (l *ledger) leave(vault, name string) {
	l.live[vault] = slices.DeleteFunc(l.live[vault], func(n string) bool { return n == name })
}

// scribe is one of the clients that write. Any of them writes any secret.
type scribe struct {
	world *homesWorld
	vault replicatedVault
	id    int
	r     *rand.Rand
	made  int
}

// work makes mutations until ctx ends.
func (s *scribe) work(ctx context.Context) {
	for ctx.Err() == nil {
		name, home, ok := s.world.ledger.choose(s.vault.name, s.r)
		switch {
		case !ok:
			s.create()
		case s.r.IntN(60) == 0:
			s.purge(name, home)
		default:
			s.put(name, home)
		}
		wait(ctx, s.r, 10*time.Millisecond, 60*time.Millisecond)
	}
}

// region is where to write: mostly where the last write was, sometimes anywhere.
func (s *scribe) region(home string) string {
	if home == "" || s.r.IntN(6) == 0 {
		return pick(s.r, s.vault.holders())
	}
	return home
}

// tried counts an answer and returns in which region to try instead, and whether
// nothing was done.
func (s *scribe) tried(what, name, region string, err error) (instead string, refused bool) {
	w := s.world
	code := client.CodeOf(err)
	w.count(what + " " + string(code))
	if err == nil || client.MayBeDone(err) {
		return "", false
	}
	switch code {
	case client.CodeAuditUnavailable, client.CodeUnavailable, client.CodeNotFound, client.CodeStale, client.CodeUnauthenticated:
		// A region that gives up the last vault of an account knows nobody of it any more.
		return "", true
	case client.CodeNotHome:
		if e, ok := errors.AsType[*client.Error](err); ok && e.Home != region && s.vault.in(e.Home) {
			return e.Home, true
		}
		return "", true
	}
	w.wrongly(fmt.Errorf("%s of %s in %s: %w", what, name, region, err))
	return "", true
}

// mutate has do carried out in a region, and in the one that this refers to.
func (s *scribe) mutate(what, name, region string, do func(context.Context, *client.Client) error) (in string, err error, refused bool) {
	for range 2 {
		ctx, cancel := context.WithTimeout(s.world.t.Context(), attemptTimeout)
		err = do(ctx, pick(s.r, s.world.clients(region, s.vault)))
		cancel()
		in = region
		var instead string
		if instead, refused = s.tried(what, name, region, err); instead == "" {
			break
		}
		region = instead
	}
	return in, err, refused
}

func (s *scribe) create() {
	s.made++
	name := fmt.Sprintf("scribe-%s-%d/%d", s.vault.name, s.id, s.made)
	o := written{name: name, value: s.world.canary + "-" + ulid.Make().String()}
	var err error
	o.in, err, o.refused = s.mutate("create", name, s.region(""), func(ctx context.Context, c *client.Client) error {
		made, err := c.CreateSecret(ctx, &lifeboatv1.CreateSecretRequest{
			Vault: s.vault.name, Name: name, Value: []byte(o.value), Retention: &lifeboatv1.Retention{MaxVersions: maxVersions},
		})
		o.token, o.replayed = made.GetRevisionToken(), made.GetReplayed()
		return err
	})
	s.world.ledger.add(o)
	if err != nil {
		return
	}
	l := &s.world.ledger
	l.mu.Lock()
	l.live[s.vault.name], l.made[name] = append(l.live[s.vault.name], name), s.vault.name
	l.mu.Unlock()
	s.world.note(s.vault, name, replicaState{}) // for those who read
}

func (s *scribe) put(name, home string) {
	o := written{name: name, value: s.world.canary + "-" + ulid.Make().String()}
	o.in, _, o.refused = s.mutate("put", name, s.region(home), func(ctx context.Context, c *client.Client) error {
		put, err := c.PutSecretVersion(ctx, &lifeboatv1.PutSecretVersionRequest{Vault: s.vault.name, Secret: name, Value: []byte(o.value)})
		o.token, o.replayed = put.GetRevisionToken(), put.GetReplayed()
		return err
	})
	s.world.ledger.add(o)
}

func (s *scribe) purge(name, home string) {
	l := &s.world.ledger
	l.mu.Lock()
	l.purged[name] = true
	l.leave(s.vault.name, name)
	l.mu.Unlock()
	_, _, _ = s.mutate("purge", name, s.region(home), func(ctx context.Context, c *client.Client) error {
		_, err := c.DeleteSecret(ctx, &lifeboatv1.DeleteSecretRequest{Vault: s.vault.name, Secret: name, Immediate: true})
		return err
	})
}
