package simulation

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// step is one thing that happens.
type step struct {
	what, at, other, name, set int
	wait                       time.Duration
}

func (s step) String() string {
	return fmt.Sprintf("%s at %s, other %s, name %d, set %d, then wait %v", actions[s.what].name, names[s.at], names[s.other], s.name, s.set, s.wait)
}

func steps() *rapid.Generator[[]step] {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
		return step{
			what: rapid.IntRange(0, len(actions)-1).Draw(t, "what"), at: rapid.SampledFrom([]int{0, 0, 0, 2}).Draw(t, "at"),
			other: rapid.IntRange(0, len(names)-1).Draw(t, "other"), name: rapid.IntRange(0, 1).Draw(t, "name"),
			set:  rapid.IntRange(0, 7).Draw(t, "set"),
			wait: time.Duration(rapid.IntRange(0, 1500).Draw(t, "ms")) * time.Millisecond,
		}
	}), 5, 80)
}

// action is a kind of step.
type action struct {
	name string
	do   func(w *world, r *region, s step) error
}

var actions = []action{
	{"create", create}, {"create", create}, {"create", create}, {"create", create},
	{"put", put}, {"put", put}, {"put", put},
	{"update", func(_ *world, r *region, s step) error {
		_, err := r.service.UpdateSecret(r.as(r.token), service.Update{SecretRef: s.ref(r), SetTags: map[string]string{"tag": fmt.Sprint(s.set)}})
		return err
	}},
	{"purge", func(_ *world, r *region, s step) error {
		_, err := r.service.DeleteSecret(r.as(r.token), service.Deletion{SecretRef: s.ref(r), Immediate: true})
		return err
	}},
	{"schedule deletion", func(_ *world, r *region, s step) error {
		_, err := r.service.DeleteSecret(r.as(r.token), service.Deletion{SecretRef: s.ref(r)})
		return err
	}},
	{"replicate secret", replicate}, {"replicate secret", replicate},
	{"replicate vault", func(_ *world, r *region, s step) error {
		targets := s.targets()
		_, err := r.service.ReplicateVault(r.as(r.token), service.VaultReplication{Vault: r.vault, Targets: &targets})
		return err
	}},
	{"make a token", func(_ *world, r *region, s step) error {
		_, _, err := r.service.CreateToken(r.as(r.token), service.NewCredential{Principal: "admin", Description: s.secret()})
		return err
	}},
	{"revoke a token", func(_ *world, r *region, s step) error {
		id := r.credential(s.secret())
		if id == "" {
			return nil
		}
		_, err := r.service.RevokeCredential(r.as(r.token), id)
		return err
	}},
	{"delete vault and make it again", func(_ *world, r *region, s step) error {
		if s.set > 1 {
			return nil // seldom
		}
		if err := r.service.DeleteVault(r.as(r.token), r.vault); err != nil {
			return err
		}
		vault, _, err := r.service.CreateVault(r.as(r.token), service.NewVault{Name: "vault"})
		if err == nil {
			r.vault = string(vault.ID)
		}
		return err
	}},
	{"the store is slow, or fast again", func(w *world, _ *region, s step) error {
		w.regions[s.other].shard.slow.Store(int64(s.set) * int64(200*time.Millisecond))
		return nil
	}},
	{"link", func(w *world, r *region, s step) error {
		w.setLink(r.name, names[s.other], quality(s.set%3))
		return nil
	}},
	{"crash", func(_ *world, r *region, s step) error {
		r.crash()
		r.start()
		return nil
	}},
	{"a host fails on a record, or applies it again", func(_ *world, r *region, s step) error {
		key := r.keyOf(s.secret())
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.bad != "" {
			key = ""
		}
		r.bad = key
		return nil
	}},
	{"the host is silent, or speaks again", func(_ *world, r *region, s step) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.silent = !r.silent
		return nil
	}},
	{"wait", func(_ *world, _ *region, s step) error {
		time.Sleep(time.Duration(s.set) * 10 * time.Second)
		return nil
	}},
}

func create(_ *world, r *region, s step) error {
	_, err := r.service.CreateSecret(r.as(r.token), service.NewSecret{
		Vault: r.vault, Name: s.secret(), Value: secret.NewPlaintext([]byte("one")), Description: secret.NewPlaintext([]byte("text")),
	})
	return err
}

func put(_ *world, r *region, s step) error {
	_, err := r.service.PutSecretVersion(r.as(r.token), service.NewValue{SecretRef: s.ref(r), Value: secret.NewPlaintext([]byte(fmt.Sprint("value ", s.set, s.wait)))})
	return err
}

func replicate(_ *world, r *region, s step) error {
	_, err := r.service.ReplicateSecret(r.as(r.token), service.SecretReplication{SecretRef: s.ref(r), Targets: s.targets()})
	return err
}

func (s step) secret() string { return fmt.Sprint("secret-", s.name) }

func (s step) ref(r *region) service.SecretRef {
	return service.SecretRef{Vault: r.vault, Secret: s.secret()}
}

// targets are the regions of a set, other than the one of the step.
func (s step) targets() []secret.Target {
	targets := []secret.Target{}
	for i, name := range names {
		if s.set&(1<<i) != 0 && i != s.at {
			targets = append(targets, secret.Target{Region: name})
		}
	}
	return targets
}

func (r *region) keyOf(name string) record.Key {
	stored, _, _ := r.shard.snapshot().Get(record.SecretNameKey(secret.VaultID(r.vault), name))
	id, err := record.DecodeReference(stored.Value)
	if err != nil {
		return ""
	}
	return record.SecretKey(secret.ID(id))
}

// credential is one that has not been revoked, with that description.
func (r *region) credential(description string) (id secret.CredentialID) {
	_ = r.shard.snapshot().Scan(record.CredentialPrefix, record.PrefixEnd(record.CredentialPrefix), func(stored record.Stored) bool {
		c, err := record.Credentials.Decode(stored.Value)
		if err == nil && c.Description == description && c.RevokedAt.IsZero() && c.Ownership.Home == r.name {
			id = c.ID
		}
		return id == ""
	})
	return id
}

// allowed are the refusals that plans run into.
var allowed = []secret.Code{"", secret.CodeNotFound, secret.CodeExists, secret.CodeWrongState, secret.CodeStale}

func run(t *testing.T, plan []step) error {
	w := newWorld(t)
	defer w.close()
	for _, s := range plan {
		if err := actions[s.what].do(w, w.regions[s.at], s); !slices.Contains(allowed, secret.CodeOf(err)) {
			return fmt.Errorf("%v: %w", s, err)
		}
		time.Sleep(s.wait)
		if err := w.failure(); err != nil {
			return err
		}
	}
	w.heal()
	if err := w.rest(); err != nil {
		return err
	}
	return w.failure()
}

func TestWhateverHappensCopiesBecomeEqual(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		plan := steps().Draw(rt, "steps")
		var err error
		synctest.Test(t, func(t *testing.T) { err = run(t, plan) })
		if err != nil {
			var told strings.Builder
			for _, s := range plan {
				fmt.Fprintln(&told, s)
			}
			rt.Fatalf("%v\n%s", err, &told)
		}
	})
}
