package service_test

import (
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

func (p *pair) targetsOf(h *harness, targets ...secret.Target) {
	p.t.Helper()
	_, err := h.ReplicateVault(h.as(p.east.token), service.VaultReplication{Vault: "v", Targets: &targets})
	must(p.t, err)
}

// A region that gives a vault up keeps the keys that its conflicts are sealed under.
func TestConflictsOutliveTheReleaseOfTheirVault(t *testing.T) {
	p := startPair(t)
	key := record.SecretKey(p.east.create(service.NewSecret{Name: "forked"}).Secret.ID)
	p.send(key)
	p.put("forked", "lost in east")
	p.takeOver()
	_, err := p.putIn(p.west, "forked", "kept in west")
	must(t, err)
	must(t, p.west.InheritAll(t.Context(), "east"))
	p.bringBack()
	p.bringBack()
	all := p.east.conflicts()
	if len(all) != 1 {
		t.Fatalf("conflicts: %+v", all)
	}
	p.targetsOf(p.west)
	must(t, deliver(t, p.west, p.east, record.VaultKey(p.vault.ID)).Err)
	if _, ok, _ := p.east.shard.snapshot().Get(record.VaultKey(p.vault.ID)); ok {
		t.Fatal("east has the vault that it gave up")
	}
	p.targetsOf(p.west, secret.Target{Region: "east"})
	p.bringBack()
	got, err := p.east.GetConflict(p.east.as(p.east.token), all[0].GetId())
	must(t, err)
	for _, value := range got.Values {
		if string(value.Reveal()) != "lost in east" {
			t.Errorf("the conflict keeps %q", value.Reveal())
		}
	}
}

// A secret whose home was taken over here is this region's own before its record has
// moved: its vault is not given up.
func TestAVaultWithSecretsThatWereTakenOverIsNotGivenUp(t *testing.T) {
	s := startTriple(t)
	key := record.SecretKey(s.east.create(service.NewSecret{Name: "db"}).Secret.ID)
	for _, h := range []*harness{s.west, s.south} {
		must(t, deliver(t, s.east, h, key).Err)
	}
	must(t, s.east.HandOver(t.Context(), key, "south"))
	for _, h := range []*harness{s.west, s.south} {
		must(t, deliver(t, s.east, h, key).Err)
	}
	s.targetsOf(s.east, secret.Target{Region: "south"})
	must(t, s.west.TakeOver(t.Context(), "south", false))
	if r := deliver(t, s.east, s.west, record.VaultKey(s.vault.ID)); !secret.HasCode(r.Err, secret.CodeDetached) {
		t.Errorf("the release of a vault with a secret that was taken over: %+v", r)
	}
	if _, err := s.putIn(s.west, "db", "of west"); err != nil {
		t.Error(err)
	}
}

// Without a takeover the copy of a third region's secret goes with the vault and its keys.
func TestAReleasedVaultLeavesNothingOfThirdRegions(t *testing.T) {
	s := startTriple(t)
	key := record.SecretKey(s.east.create(service.NewSecret{Name: "db"}).Secret.ID)
	for _, h := range []*harness{s.west, s.south} {
		must(t, deliver(t, s.east, h, key).Err)
	}
	must(t, s.east.HandOver(t.Context(), key, "south"))
	must(t, deliver(t, s.east, s.west, key).Err)
	s.targetsOf(s.east, secret.Target{Region: "south"})
	must(t, deliver(t, s.east, s.west, record.VaultKey(s.vault.ID)).Err)
	view := s.west.shard.snapshot()
	for _, gone := range []record.Key{key, record.VaultKey(s.vault.ID), record.ActiveDataKeyKey(string(s.vault.ID))} {
		if _, ok, _ := view.Get(gone); ok {
			t.Errorf("west still has %s", gone)
		}
	}
}

// A region that has secrets of its own in a vault of another one sends them to new
// targets of the vault.
func TestNewTargetsGetTheSecretsOfAllRegions(t *testing.T) {
	p := startPair(t)
	_, err := p.west.CreateSecret(p.west.as(p.east.token), service.NewSecret{
		Vault: "v", Name: "own", Value: secret.NewPlaintext([]byte("value")), InReplica: true,
	})
	must(t, err)
	p.replicate(secret.Target{Region: "west"}, secret.Target{Region: "south"})
	p.send(record.VaultKey(p.vault.ID))
	for region, wanted := range map[secret.RegionName]bool{"south": true, "east": false} {
		sync, _, err := record.Load(p.west.shard.snapshot(), record.Synchronisations, record.SynchronisationKey(region, p.vault.ID, ""))
		if wanted != (err == nil && sync.GetKind() == service.Synchronise) {
			t.Errorf("%s: %+v, %v", region, sync, err)
		}
	}
}
