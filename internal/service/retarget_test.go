package service_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

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
			other, _, err := p.east.CreateVault(p.east.ctx(), service.NewVault{Name: "other"})
			must(p.t, err)
			_, err = p.east.ReplicateVault(p.east.ctx(), service.VaultReplication{Vault: "other", Targets: &[]secret.Target{{Region: "west"}}})
			must(p.t, err)
			shipped := p.ship(record.VaultKey(other.ID))
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
