package service_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/kms/file"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// pair is a vault of east that is replicated to west, without anything in between.
type pair struct {
	t          *testing.T
	east, west *harness
	vault      *secret.Vault
}

var fromEast = service.Source{Region: "east"}

func startPair(t *testing.T) *pair {
	t.Helper()
	west, operator := startEmpty(t, "west")
	p := &pair{t: t, east: start(t), west: west}
	west.token = operator
	p.replicate(secret.Target{Region: "west"})
	p.sendIdentities()
	return p
}

func (p *pair) replicate(targets ...secret.Target) {
	p.t.Helper()
	vault, err := p.east.ReplicateVault(p.east.ctx(), service.VaultReplication{Vault: "v", Targets: &targets})
	must(p.t, err)
	p.vault = vault
}

// clear does the pipeline's part.
func (h *harness) clear() {
	h.t.Helper()
	var txn record.Txn
	must(h.t, h.shard.snapshot().Scan(record.WorkPrefix, record.PrefixEnd(record.WorkPrefix), func(s record.Stored) bool {
		txn.Delete(s.Key)
		return true
	}))
	_, err := h.shard.Commit(h.t.Context(), txn)
	must(h.t, err)
}

// ship returns the cleared state of a record with some versions.
func (p *pair) ship(key record.Key, values ...secret.VersionID) *service.Shipment {
	p.t.Helper()
	p.east.clear()
	shipment, err := p.east.Ship(p.t.Context(), p.east.shard.snapshot(), key, 0, values)
	must(p.t, err)
	return shipment
}

func (p *pair) receive(s *service.Shipment) service.Receipt {
	p.t.Helper()
	return p.west.Receive(p.t.Context(), fromEast, s)
}

// send ships and receives what can be received at once.
func (p *pair) send(key record.Key) {
	p.t.Helper()
	receipt := p.receive(p.ship(key))
	if receipt.Err != nil || len(receipt.Needs) > 0 || receipt.Holder != "" {
		p.t.Fatalf("%s: %+v", key, receipt)
	}
}

// sendIdentities brings the account with everybody in it, and the vault.
func (p *pair) sendIdentities() {
	p.t.Helper()
	p.east.clear()
	for _, prefix := range []string{record.AccountPrefix, record.PrincipalPrefix, record.CredentialPrefix, record.PolicyPrefix, record.VaultPrefix} {
		must(p.t, p.east.shard.snapshot().Scan(record.Key(prefix), record.PrefixEnd(prefix), func(s record.Stored) bool {
			owner, err := record.OwnerOf(s.Key, s.Value)
			must(p.t, err)
			if owner.Account != secret.SystemAccount {
				p.send(s.Key)
			}
			return true
		}))
	}
}

func (p *pair) put(name, value string) service.Outcome {
	p.t.Helper()
	o, err := p.east.PutSecretVersion(p.east.ctx(), service.NewValue{
		SecretRef: service.SecretRef{Vault: "v", Secret: name}, Value: secret.NewPlaintext([]byte(value)),
	})
	must(p.t, err)
	return o
}

// valueInWest reads with the token that was made in east.
func (p *pair) valueInWest(name string) (string, error) {
	v, err := p.west.GetSecretValue(p.west.as(p.east.token), service.ValueRef{SecretRef: service.SecretRef{Vault: "v", Secret: name}})
	return string(v.Plaintext.Reveal()), err
}

func (p *pair) wantInWest(name, want string) {
	p.t.Helper()
	if got, err := p.valueInWest(name); err != nil || got != want {
		p.t.Fatalf("west has %q, %v for %s, want %q", got, err, name, want)
	}
}

func (p *pair) wantGoneInWest(name string) {
	p.t.Helper()
	if got, err := p.valueInWest(name); !secret.HasCode(err, secret.CodeNotFound) {
		p.t.Fatalf("west has %q, %v for %s", got, err, name)
	}
}

func TestReplicaIsReadableLikeALocalSecretAndRefusesMutation(t *testing.T) {
	p := startPair(t)
	o := p.east.create(service.NewSecret{
		Name: "db", Description: secret.NewPlaintext([]byte("of the shop")), Metadata: map[string]string{"owner": "shop"}, Tags: map[string]string{"tier": "1"},
	})
	p.send(record.SecretKey(o.Secret.ID))
	p.wantInWest("db", "value")
	d, err := p.west.DescribeSecret(p.west.as(p.east.token), service.SecretRef{Vault: "v", Secret: "db"}, service.RevisionToken{})
	must(t, err)
	if string(d.Description.Reveal()) != "of the shop" || d.Metadata["owner"] != "shop" || d.Secret.Tags["tier"] != "1" ||
		d.Secret.ID != o.Secret.ID || d.Secret.Ownership.Home != "east" || d.Secret.Ownership.Order != o.Secret.Ownership.Order {
		t.Errorf("west describes %+v", d)
	}
	west, ref := p.west, service.SecretRef{Vault: "v", Secret: "db"}
	refused := map[string]func() error{
		"put": func() error {
			_, err := west.PutSecretVersion(west.as(p.east.token), service.NewValue{SecretRef: ref, Value: secret.NewPlaintext([]byte("x"))})
			return err
		},
		"delete": func() error {
			_, err := west.DeleteSecret(west.as(p.east.token), service.Deletion{SecretRef: ref})
			return err
		},
		"create": func() error {
			_, err := west.CreateSecret(west.as(p.east.token), service.NewSecret{Vault: "v", Name: "other", Value: secret.NewPlaintext([]byte("x"))})
			return err
		},
		"update vault": func() error {
			_, err := west.UpdateVault(west.as(p.east.token), service.VaultUpdate{Vault: "v"})
			return err
		},
		"delete vault": func() error { return west.DeleteVault(west.as(p.east.token), "v") },
		"principal": func() error {
			_, err := west.CreatePrincipal(west.as(p.east.token), service.NewPrincipal{Name: "p", Kind: secret.User})
			return err
		},
		"policy": func() error { return west.DeletePolicy(west.as(p.east.token), "", "admin") },
		"token": func() error {
			_, _, err := west.CreateToken(west.as(p.east.token), service.NewCredential{Principal: "admin"})
			return err
		},
	}
	for name, mutate := range refused {
		if err := mutate(); !secret.HasCode(err, secret.CodeNotHome) || !strings.Contains(err.Error(), "east") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOrdersDecide(t *testing.T) {
	p := startPair(t)
	key := record.SecretKey(p.east.create(service.NewSecret{Name: "db"}).Secret.ID)
	first := p.ship(key)
	p.put("db", "second")
	second := p.ship(key)
	if r := p.receive(second); r.Err != nil || len(r.Needs) != 1 {
		t.Fatalf("a state with a value that west lacks: %+v", r)
	}
	if r := p.receive(first); r.Err != nil {
		t.Fatalf("an earlier state: %+v", r)
	}
	p.wantInWest("db", "value")
	if r := p.receive(second); r.Err != nil || r.Revision == 0 {
		t.Fatalf("the next state: %+v", r)
	}
	p.wantInWest("db", "second")
	if r := p.receive(second); r.Err != nil || r.Revision != 0 {
		t.Errorf("the same state again: %+v", r)
	}
	if r := p.receive(first); !secret.HasCode(r.Err, secret.CodeStale) || r.Held.Seq != 2 {
		t.Errorf("a zombie's state: %+v", r)
	}
	p.wantInWest("db", "second")
	other := *second
	other.Description = secret.NewPlaintext([]byte("another"))
	if r := p.receive(&other); !secret.HasCode(r.Err, secret.CodeCorrupt) {
		t.Errorf("other content under the same order: %+v", r)
	}
}

func TestOnlyClearedStatesLeave(t *testing.T) {
	p := startPair(t)
	key := record.SecretKey(p.east.create(service.NewSecret{Name: "db"}).Secret.ID)
	if _, err := p.east.Ship(t.Context(), p.east.shard.snapshot(), key, 0, nil); !errors.Is(err, service.ErrNotCleared) {
		t.Fatalf("a state under way: %v", err)
	}
	p.send(key)
	p.put("db", "second")
	if _, err := p.east.Ship(t.Context(), p.east.shard.snapshot(), key, 0, nil); !errors.Is(err, service.ErrNotCleared) {
		t.Fatalf("a newer state behind a cleared one: %v", err)
	}
	if _, err := p.west.Ship(t.Context(), p.west.shard.snapshot(), record.VaultKey(p.vault.ID), 0, nil); err == nil {
		t.Error("a replica is sent on")
	}
}

func TestValuesAreCheckedAgainstTheDigestOfTheirHome(t *testing.T) {
	p := startPair(t)
	key := record.SecretKey(p.east.create(service.NewSecret{Name: "db"}).Secret.ID)
	s := p.ship(key)
	s.Values[0].Value = secret.NewPlaintext([]byte("tampered"))
	if r := p.receive(s); !secret.HasCode(r.Err, secret.CodeTampered) {
		t.Fatalf("%+v", r)
	}
	p.wantGoneInWest("db")
}

func TestManyLargeVersionsArriveWhole(t *testing.T) {
	p := startPair(t)
	o := p.east.create(service.NewSecret{Name: "db", Retention: secret.Retention{MaxVersions: secret.MaxVersions}})
	for i := range secret.MaxVersions - 1 {
		p.put("db", fmt.Sprintf("%d-%s", i, strings.Repeat("x", 60<<10)))
	}
	key := record.SecretKey(o.Secret.ID)
	newest := p.ship(key)
	r := p.receive(newest)
	if r.Err != nil || len(r.Needs) != secret.MaxVersions-1 {
		t.Fatalf("%+v", r)
	}
	p.wantGoneInWest("db")
	if r = p.receive(p.ship(key, append(r.Needs, newest.Values[0].ID)...)); r.Err != nil || len(r.Needs) > 0 {
		t.Fatalf("%+v", r)
	}
	p.wantInWest("db", fmt.Sprintf("%d-%s", secret.MaxVersions-2, strings.Repeat("x", 60<<10)))
	for n := range uint64(secret.MaxVersions) {
		_, err := p.west.GetSecretValue(p.west.as(p.east.token), service.ValueRef{SecretRef: service.SecretRef{Vault: "v", Secret: "db"}, VersionNumber: n + 1})
		must(t, err)
	}
}

func TestDeletionAndReuseOfAName(t *testing.T) {
	p := startPair(t)
	old := record.SecretKey(p.east.create(service.NewSecret{Name: "db"}).Secret.ID)
	stale := p.ship(old)
	p.send(old)
	_, err := p.east.DeleteSecret(p.east.ctx(), service.Deletion{SecretRef: service.SecretRef{Vault: "v", Secret: "db"}, Immediate: true})
	must(t, err)
	p.east.create(service.NewSecret{Name: "db", Value: secret.NewPlaintext([]byte("new"))})
	id, err := lookupSecret(p.east, p.vault.ID, "db")
	must(t, err)
	fresh := record.SecretKey(id)

	// The message of the new secret overtakes that of the deletion.
	r := p.receive(p.ship(fresh))
	if record.SecretKey(r.Holder) != old {
		t.Fatalf("%+v", r)
	}
	p.wantInWest("db", "value")
	both := p.ship(fresh)
	both.Predecessor = p.ship(old)
	if r := p.receive(both); r.Err != nil {
		t.Fatalf("%+v", r)
	}
	p.wantInWest("db", "new")
	if r := p.receive(stale); !secret.HasCode(r.Err, secret.CodeStale) {
		t.Errorf("a zombie brings a deleted secret back: %+v", r)
	}
	p.send(old)
	p.wantInWest("db", "new")
}

func lookupSecret(h *harness, vault secret.VaultID, name string) (secret.ID, error) {
	stored, _, err := h.shard.snapshot().Get(record.SecretNameKey(vault, name))
	if err != nil {
		return "", err
	}
	id, err := record.DecodeReference(stored.Value)
	return secret.ID(id), err
}

func TestRevocationArrivesAndIdentitiesDoNotComeBack(t *testing.T) {
	p := startPair(t)
	_, err := p.east.CreatePrincipal(p.east.ctx(), service.NewPrincipal{Name: "shop", Kind: secret.Workload})
	must(t, err)
	cred, token, err := p.east.CreateToken(p.east.ctx(), service.NewCredential{Principal: "shop"})
	must(t, err)
	key, principal := record.CredentialKey(cred.ID), record.PrincipalKey(cred.Account, cred.Principal)
	if r := p.receive(p.ship(key)); !secret.HasCode(r.Err, secret.CodeNotFound) {
		t.Fatalf("a credential before its principal: %+v", r)
	}
	p.send(principal)
	early := p.ship(key)
	p.send(key)
	_, err = p.west.WhoAmI(p.west.as(string(token.Reveal())))
	must(t, err)
	_, err = p.east.RevokeCredential(p.east.ctx(), cred.ID)
	must(t, err)
	p.send(key)
	if r := p.receive(early); !secret.HasCode(r.Err, secret.CodeStale) {
		t.Fatalf("a zombie takes a revocation back: %+v", r)
	}
	if _, err = p.west.WhoAmI(p.west.as(string(token.Reveal()))); !secret.HasCode(err, secret.CodeUnauthenticated) {
		t.Fatalf("a revoked token in west: %v", err)
	}
	before := p.ship(principal)
	must(t, p.east.DeletePrincipal(p.east.ctx(), "", "shop"))
	p.send(principal)
	if r := p.receive(before); !secret.HasCode(r.Err, secret.CodeStale) {
		t.Errorf("a zombie brings a principal back: %+v", r)
	}

	// A policy of a deleted one's name is newer than what was deleted.
	for range 2 {
		_, err = p.east.PutPolicy(p.east.ctx(), service.NewPolicy{Name: "extra", Text: "permit (principal, action, resource);"})
		must(t, err)
		policy := record.PolicyKey(cred.Account, "extra")
		p.send(policy)
		if _, err := p.west.GetPolicy(p.west.as(p.east.token), "", "extra"); err != nil {
			t.Fatal(err)
		}
		must(t, p.east.DeletePolicy(p.east.ctx(), "", "extra"))
		p.send(policy)
		if _, err := p.west.GetPolicy(p.west.as(p.east.token), "", "extra"); !secret.HasCode(err, secret.CodeNotFound) {
			t.Fatalf("a deleted policy: %v", err)
		}
	}
}

func TestRemovedTargetDropsItsCopies(t *testing.T) {
	p := startPair(t)
	var keys []record.Key
	for i := range 3 {
		keys = append(keys, record.SecretKey(p.east.create(service.NewSecret{Name: fmt.Sprintf("s%d", i)}).Secret.ID))
		p.send(keys[i])
	}
	stale := p.ship(keys[0])
	p.replicate()
	vault := p.ship(record.VaultKey(p.vault.ID))
	if r := p.receive(vault); r.Err != nil {
		t.Fatalf("%+v", r)
	}
	if r := p.receive(vault); r.Err != nil || r.Revision != 0 {
		t.Errorf("once more: %+v", r)
	}
	must(t, p.west.shard.snapshot().Scan("", "", func(s record.Stored) bool {
		for _, left := range []string{record.VaultPrefix, record.SecretPrefix, record.SecretNamePrefix, record.VersionPrefix, record.VaultNamePrefix} {
			if s.Key.HasPrefix(left) {
				t.Errorf("%s is left", s.Key)
			}
		}
		if strings.Contains(string(s.Key), string(p.vault.Account)) && !s.Key.HasPrefix(record.WorkPrefix) && !s.Key.HasPrefix(record.TombstonePrefix) {
			t.Errorf("%s of the account is left", s.Key)
		}
		return true
	}))
	if r := p.receive(stale); r.Err != nil || r.Revision != 0 {
		t.Errorf("a zombie's state after the release: %+v", r)
	}

	// It can become a target again.
	p.replicate(secret.Target{Region: "west"})
	p.sendIdentities()
	for _, key := range keys {
		p.send(key)
	}
	p.wantInWest("s0", "value")
}

func TestOneSecretIsReplicatedByItself(t *testing.T) {
	p := startPair(t)
	p.replicate()
	if r := p.receive(p.ship(record.VaultKey(p.vault.ID))); r.Err != nil {
		t.Fatalf("%+v", r)
	}
	mine := record.SecretKey(p.east.create(service.NewSecret{Name: "mine"}).Secret.ID)
	other := record.SecretKey(p.east.create(service.NewSecret{Name: "other"}).Secret.ID)
	ref := service.SecretRef{Vault: "v", Secret: "mine"}
	_, err := p.east.ReplicateSecret(p.east.ctx(), service.SecretReplication{SecretRef: ref, Targets: []secret.Target{{Region: "west"}}})
	must(t, err)
	p.sendIdentities()
	p.send(mine)
	p.wantInWest("mine", "value")
	if r := p.receive(p.ship(other)); r.Err != nil {
		t.Errorf("%+v", r)
	}
	p.wantGoneInWest("other")
	_, err = p.east.ReplicateSecret(p.east.ctx(), service.SecretReplication{SecretRef: ref})
	must(t, err)
	p.send(mine)
	p.wantGoneInWest("mine")
}

func TestTakenNames(t *testing.T) {
	p := startPair(t)
	id := p.east.create(service.NewSecret{Name: "db"}).Secret.ID
	// A secret of west's own has the name.
	own := &secret.Secret{
		ID: secret.NewID(p.vault.ID, "01ARZ3NDEKTSV4RRFFQ69G5FAV"), Account: p.vault.Account, Name: "db", State: secret.Active,
		Ownership: secret.NewOwnership("west", "w"),
	}
	var txn record.Txn
	txn.Put(record.SecretKey(own.ID), record.Secrets.Encode(own))
	txn.Put(record.SecretNameKey(p.vault.ID, "db"), record.EncodeReference(string(own.ID)))
	_, err := p.west.shard.Commit(t.Context(), txn)
	must(t, err)
	if r := p.receive(p.ship(record.SecretKey(id))); !secret.HasCode(r.Err, secret.CodeExists) {
		t.Fatalf("%+v", r)
	}
	p.replicate(secret.Target{Region: "west", ForceOverwrite: true})
	p.send(record.VaultKey(p.vault.ID))
	p.send(record.SecretKey(id))
	p.wantInWest("db", "value")
	kept, _, err := record.Load(p.west.shard.snapshot(), record.Secrets, record.SecretKey(own.ID))
	must(t, err)
	if kept.State != secret.PendingDeletion || !strings.HasPrefix(kept.Name, "db!replaced-") {
		t.Errorf("what was replaced is %+v", kept)
	}
}

func TestResidencyAndStrangersAreRefused(t *testing.T) {
	p := startPair(t)
	allowed := []secret.RegionName{"south"}
	_, err := p.east.ReplicateVault(p.east.ctx(), service.VaultReplication{Vault: "v", AllowedRegions: &allowed})
	if !secret.HasCode(err, secret.CodeInvalid) {
		t.Fatalf("a target that is not allowed: %v", err)
	}
	unknown := []secret.Target{{Region: "mars"}}
	_, err = p.east.ReplicateVault(p.east.ctx(), service.VaultReplication{Vault: "v", Targets: &unknown})
	if !secret.HasCode(err, secret.CodeInvalid) {
		t.Fatalf("a region that is no peer: %v", err)
	}
	key := record.SecretKey(p.east.create(service.NewSecret{Name: "db"}).Secret.ID)
	r := p.west.Receive(t.Context(), service.Source{Region: "south"}, p.ship(key))
	if !secret.HasCode(r.Err, secret.CodeDenied) {
		t.Errorf("a third region sends: %+v", r)
	}
	// South says that it has taken a policy of east's account over, and makes one.
	for _, name := range []string{"admin", "mine"} {
		hostile := secret.Policy{
			Account: p.vault.Account, Name: name, Text: "permit (principal, action, resource);",
			Ownership: secret.Ownership{Home: "south", Order: secret.Order{Epoch: secret.Epoch{Counter: 9, Region: "south"}, Seq: 99}},
		}
		r := p.west.Receive(t.Context(), service.Source{Region: "south"}, &service.Shipment{
			Key: record.PolicyKey(hostile.Account, name), State: record.Policies.Encode(&hostile), Order: hostile.Ownership.Order,
		})
		if !secret.HasCode(r.Err, secret.CodeDenied) {
			t.Errorf("south puts the policy %s into east's account: %+v", name, r)
		}
	}
	taken := p.ship(key)
	p.send(key)
	stolen, err := record.Secrets.Decode(taken.State)
	must(t, err)
	stolen.Ownership = secret.Ownership{Home: "south", Order: secret.Order{Epoch: secret.Epoch{Counter: 9, Region: "south"}, Seq: 99}}
	taken.State, taken.Order = record.Secrets.Encode(stolen), stolen.Ownership.Order
	if r := p.west.Receive(t.Context(), service.Source{Region: "south"}, taken); !secret.HasCode(r.Err, secret.CodeDenied) {
		t.Errorf("south takes a secret of east over: %+v", r)
	}
	system := p.ship(key)
	system.Key = record.SecretKey(secret.NewID(p.vault.ID, "01ARZ3NDEKTSV4RRFFQ69G5FAV"))
	if r := p.receive(system); !secret.HasCode(r.Err, secret.CodeInvalid) {
		t.Errorf("a state under another key: %+v", r)
	}
}

func TestDigestsOfTwoRegions(t *testing.T) {
	p := startPair(t)
	for i := range 3 {
		p.send(record.SecretKey(p.east.create(service.NewSecret{Name: fmt.Sprintf("s%d", i)}).Secret.ID))
	}
	digests := func(h *harness, home, target secret.RegionName) (all []string) {
		c := service.Compared{Vault: p.vault.ID, Home: home, For: []secret.RegionName{target}}
		_, err := h.VaultDigests(t.Context(), h.shard.snapshot(), c, func(sec *secret.Secret, digest secret.MAC) {
			if digest != nil {
				all = append(all, fmt.Sprintf("%s %x", sec.ID, digest))
			}
		})
		must(t, err)
		return all
	}
	east, west := digests(p.east, "east", "west"), digests(p.west, "east", "west")
	if len(east) != 3 || !slices.Equal(east, west) {
		t.Errorf("equal copies have the digests %v and %v", east, west)
	}
	p.put("s1", "changed")
	if changed := digests(p.east, "east", "west"); slices.Equal(changed, west) || changed[0] != west[0] {
		t.Errorf("after a change %v and %v", changed, west)
	}
	if none := digests(p.east, "east", "south"); len(none) != 0 {
		t.Errorf("digests for a region that is no target: %v", none)
	}
}

// A target wraps the data keys of a vault by the master key that the vault names for
// it; one that it lacks is an error that says so, and nothing is received.
func TestATargetHasAMasterKeyOfItsOwnForAVault(t *testing.T) {
	p := startPair(t)
	wrappedBy := func() string {
		key, _, err := record.Load(p.west.shard.snapshot(), record.DataKeys, record.DataKeyKey(string(p.vault.ID), 1))
		must(t, err)
		return key.GetMasterKey()
	}
	before := wrappedBy()
	p.replicate(secret.Target{Region: "west", Key: "payments"})
	vault := p.ship(record.VaultKey(p.vault.ID))
	if r := p.receive(vault); r.Err == nil || wrappedBy() != before {
		t.Fatalf("a key that west lacks: %+v", r)
	}
	_, err := file.AddKey(p.west.keyFile, "payments")
	must(t, err)
	if r := p.receive(vault); r.Err != nil || wrappedBy() == before {
		t.Fatalf("%+v, wrapped by %s", r, wrappedBy())
	}
	p.send(record.SecretKey(p.east.create(service.NewSecret{Name: "db"}).Secret.ID))
	p.wantInWest("db", "value")
}
