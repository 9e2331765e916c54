//go:build !faultpoints

package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// replicaState is what can be seen of a secret; the zero state is that of none.
type replicaState struct{ value, tag, labelled string }

// writer is one client, the only one that writes its secrets. A secret whose last
// outcome is not known is left alone from then on, so that what it may be is known.
type writer struct {
	world *regionsWorld
	vault replicatedVault
	id    int
	r     *rand.Rand
	live  []string
	made  int
}

// work makes mutations until ctx ends.
func (w *writer) work(ctx context.Context) {
	for ctx.Err() == nil {
		for len(w.live) < 4 {
			w.live = append(w.live, fmt.Sprintf("writer-%d/%d", w.id, w.made))
			w.made++
		}
		i := w.r.IntN(len(w.live))
		if !w.mutate(ctx, w.live[i]) {
			w.live = append(w.live[:i], w.live[i+1:]...)
		}
		wait(ctx, w.r, 10*time.Millisecond, 60*time.Millisecond)
	}
}

// mutate does one thing to a secret and reports whether its outcome is known.
func (w *writer) mutate(ctx context.Context, name string) bool {
	is := w.world.stateOf(w.vault, name)
	becomes, what, call := w.choose(is, name)
	err := call(context.WithoutCancel(ctx), pick(w.r, w.world.clients(w.vault.home, w.vault)))
	w.world.answered(what, name, err)
	if err != nil {
		w.world.note(w.vault, name, is, becomes)
		return false
	}
	w.world.note(w.vault, name, becomes)
	return true
}

type mutation func(context.Context, *client.Client) error

func (w *writer) choose(is replicaState, name string) (becomes replicaState, what string, call mutation) {
	vault, value := w.vault.name, w.world.canary+"-"+ulid.Make().String()
	becomes = is
	if is == (replicaState{}) {
		becomes.value = value
		return becomes, "create", func(ctx context.Context, c *client.Client) error {
			made, err := c.CreateSecret(ctx, &lifeboatv1.CreateSecretRequest{
				Vault: vault, Name: name, Value: []byte(value), Description: "description " + w.world.canary,
			})
			w.world.setToken(w.vault, name, made.GetRevisionToken())
			return err
		}
	}
	switch w.r.IntN(8) {
	case 0:
		becomes.tag = fmt.Sprint(w.r.Uint32())
		return becomes, "update", func(ctx context.Context, c *client.Client) error {
			_, err := c.UpdateSecret(ctx, &lifeboatv1.UpdateSecretRequest{Vault: vault, Secret: name, SetTags: map[string]string{"tag": becomes.tag}})
			return err
		}
	case 1:
		becomes.labelled = is.value
		return becomes, "label", func(ctx context.Context, c *client.Client) error {
			got, err := c.GetSecretValue(ctx, &lifeboatv1.GetSecretValueRequest{Vault: vault, Secret: name, RevisionToken: w.world.tokenOf(w.vault, name)})
			if err == nil {
				_, err = c.MoveStage(ctx, &lifeboatv1.MoveStageRequest{Vault: vault, Secret: name, Stage: "LABEL", ToVersionId: got.GetVersionId()})
			}
			return err
		}
	case 2, 3:
		return replicaState{}, "purge", func(ctx context.Context, c *client.Client) error {
			_, err := c.DeleteSecret(ctx, &lifeboatv1.DeleteSecretRequest{Vault: vault, Secret: name, Immediate: true})
			return err
		}
	}
	becomes.value = value
	return becomes, "put", func(ctx context.Context, c *client.Client) error {
		put, err := c.PutSecretVersion(ctx, &lifeboatv1.PutSecretVersionRequest{Vault: vault, Secret: name, Value: []byte(value)})
		w.world.setToken(w.vault, name, put.GetRevisionToken())
		return err
	}
}

// seen is the newest that a process has shown of a name.
type seen struct {
	id    string
	token service.RevisionToken
}

// poll reads all secrets of a vault at one process until ctx ends: no state may
// follow a newer one, nor a secret one that has taken its name later.
func (w *regionsWorld) poll(ctx context.Context, at *regionProcess, v replicatedVault, r *rand.Rand) {
	newest, run := map[string]seen{}, int64(-1)
	for wait(ctx, r, 5*time.Millisecond, 25*time.Millisecond) {
		if now := at.runs.Load(); now != run {
			clear(newest) // it may know less than before, which revision tokens are for
			run = now
		}
		name := w.anyName(v, r)
		got, err := at.clients[v.name].GetSecretValue(ctx, &lifeboatv1.GetSecretValueRequest{Vault: v.name, Secret: name})
		if err != nil || got.GetFreshness().GetFromStore() || at.runs.Load() != run {
			continue
		}
		token, err := service.ParseRevisionToken(got.GetRevisionToken())
		now, before := seen{got.GetSecretId(), token}, newest[name]
		switch {
		case err != nil:
			w.wrongly(err)
		case now.id < before.id:
			w.wrongly(fmt.Errorf("%s: %s is %s again after %s", at.name, name, now.id, before.id))
		case now.id == before.id && token.Order.Compare(before.token.Order) < 0:
			w.wrongly(fmt.Errorf("%s: %s goes back from %s to %s", at.name, name, before.token.Order, token.Order))
		}
		newest[name] = now
		w.count("read in " + at.region)
	}
}

// book is what is known of the secrets.
type book struct {
	mu     sync.Mutex
	states map[[2]string][]replicaState // by vault and name; several if the outcome is not known
	tokens map[[2]string]string
	names  map[string][]string
	counts map[string]int
	wrong  []error
}

func (b *book) stateOf(v replicatedVault, name string) replicaState {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.states[[2]string{v.name, name}]; len(s) > 0 {
		return s[0]
	}
	return replicaState{}
}

func (b *book) note(v replicatedVault, name string, may ...replicaState) {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := [2]string{v.name, name}
	if b.states[key] == nil {
		b.names[v.name] = append(b.names[v.name], name)
	}
	b.states[key] = may
}

func (b *book) tokenOf(v replicatedVault, name string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.tokens[[2]string{v.name, name}]
}

func (b *book) setToken(v replicatedVault, name, token string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens[[2]string{v.name, name}] = token
}

func (b *book) anyName(v replicatedVault, r *rand.Rand) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.names[v.name]) == 0 {
		return "none"
	}
	recent := b.names[v.name][max(0, len(b.names[v.name])-12):]
	return pick(r, recent)
}

func (b *book) count(what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counts[what]++
}

func (b *book) wrongly(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wrong = append(b.wrong, err)
}

// answered counts an answer. A refusal that the faults do not explain is wrong.
func (b *book) answered(what, name string, err error) {
	code := client.CodeOf(err)
	b.count(what + " " + string(code))
	switch code {
	case "", client.CodeUnavailable, client.CodeOutcomeUnknown, client.CodeUnreachable, client.CodeCanceled, client.CodeNotReached, client.CodeAuditUnavailable:
	case client.CodeNotFound, client.CodeExists:
		// A repeated purge finds nothing; a host that lags may not show the secret yet.
		if what == "put" || what == "update" {
			b.wrongly(fmt.Errorf("%s of %s: %w", what, name, err))
		}
	case client.CodeStale:
		// What is expected is read before, at a host that may lag.
		if what != "targets" {
			b.wrongly(fmt.Errorf("%s of %s: %w", what, name, err))
		}
	default:
		b.wrongly(errors.Join(fmt.Errorf("%s of %s", what, name), err))
	}
}
