package service_test

import (
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// promoted starts a pair with a secret of which west has promoted its replica. East has
// not learnt of that.
func promoted(t *testing.T) (p *pair, key record.Key) {
	t.Helper()
	p = startPair(t)
	key = record.SecretKey(p.east.create(service.NewSecret{Name: "db"}).Secret.ID)
	p.send(key)
	p.promote(p.west)
	return p, key
}

func (p *pair) promote(h *harness) service.Outcome {
	p.t.Helper()
	o, err := h.PromoteSecret(h.as(p.east.token), service.Promotion{SecretRef: ref("db")})
	must(p.t, err)
	return o
}

// refused sends the state of east, and has east take note of the answer as a sender does.
func (p *pair) refused(key record.Key) (settled bool) {
	p.t.Helper()
	if r := p.receive(p.ship(key)); !secret.HasCode(r.Err, secret.CodeDetached) {
		p.t.Fatalf("west takes %s: %+v", key, r)
	}
	settled, err := p.east.NotePromotion(p.t.Context(), key, "west")
	must(p.t, err)
	return settled
}

// tell brings east the news that west has promoted its replica.
func (p *pair) tell(key record.Key) service.Receipt {
	p.t.Helper()
	p.west.clear()
	s, err := p.west.ShipPromotion(p.west.shard.snapshot(), key, "east")
	must(p.t, err)
	if len(s.Values) > 0 {
		p.t.Error("the news has values")
	}
	return p.east.Receive(p.t.Context(), service.Source{Region: "west"}, s)
}

func (p *pair) wantPromotedIn(key record.Key, regions ...secret.RegionName) *secret.Secret {
	p.t.Helper()
	sec := p.east.secretOf(key)
	if len(sec.Promoted) != len(regions) {
		p.t.Fatalf("east has %v as promoted, want %v", sec.Promoted, regions)
	}
	for i, region := range regions {
		if sec.Promoted[i] != region {
			p.t.Fatalf("east has %v as promoted, want %v", sec.Promoted, regions)
		}
	}
	return sec
}

func (p *pair) purge(h *harness) {
	p.t.Helper()
	_, err := h.DeleteSecret(h.as(p.east.token), service.Deletion{SecretRef: ref("db"), Immediate: true})
	must(p.t, err)
}

func TestAPromotedReplicaIsASecretOfItsOwn(t *testing.T) {
	p, key := promoted(t)
	sec := p.west.secretOf(key)
	if own := sec.Ownership; own.Home != "west" || own.Order.String() != "3:west:2" || own.Lineage[0].Began.String() != "1:east:1" || sec.Detached == "" {
		t.Fatalf("promoted, it is %+v", sec)
	}
	if o := p.promote(p.west); !o.Replayed {
		t.Errorf("promoted again: %+v", o)
	}
	_, err := p.putIn(p.west, "db", "of west")
	must(t, err)
	p.put("db", "of east")
	if !p.refused(key) {
		t.Error("east has more to tell")
	}
	p.wantInWest("db", "of west")
	after := p.wantPromotedIn(key, "west")
	p.refused(key) // a message that was under way
	if again := p.wantPromotedIn(key, "west"); again.Ownership.Order != after.Ownership.Order {
		t.Errorf("to note it twice makes %s of %s", again.Ownership.Order, after.Ownership.Order)
	}
	if v := p.east.vaultOf(p.vault.ID).Replication; len(v.Partial) != 1 || v.Partial[0] != "west" {
		t.Errorf("the vault is held by %+v", v)
	}
	if n := p.west.audited("PromoteSecret"); n == 0 {
		t.Error("the promotion was not audited")
	}
	if n := p.east.audited("NotePromotion", "region:west"); n != 1 {
		t.Errorf("that east learnt of it was audited %d times", n)
	}
}

func TestWhoMayPromoteWhat(t *testing.T) {
	p := startPair(t)
	p.send(record.SecretKey(p.east.create(service.NewSecret{Name: "db"}).Secret.ID))
	promote := func(h *harness, token, name string, expected *secret.Order) error {
		_, err := h.PromoteSecret(h.as(token), service.Promotion{SecretRef: ref(name), Expected: expected})
		return err
	}
	if err := promote(p.east, p.east.token, "db", nil); !secret.HasCode(err, secret.CodeWrongState) {
		t.Errorf("at its home: %v", err)
	}
	if err := promote(p.west, p.east.token, "other", nil); !secret.HasCode(err, secret.CodeNotFound) {
		t.Errorf("of what is not there: %v", err)
	}
	if err := promote(p.west, p.east.token, "db", &secret.Order{Seq: 7}); !secret.HasCode(err, secret.CodeStale) {
		t.Errorf("of another state: %v", err)
	}
	if err := promote(p.west, "nobody", "db", nil); !secret.HasCode(err, secret.CodeUnauthenticated) {
		t.Errorf("by nobody: %v", err)
	}
	_, err := p.east.DeleteSecret(p.east.ctx(), service.Deletion{SecretRef: ref("db")})
	must(t, err)
	p.send(record.SecretKey(p.east.secretNamed("db").ID))
	if err := promote(p.west, p.east.token, "db", nil); !secret.HasCode(err, secret.CodeWrongState) {
		t.Errorf("of what is to be deleted: %v", err)
	}
	p.takeOver()
	if err := promote(p.west, p.east.token, "db", nil); !secret.HasCode(err, secret.CodeWrongState) {
		t.Errorf("of what is taken over: %v", err)
	}
}

func (h *harness) secretNamed(name string) (found *secret.Secret) {
	h.t.Helper()
	must(h.t, h.shard.snapshot().Scan(record.SecretPrefix, record.PrefixEnd(record.SecretPrefix), func(s record.Stored) bool {
		sec, err := record.Secrets.Decode(s.Value)
		must(h.t, err)
		if sec.Name == name {
			found = sec
		}
		return found == nil
	}))
	return found
}

func TestTheHomeIsToldOfAPromotion(t *testing.T) {
	p, key := promoted(t)
	if _, _, err := record.Load(p.west.shard.snapshot(), record.Synchronisations, record.SynchronisationKey("east", p.vault.ID, record.SecretIDOf(key))); err != nil {
		t.Errorf("nothing says that east is to be told: %v", err)
	}
	for range 2 {
		if r := p.tell(key); r.Err != nil || r.Revision != 0 {
			t.Fatalf("east answers %+v", r)
		}
	}
	if p.wantPromotedIn(key, "west").Ownership.Order.Seq != 2 {
		t.Error("east has noted it twice")
	}
	if got, err := p.east.GetSecretValue(p.east.ctx(), service.ValueRef{SecretRef: ref("db")}); err != nil || string(got.Plaintext.Reveal()) != "value" {
		t.Errorf("east has %q, %v", got.Plaintext.Reveal(), err)
	}
	// A former home that has nothing of it any more need not know.
	p.purge(p.east)
	if r := p.tell(key); r.Err != nil {
		t.Errorf("after it was purged: %+v", r)
	}
	if live, _, err := p.west.LiveOf(p.west.shard.snapshot(), []record.Key{key}); err != nil || len(live) > 0 {
		t.Errorf("west has %v of what east purged, %v", live, err)
	}
	p.refused(key)
	p.wantInWest("db", "value")
}

func TestAVaultThatIsGivenUpKeepsWhatWasPromoted(t *testing.T) {
	p, key := promoted(t)
	other := record.SecretKey(p.east.create(service.NewSecret{Name: "other"}).Secret.ID)
	p.send(other)
	p.replicate() // east has not learnt of it yet
	vault := record.VaultKey(p.vault.ID)
	if !p.refused(vault) {
		t.Fatal("east does not go on to bring west the vault")
	}
	p.send(vault)
	p.wantInWest("db", "value")
	p.wantGoneInWest("other")
	_, err := p.putIn(p.west, "db", "still writable")
	must(t, err)
	// A target again, it gets everything but what it has promoted.
	p.tell(key)
	p.replicate(secret.Target{Region: "west"})
	p.send(vault)
	p.send(other)
	p.wantInWest("other", "value")
	if sec := p.wantPromotedIn(key, "west"); sec.MeantFor("east", p.east.vaultOf(p.vault.ID).Replication, "west") {
		t.Error("west is meant to have it again")
	}
	p.wantInWest("db", "still writable")
}

func TestAVaultIsNotGivenUpBesideAPromotion(t *testing.T) {
	p := startPair(t)
	key := record.SecretKey(p.east.create(service.NewSecret{Name: "db"}).Secret.ID)
	p.send(key)
	p.replicate()
	late := p.ship(record.VaultKey(p.vault.ID))
	// The promotion commits when west is about to drop the replica.
	once := false
	p.west.shard.beforeCommit = func(txn record.Txn) {
		for _, w := range txn.Writes {
			if w.Key == key && w.Value == nil && !once {
				once = true
				p.promote(p.west)
			}
		}
	}
	if r := p.receive(late); !secret.HasCode(r.Err, secret.CodeDetached) || !once {
		t.Fatalf("%+v", r)
	}
	p.wantInWest("db", "value")
}

func TestAnIDIsFreeAgainOnceItsSecretIsPurged(t *testing.T) {
	t.Run("where it was promoted", func(t *testing.T) {
		p, key := promoted(t)
		p.tell(key)
		p.purge(p.west)
		_, err := p.east.ReplicateSecret(p.east.ctx(), service.SecretReplication{SecretRef: ref("db"), Targets: []secret.Target{{Region: "west"}}})
		must(t, err)
		if r := p.receive(p.ship(key)); !secret.HasCode(r.Err, secret.CodeUnavailable) {
			t.Errorf("while the deletion is not cleared: %+v", r)
		}
		p.west.clear()
		p.send(key)
		p.wantInWest("db", "value")
		p.put("db", "again")
		p.send(key)
		p.wantInWest("db", "again")
	})
	t.Run("where it came from", func(t *testing.T) {
		p, key := promoted(t)
		_, err := p.west.ReplicateSecret(p.west.as(p.east.token), service.SecretReplication{SecretRef: ref("db"), Targets: []secret.Target{{Region: "east"}}})
		must(t, err)
		if r := deliver(t, p.west, p.east, key); !secret.HasCode(r.Err, secret.CodeExists) {
			t.Fatalf("while east has its own: %+v", r)
		}
		p.wantPromotedIn(key, "west") // it has learnt of it all the same
		p.purge(p.east)
		p.east.clear()
		if r := deliver(t, p.west, p.east, key); r.Err != nil {
			t.Fatal(r.Err)
		}
		if sec := p.east.secretOf(key); sec.Ownership.Home != "west" || !sec.IsDetached() {
			t.Errorf("east has %+v", sec)
		}
		_, err = p.putIn(p.west, "db", "of west")
		must(t, err)
		if r := deliver(t, p.west, p.east, key); r.Err != nil {
			t.Fatal(r.Err)
		}
		if got, err := p.east.GetSecretValue(p.east.ctx(), service.ValueRef{SecretRef: ref("db")}); err != nil || string(got.Plaintext.Reveal()) != "of west" {
			t.Errorf("east has %q, %v", got.Plaintext.Reveal(), err)
		}
		// It can be promoted in turn.
		if o := p.promote(p.east); !o.Secret.IsDetached() || o.Replayed {
			t.Errorf("%+v", o.Secret)
		}
		if r := deliver(t, p.west, p.east, key); !secret.HasCode(r.Err, secret.CodeDetached) {
			t.Errorf("%+v", r)
		}
	})
}

func TestWhoInsistsOnATargetThatHasPromoted(t *testing.T) {
	p, key := promoted(t)
	p.tell(key)
	_, err := p.putIn(p.west, "db", "of west")
	must(t, err)
	insist := func(force bool) {
		t.Helper()
		_, err := p.east.ReplicateSecret(p.east.ctx(), service.SecretReplication{
			SecretRef: ref("db"), Targets: []secret.Target{{Region: "west", ForceOverwrite: force}},
		})
		must(t, err)
	}
	insist(false)
	if p.refused(key) {
		t.Error("a target that was asked for anew is dropped without a word")
	}
	p.wantInWest("db", "of west")
	_, err = p.east.ReplicateSecret(p.east.ctx(), service.SecretReplication{SecretRef: ref("db")})
	must(t, err)
	if !p.refused(key) {
		t.Error("a target that was taken back goes on to be told")
	}
	insist(true)
	p.west.clear()
	if r := deliver(t, p.east, p.west, key); r.Err != nil {
		t.Fatal(r.Err)
	}
	p.wantInWest("db", "value")
	found := p.west.conflicts()
	if len(found) != 1 || len(found[0].GetVersions()) != 1 || found[0].GetRecord() != string(key) {
		t.Fatalf("what was overwritten is kept as %v", found)
	}
	p.put("db", "of east")
	p.send(key)
	p.wantInWest("db", "of east")
	// What it has now can be promoted again, and then it is a target no more.
	p.promote(p.west)
	p.tell(key)
	if sec := p.wantPromotedIn(key, "west"); len(sec.Targets) > 0 {
		t.Errorf("its targets are %v", sec.Targets)
	}
}

func TestTakeoversLeaveWhatWasPromotedAlone(t *testing.T) {
	p, key := promoted(t)
	before := p.west.secretOf(key).Ownership.Order
	p.takeOver()
	must(t, p.west.InheritAll(t.Context(), "east"))
	if at := p.west.secretOf(key).Ownership.Order; at != before {
		t.Errorf("a takeover of its former home moves it from %s to %s", before, at)
	}
	// Its home, which was lost, goes on to be that of its own secret when it is back.
	must(t, p.east.Supersede(t.Context(), "west", true, nil))
	p.bringBackBut(key)
	must(t, p.east.Supersede(t.Context(), "west", false, nil))
	if r := p.tell(key); r.Err != nil {
		t.Fatal(r.Err)
	}
	p.wantPromotedIn(key, "west")
	if len(p.east.conflicts())+len(p.west.conflicts()) > 0 {
		t.Error("there are conflicts")
	}
	_, err := p.putIn(p.east, "db", "of east")
	must(t, err)
	_, err = p.putIn(p.west, "db", "of west")
	must(t, err)
	// A planned move of the vault back leaves the two where they are.
	must(t, p.west.HandOver(t.Context(), key, "east"))
	if home := p.west.secretOf(key).Ownership.Home; home != "west" {
		t.Errorf("it moved to %s", home)
	}
}

// bringBackBut is bringBack without one secret, which is not meant for east.
func (p *pair) bringBackBut(key record.Key) {
	p.t.Helper()
	if sec := p.west.secretOf(key); sec.MeantFor("west", p.west.vaultOf(p.vault.ID).Replication, "east") {
		p.t.Error("what was promoted is meant for east")
	}
	p.west.clear()
	r := deliver(p.t, p.west, p.east, record.VaultKey(p.vault.ID))
	must(p.t, r.Err)
}

func TestAHomeThatMovesToARegionWhichPromotesStays(t *testing.T) {
	p := startPair(t)
	key := record.SecretKey(p.east.create(service.NewSecret{Name: "db"}).Secret.ID)
	p.send(key)
	must(t, p.east.HandOver(t.Context(), key, "west"))
	p.promote(p.west)
	if !p.refused(key) {
		t.Fatal("east has more to tell")
	}
	sec := p.wantPromotedIn(key, "west")
	if sec.Ownership.Home != "east" || sec.Ownership.Check() != nil {
		t.Errorf("its home is %+v", sec.Ownership)
	}
	p.put("db", "of east")
	// The move goes on without it.
	must(t, p.east.HandOver(t.Context(), key, "west"))
	if home := p.east.secretOf(key).Ownership.Home; home != "east" {
		t.Errorf("it moved to %s", home)
	}
}

// A former home does not promote what has not arrived at the new one: nobody else would
// hear of that.
func TestWhatIsOnItsWayToItsNewHomeIsNotPromoted(t *testing.T) {
	p := startPair(t)
	id := p.east.create(service.NewSecret{Name: "db"}).Secret.ID
	key := record.SecretKey(id)
	p.send(key)
	must(t, p.east.HandOver(t.Context(), key, "west"))
	promote := func() error {
		_, err := p.east.PromoteSecret(p.east.ctx(), service.Promotion{SecretRef: service.SecretRef{Vault: "v", Secret: "db"}})
		return err
	}
	if err := promote(); !secret.HasCode(err, secret.CodeWrongState) {
		t.Errorf("before it has arrived: %v", err)
	}
	p.send(key)
	must(t, promote())
}
