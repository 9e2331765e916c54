package service_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// A process that has not heard yet that its region holds the vault again stores what
// it is sent all the same.
func TestAProcessThatIsBehindStoresWhatItIsSent(t *testing.T) {
	p := startPair(t)
	id := p.east.create(service.NewSecret{Name: "db"}).Secret.ID
	p.send(record.SecretKey(id))
	p.replicate()
	p.send(record.VaultKey(p.vault.ID))
	catchUp := p.west.shard.fallBehind()
	p.replicate(secret.Target{Region: "west"})
	p.sendIdentities()
	p.send(record.SecretKey(id))
	catchUp()
	p.wantInWest("db", "value")
}

var identityPrefixes = []string{
	record.AccountPrefix, record.PrincipalPrefix, record.PrincipalNamePrefix, record.CredentialPrefix, record.CredentialOfPrefix, record.PolicyPrefix, record.VaultPrefix,
}

// identities are the keys of what a region has of the account test, and of its vaults.
func (p *pair) identities(h *harness) (keys []record.Key) {
	p.t.Helper()
	for _, prefix := range identityPrefixes {
		must(p.t, h.shard.snapshot().Scan(record.Key(prefix), record.PrefixEnd(prefix), func(s record.Stored) bool {
			owner, _ := record.OwnerOf(s.Key, s.Value) // of an index entry the key tells
			if owner.Account != secret.SystemAccount && !strings.Contains(string(s.Key), string(secret.SystemAccount)) {
				keys = append(keys, s.Key)
			}
			return true
		}))
	}
	return keys
}

// trySend has west receive what it lacks of the account and its vaults, as a
// synchronisation does, which begins again after a failure.
func (p *pair) trySend() (received bool) {
	for _, prefix := range []string{record.AccountPrefix, record.PrincipalPrefix, record.CredentialPrefix, record.PolicyPrefix, record.VaultPrefix} {
		for _, key := range p.identities(p.east) {
			if givenUp := key == record.VaultKey(p.vault.ID) && len(p.vault.Replication.Targets) == 0; givenUp || !key.HasPrefix(prefix) {
				continue
			}
			if r := p.receive(p.ship(key)); r.Err != nil || r.ReadAgain {
				return false
			}
		}
	}
	return true
}

// Whenever a region is to hold an account again while it gives it up, it has all of it
// in the end: what it said that it holds is not given up afterwards.
func TestAnAccountThatIsTakenUpWhileItIsGivenUpIsWhole(t *testing.T) {
	for _, again := range []struct {
		name  string
		begin func(p *pair) (takeUp func() bool)
	}{
		{"the same vault", func(p *pair) func() bool {
			return func() bool {
				p.replicate(secret.Target{Region: "west"})
				return p.trySend()
			}
		}},
		{"another vault, read at the same moment", func(p *pair) func() bool {
			shipped := p.ship(record.VaultKey(p.addVault("other").ID))
			return func() bool { return p.receive(shipped).Err == nil }
		}},
		{"a vault of the region's own", func(p *pair) func() bool {
			return func() bool {
				_, _, err := p.west.CreateVault(p.west.as(p.east.token), service.NewVault{Name: "own"})
				return err == nil
			}
		}},
	} {
		t.Run(again.name, func(t *testing.T) {
			for n := 1; ; n++ {
				if commits := takeUpAtCommit(t, n, again.begin); commits < n {
					break
				}
			}
		})
	}
}

// takeUpAtCommit has the account taken up before the nth commit of its release, and
// returns how many there were.
func takeUpAtCommit(t *testing.T, n int, begin func(*pair) func() bool) (commits int) {
	p := startPair(t)
	for i := range 3 {
		_, err := p.east.CreatePrincipal(p.east.ctx(), service.NewPrincipal{Name: fmt.Sprint("p", i), Kind: secret.Workload})
		must(t, err)
	}
	p.sendIdentities()
	p.replicate()
	takeUp, received, within := begin(p), false, false
	off := p.ship(record.VaultKey(p.vault.ID))
	p.west.shard.beforeCommit = func(record.Txn) {
		if within {
			return
		}
		if commits++; commits == n {
			within = true
			received = takeUp()
			within = false
		}
	}
	_ = p.receive(off) // the take-up may have overtaken it
	p.west.shard.beforeCommit = nil
	if commits < n {
		return commits
	}
	if !received && !p.trySend() {
		t.Fatalf("before commit %d: the account is not received after it was given up", n)
	}
	var got, want []record.Key
	for h, keys := range map[*harness]*[]record.Key{p.west: &got, p.east: &want} {
		*keys = slices.DeleteFunc(p.identities(h), func(key record.Key) bool { return key.HasPrefix(record.VaultPrefix) })
	}
	if !slices.Equal(got, want) {
		t.Fatalf("before commit %d, received %t: west has %v, east %v", n, received, got, want)
	}
	return commits
}

// What comes back while it is given up has its data keys: if it was planned while those
// were there, and they are gone, it is planned again.
func TestWhatIsTakenUpWhileItIsGivenUpHasItsKeys(t *testing.T) {
	for name, scopeOf := range map[string]func(p *pair) (record.Key, string){
		"the account": func(p *pair) (record.Key, string) { return record.AccountKey(p.vault.Account), string(p.vault.Account) },
		"the vault":   func(p *pair) (record.Key, string) { return record.VaultKey(p.vault.ID), string(p.vault.ID) },
	} {
		t.Run(name, func(t *testing.T) {
			p := startPair(t)
			if name == "the vault" { // or its account would go too
				p.addVault("other")
				p.sendIdentities()
			}
			key, scope := scopeOf(p)
			active := record.ActiveDataKeyKey(scope)
			p.replicate()
			off := p.ship(record.VaultKey(p.vault.ID))
			p.replicate(secret.Target{Region: "west"})
			back := p.ship(key)
			writes := func(txn record.Txn, key record.Key, deletes bool) bool {
				return slices.ContainsFunc(txn.Writes, func(w record.Write) bool { return w.Key == key && (w.Value == nil) == deletes })
			}
			planned, released, done := make(chan struct{}), make(chan struct{}), make(chan service.Receipt)
			begin, plan := sync.OnceFunc(func() { go func() { done <- p.receive(back) }(); <-planned }), sync.OnceFunc(func() { close(planned) })
			p.west.shard.beforeCommit = func(txn record.Txn) {
				switch {
				case writes(txn, active, true):
					begin()
				case writes(txn, key, false):
					plan()
					<-released
				}
			}
			p.receive(off)
			close(released)
			must(t, (<-done).Err)
			p.west.shard.beforeCommit = nil
			if _, ok, _ := p.west.shard.snapshot().Get(key); !ok {
				t.Fatalf("west does not have %s", key)
			}
			if _, err := p.west.Keyring.Sealer(t.Context(), p.west.shard.snapshot(), scope); err != nil {
				t.Error(err)
			}
		})
	}
}

// addVault makes another vault that west is to hold too.
func (p *pair) addVault(name string) *secret.Vault {
	p.t.Helper()
	_, _, err := p.east.CreateVault(p.east.ctx(), service.NewVault{Name: name})
	must(p.t, err)
	vault, err := p.east.ReplicateVault(p.east.ctx(), service.VaultReplication{Vault: name, Targets: &[]secret.Target{{Region: "west"}}})
	must(p.t, err)
	return vault
}

// A region that gave an account up remembers a policy of it as deleted by its former
// home. What its new home says of the policy is taken all the same, also before a vault
// of that home is there.
func TestADeletionIsTakenFromTheNewHomeOfWhatWasDeleted(t *testing.T) {
	s := startTriple(t)
	account := s.vault.Account
	policy := record.PolicyKey(account, "x")
	makeAndDelete := func(h *harness, hear ...*harness) {
		_, err := h.PutPolicy(h.as(s.east.token), service.NewPolicy{Name: "x", Text: "permit(principal, action, resource);"})
		must(t, err)
		must(t, h.DeletePolicy(h.as(s.east.token), "", "x"))
		for _, other := range hear {
			must(t, deliver(t, h, other, policy).Err)
		}
	}
	makeAndDelete(s.east, s.west, s.south)
	s.replicate(secret.Target{Region: "south"})
	must(t, deliver(t, s.east, s.west, record.VaultKey(s.vault.ID)).Err)
	must(t, deliver(t, s.east, s.south, record.VaultKey(s.vault.ID)).Err)
	for _, key := range s.identities(s.east) {
		if _, err := record.OwnerOf(key, s.east.shard.snapshot().records[key].Value); err != nil {
			continue // an entry of an index
		}
		must(t, s.east.HandOver(t.Context(), key, "south"))
		must(t, deliver(t, s.east, s.south, key).Err)
	}
	makeAndDelete(s.south)
	s.targetsOf(s.south, secret.Target{Region: "east"}, secret.Target{Region: "west"})
	must(t, deliver(t, s.south, s.west, policy).Err)
}

// A region that takes over the home of an account keeps it, also when the last vault
// that it holds of it is given up before the account has moved.
func TestAnHeirKeepsTheAccountsThatItTakesOver(t *testing.T) {
	s := startTriple(t)
	vault := record.VaultKey(s.vault.ID)
	must(t, s.east.HandOver(t.Context(), vault, "south"))
	must(t, deliver(t, s.east, s.south, vault).Err)
	must(t, deliver(t, s.south, s.west, vault).Err)
	must(t, s.west.TakeOver(t.Context(), "east", false))
	s.targetsOf(s.south, secret.Target{Region: "east"})
	must(t, deliver(t, s.south, s.west, vault).Err)
	view := s.west.shard.snapshot()
	if _, ok, _ := view.Get(vault); ok {
		t.Error("west has the vault that it gave up")
	}
	if _, ok, _ := view.Get(record.AccountKey(s.vault.Account)); !ok {
		t.Error("west has dropped an account that it took over")
	}
}

// Who held a vault that is deleted may not have heard of it, and has the account still:
// it is asked before what is left of somebody in it is forgotten.
func TestHoldersOfADeletedVaultAreAskedAboutItsAccount(t *testing.T) {
	p := startPair(t)
	made, err := p.east.CreatePrincipal(p.east.ctx(), service.NewPrincipal{Name: "gone", Kind: secret.Workload})
	must(t, err)
	must(t, p.east.DeleteVault(p.east.ctx(), "v"))
	must(t, p.east.DeletePrincipal(p.east.ctx(), "", "gone"))
	p.east.clear()
	var synchronised record.Txn
	synchronised.Delete(record.SynchronisationKey("west", p.vault.ID, ""))
	_, err = p.east.shard.Commit(t.Context(), synchronised)
	must(t, err)
	p.east.pass(100 * 24 * time.Hour)
	graves, err := p.east.Graves()
	must(t, err)
	key := record.PrincipalKey(p.vault.Account, made.ID)
	at := slices.IndexFunc(graves.Ready, func(g service.Grave) bool { return g.Record == key })
	if at < 0 || !slices.Equal(graves.Ready[at].Holders, []secret.RegionName{"west"}) {
		t.Errorf("what is left of %s: %+v", key, graves)
	}
}
