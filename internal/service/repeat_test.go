package service_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// loseAnswers has the transactions that write a secret commit without the caller
// knowing, until the returned function is called.
func (h *harness) loseAnswers() (restore func()) {
	h.shard.mu.Lock()
	defer h.shard.mu.Unlock()
	h.shard.afterCommit = func(txn record.Txn) error {
		for _, w := range txn.Writes {
			if w.Key.HasPrefix(record.SecretPrefix) {
				return secret.Errorf(secret.CodeOutcomeUnknown, "the answer was lost")
			}
		}
		return nil
	}
	return func() {
		h.shard.mu.Lock()
		defer h.shard.mu.Unlock()
		h.shard.afterCommit = nil
	}
}

// repeatable is a mutation with a request token, and another one that must not
// have the same.
type repeatable struct {
	before func(h *harness)
	do     func(h *harness, token string) (service.Outcome, error)
	other  func(h *harness, token string) (service.Outcome, error)
}

func update(text string) func(*harness, string) (service.Outcome, error) {
	return func(h *harness, token string) (service.Outcome, error) {
		d := secret.NewPlaintext([]byte(text))
		return h.UpdateSecret(h.ctx(), service.Update{SecretRef: ref("a"), Description: &d, RequestToken: token})
	}
}

func move(stage secret.Stage) func(*harness, string) (service.Outcome, error) {
	return func(h *harness, token string) (service.Outcome, error) {
		return h.MoveStage(h.ctx(), service.StageMove{SecretRef: ref("a"), Stage: stage, To: "v1", RequestToken: token})
	}
}

func remove(d service.Deletion) func(*harness, string) (service.Outcome, error) {
	return func(h *harness, token string) (service.Outcome, error) {
		d.SecretRef, d.RequestToken = ref("a"), token
		return h.DeleteSecret(h.ctx(), d)
	}
}

func restore(h *harness, token string) (service.Outcome, error) {
	return h.RestoreSecret(h.ctx(), service.Restoration{SecretRef: ref("a"), RequestToken: token})
}

func retarget(region secret.RegionName) func(*harness, string) (service.Outcome, error) {
	return func(h *harness, token string) (service.Outcome, error) {
		return h.ReplicateSecret(h.ctx(), service.SecretReplication{
			SecretRef: ref("a"), Targets: []secret.Target{{Region: region}}, RequestToken: token,
		})
	}
}

var repeatables = map[string]repeatable{
	"update":     {do: update("one"), other: update("two")},
	"move stage": {do: move("blue"), other: move("green")},
	"schedule":   {do: remove(service.Deletion{Window: 7 * day}), other: remove(service.Deletion{Window: 8 * day})},
	"restore": {
		before: func(h *harness) {
			_, err := remove(service.Deletion{})(h, "")
			must(h.t, err)
		},
		do: restore, other: update("two"),
	},
	"purge":     {do: remove(service.Deletion{Immediate: true}), other: remove(service.Deletion{Window: 7 * day})},
	"replicate": {do: retarget("west"), other: retarget("south")},
}

func TestRepeatedMutationsAnswerTheFirstResult(t *testing.T) {
	for name, r := range repeatables {
		t.Run(name, func(t *testing.T) {
			h := start(t)
			h.create(service.NewSecret{Name: "a", VersionID: "v1"})
			if r.before != nil {
				r.before(h)
			}
			answered := h.loseAnswers()
			if _, err := r.do(h, "token"); !secret.HasCode(err, secret.CodeOutcomeUnknown) {
				t.Fatalf("the first attempt: %v", err)
			}
			answered()
			first, err := r.do(h, "token")
			if err != nil || !first.Replayed {
				t.Fatalf("the repetition: replayed %t, %v", first.Replayed, err)
			}
			if seq := h.seq(first.Secret.ID); seq != first.Secret.Ownership.Order.Seq || seq > 3 {
				t.Errorf("it was carried out more than once: seq %d", seq)
			}
			if _, err := r.other(h, "token"); name != "purge" && !secret.HasCode(err, secret.CodeTokenReused) {
				t.Errorf("the token with another request: %v", err)
			} else if name == "purge" && !secret.HasCode(err, secret.CodeNotFound) {
				t.Errorf("a purged secret: %v", err)
			}
		})
	}
}

// seq is where the record of a secret stands.
func (h *harness) seq(id secret.ID) uint64 {
	h.t.Helper()
	sec, _, err := record.Load(h.shard.snapshot(), record.Secrets, record.SecretKey(id))
	must(h.t, err)
	return sec.Ownership.Order.Seq
}

func TestARepetitionMindsNeitherExpectationsNorWhatBecameOfTheSecret(t *testing.T) {
	h := start(t)
	made := h.create(service.NewSecret{Name: "a"})
	text := secret.NewPlaintext([]byte("one"))
	u := service.Update{SecretRef: ref("a"), Description: &text, RequestToken: "t", Expected: &made.Secret.Ownership.Order}
	_, err := h.UpdateSecret(h.ctx(), u)
	must(t, err)
	_, err = remove(service.Deletion{})(h, "")
	must(t, err)
	if again, err := h.UpdateSecret(h.ctx(), u); err != nil || !again.Replayed || again.State != secret.PendingDeletion {
		t.Errorf("%+v, %v", again, err)
	}
}

func TestARepeatedPurgeLeavesTheNextSecretOfTheNameAlone(t *testing.T) {
	h := start(t)
	purge := remove(service.Deletion{Immediate: true})
	old := h.create(service.NewSecret{Name: "a"})
	_, err := purge(h, "token")
	must(t, err)
	fresh := h.create(service.NewSecret{Name: "a"})
	if again, err := purge(h, "token"); err != nil || !again.Replayed || again.Secret.ID != old.Secret.ID {
		t.Errorf("%+v, %v", again, err)
	}
	byID := service.Deletion{SecretRef: ref(string(old.Secret.ID)), Immediate: true, RequestToken: "token"}
	if again, err := h.DeleteSecret(h.ctx(), byID); err != nil || !again.Replayed {
		t.Errorf("by ID: %+v, %v", again, err)
	}
	h.create(service.NewSecret{Name: "b"})
	_, err = h.DeleteSecret(h.ctx(), service.Deletion{SecretRef: ref("b"), Immediate: true, RequestToken: "token"})
	if !secret.HasCode(err, secret.CodeTokenReused) {
		t.Errorf("the token for another secret: %v", err)
	}
	if again, err := purge(h, "other"); err != nil || again.Replayed || again.Secret.ID != fresh.Secret.ID {
		t.Errorf("another token: %+v, %v", again, err)
	}
}

func TestTokensOfPurgesAreForgottenAfterADay(t *testing.T) {
	h := start(t)
	purge := remove(service.Deletion{Immediate: true})
	for range 60 { // more than one transaction removes
		h.create(service.NewSecret{Name: "a"})
		_, err := purge(h, h.now().Format("150405.000000"))
		must(t, err)
		h.pass(time.Millisecond)
	}
	h.pass(day - time.Minute)
	h.sweep(service.Swept{})
	if n := h.count(record.PurgePrefix); n != 60 {
		t.Errorf("%d tokens within the day", n)
	}
	h.pass(2 * time.Minute)
	h.sweep(service.Swept{})
	if n := h.count(record.PurgePrefix); n != 0 {
		t.Errorf("%d tokens after it", n)
	}
}

func (h *harness) count(prefix string) (n int) {
	h.t.Helper()
	must(h.t, h.shard.snapshot().Scan(record.Key(prefix), record.PrefixEnd(prefix), func(record.Stored) bool { n++; return true }))
	return n
}

// Two regions agree about the tokens; so whoever takes the secret over does.
func TestTokensReplicate(t *testing.T) {
	p := startPair(t)
	id := p.east.create(service.NewSecret{Name: "a"}).Secret.ID
	_, err := update("one")(p.east, "t1")
	must(t, err)
	p.send(record.SecretKey(id))
	_, err = remove(service.Deletion{Immediate: true})(p.east, "t2")
	must(t, err)
	held := p.inWest(id)
	if len(held.Requests) != 1 || held.Requests[0].Token != "t1" {
		t.Errorf("west remembers %+v", held.Requests)
	}
	p.send(record.SecretKey(id))
	held = p.inWest(id)
	stored, ok, err := p.west.shard.snapshot().Get(record.PurgeKey(p.vault.ID, "t2"))
	must(t, err)
	if len(held.Requests) != 1 || held.Requests[0].Token != "t2" || !ok || !strings.HasSuffix(string(stored.Value), string(id)) {
		t.Errorf("west remembers %+v, index entry %q", held.Requests, stored.Value)
	}
	p.west.pass(2 * day)
	_, err = p.west.Sweep(context.Background())
	must(t, err)
	if n := p.west.count(record.PurgePrefix); n != 0 {
		t.Errorf("west has %d tokens after two days", n)
	}
}

func (p *pair) inWest(id secret.ID) *secret.Secret {
	p.t.Helper()
	sec, _, err := record.Load(p.west.shard.snapshot(), record.Secrets, record.SecretKey(id))
	if errors.Is(err, record.ErrNotFound) {
		p.t.Fatalf("west has no record of %s", id)
	}
	must(p.t, err)
	return sec
}

// Who lost the answer of a region that is lost repeats the request at its successor.
func TestTokensCountAfterATakeover(t *testing.T) {
	p := startPair(t)
	kept, gone := p.east.create(service.NewSecret{Name: "a"}).Secret.ID, p.east.create(service.NewSecret{Name: "b"}).Secret.ID
	_, err := update("one")(p.east, "t1")
	must(t, err)
	purge := service.Deletion{SecretRef: ref("b"), Immediate: true, RequestToken: "t2"}
	_, err = p.east.DeleteSecret(p.east.ctx(), purge)
	must(t, err)
	p.send(record.SecretKey(kept))
	p.send(record.SecretKey(gone))
	p.takeOver()
	p.west.token = p.east.token // the token of the account's user
	if again, err := update("one")(p.west, "t1"); err != nil || !again.Replayed {
		t.Errorf("the update: replayed %t, %v", again.Replayed, err)
	}
	if _, err := update("two")(p.west, "t1"); !secret.HasCode(err, secret.CodeTokenReused) {
		t.Errorf("another update with its token: %v", err)
	}
	if again, err := p.west.DeleteSecret(p.west.ctx(), purge); err != nil || !again.Replayed || again.Secret.ID != gone {
		t.Errorf("the purge: replayed %t, %v", again.Replayed, err)
	}
}
