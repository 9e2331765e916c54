package service_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// deliver brings a region the cleared state of a record of another one, with all
// that it asks for.
func deliver(t *testing.T, from, to *harness, key record.Key) service.Receipt {
	t.Helper()
	from.clear()
	var values []secret.VersionID
	for range 4 {
		s, err := from.Ship(t.Context(), from.shard.snapshot(), key, 0, values)
		must(t, err)
		r := to.Receive(t.Context(), service.Source{Region: from.Region}, s)
		if len(r.Needs) == 0 {
			return r
		}
		for _, v := range s.Values {
			values = append(values, v.ID)
		}
		values = append(values, r.Needs...)
	}
	t.Fatalf("%s: %s asks for more each time", key, to.Region)
	return service.Receipt{}
}

func (p *pair) takeOver() {
	p.t.Helper()
	must(p.t, p.west.TakeOver(p.t.Context(), "east", false))
}

func (p *pair) putIn(h *harness, name, value string) (service.Outcome, error) {
	return h.PutSecretVersion(h.as(p.east.token), service.NewValue{
		SecretRef: service.SecretRef{Vault: "v", Secret: name}, Value: secret.NewPlaintext([]byte(value)),
	})
}

func (h *harness) conflicts() (all []*recordpb.Conflict) {
	h.t.Helper()
	must(h.t, h.shard.snapshot().Scan(record.ConflictPrefix, record.PrefixEnd(record.ConflictPrefix), func(s record.Stored) bool {
		c, err := record.Conflicts.Decode(s.Value)
		must(h.t, err)
		all = append(all, c)
		return true
	}))
	return all
}

func (h *harness) secretOf(key record.Key) *secret.Secret {
	h.t.Helper()
	sec, _, err := record.Load(h.shard.snapshot(), record.Secrets, key)
	must(h.t, err)
	return sec
}

func (h *harness) vaultOf(id secret.VaultID) *secret.Vault {
	h.t.Helper()
	v, _, err := record.Load(h.shard.snapshot(), record.Vaults, record.VaultKey(id))
	must(h.t, err)
	return v
}

func TestTakeoverMakesReplicasWritable(t *testing.T) {
	p := startPair(t)
	key := record.SecretKey(p.east.create(service.NewSecret{Name: "db"}).Secret.ID)
	p.send(key)
	if _, err := p.putIn(p.west, "db", "early"); !secret.HasCode(err, secret.CodeNotHome) {
		t.Fatalf("a replica before the takeover: %v", err)
	}
	p.takeOver()
	o, err := p.putIn(p.west, "db", "from west")
	must(t, err)
	if own := o.Secret.Ownership; own.Home != "west" || own.Order.String() != "3:west:3" || len(own.Lineage) != 1 || own.Lineage[0].Began.String() != "1:east:1" {
		t.Errorf("the first write in west made %+v", own)
	}
	// Everything else that the vault's account has is writable too.
	must(t, p.west.DeletePolicy(p.west.as(p.east.token), "", "admin"))
	if _, err := p.west.CreateSecret(p.west.as(p.east.token), service.NewSecret{Vault: "v", Name: "new", Value: secret.NewPlaintext([]byte("x"))}); !secret.HasCode(err, secret.CodeDenied) {
		t.Errorf("without its policy the admin creates: %v", err)
	}
	if err := p.west.TakeOver(t.Context(), "east", false); !secret.HasCode(err, secret.CodeExists) {
		t.Errorf("a second takeover: %v", err)
	}
}

func TestWhatTheLostRegionSendsLateIsRefused(t *testing.T) {
	p := startPair(t)
	key := record.SecretKey(p.east.create(service.NewSecret{Name: "db"}).Secret.ID)
	p.send(key)
	p.put("db", "never arrived")
	late := p.ship(key)
	other := record.SecretKey(p.east.create(service.NewSecret{Name: "other"}).Secret.ID)
	unknown := p.ship(other)
	p.takeOver()
	if r := p.receive(late); !secret.HasCode(r.Err, secret.CodeStale) {
		t.Errorf("of an untouched record: %+v", r)
	}
	if r := p.receive(unknown); !secret.HasCode(r.Err, secret.CodeUnavailable) {
		t.Errorf("of a record that west never held, during the takeover: %+v", r)
	}
	must(t, p.west.InheritAll(t.Context(), "east"))
	if r := p.receive(late); !secret.HasCode(r.Err, secret.CodeStale) {
		t.Errorf("of a moved record: %+v", r)
	}
	p.wantInWest("db", "value")
	if r := p.receive(unknown); r.Err != nil {
		t.Errorf("of a record that west never held, after the takeover: %+v", r)
	}
	p.wantInWest("other", "value")
	if home := p.west.secretOf(other).Ownership.Home; home != "east" {
		t.Errorf("the home of what west never held is %s", home)
	}
}

func TestInheritAllMovesEverything(t *testing.T) {
	p := startPair(t)
	var keys []record.Key
	for _, name := range []string{"a", "b", "c"} {
		key := record.SecretKey(p.east.create(service.NewSecret{Name: name}).Secret.ID)
		p.send(key)
		keys = append(keys, key)
	}
	must(t, p.west.InheritAll(t.Context(), "east")) // nothing was taken over
	p.takeOver()
	must(t, p.west.InheritAll(t.Context(), "east"))
	must(t, p.west.InheritAll(t.Context(), "east"))
	for _, key := range keys {
		if own := p.west.secretOf(key).Ownership; own.Home != "west" || own.Order.Seq != 2 {
			t.Errorf("%s: %+v", key, own)
		}
	}
	v := p.west.vaultOf(p.vault.ID)
	if v.Ownership.Home != "west" || len(v.Replication.Targets) != 1 || v.Replication.Targets[0].Region != "east" {
		t.Errorf("the vault is %+v", v)
	}
	must(t, p.west.shard.snapshot().Scan("", "", func(s record.Stored) bool {
		if owner, err := record.OwnerOf(s.Key, s.Value); err == nil && owner.Ownership.Home == "east" {
			t.Errorf("%s has its home in east", s.Key)
		}
		return true
	}))
	takeover, _, err := record.Load(p.west.shard.snapshot(), record.Takeovers, record.TakeoverKey("east"))
	must(t, err)
	fence, _, err := record.Load(p.west.shard.snapshot(), record.Fences, record.FenceKey)
	must(t, err)
	if takeover.GetMovedAt() == 0 || len(fence.GetTakenOver()) > 0 {
		t.Errorf("the takeover is %+v, the fence %+v", takeover, fence)
	}
	for region, compared := range map[secret.RegionName]bool{"south": true, "east": false, "west": false} {
		_, _, err := record.Load(p.west.shard.snapshot(), record.Resynchronisations, record.ResynchronisationKey(region))
		if marked := !errors.Is(err, record.ErrNotFound); marked != compared {
			t.Errorf("%s is to be compared: %t", region, marked)
		}
	}
}

// bringBack has east receive everything that west has, as it does when it returns.
func (p *pair) bringBack() {
	p.t.Helper()
	p.west.clear()
	for _, prefix := range []string{record.AccountPrefix, record.PrincipalPrefix, record.CredentialPrefix, record.PolicyPrefix, record.VaultPrefix, record.SecretPrefix} {
		must(p.t, p.west.shard.snapshot().Scan(record.Key(prefix), record.PrefixEnd(prefix), func(s record.Stored) bool {
			owner, err := record.OwnerOf(s.Key, s.Value)
			must(p.t, err)
			if owner.Account != secret.SystemAccount && owner.Ownership.Home == "west" {
				if r := deliver(p.t, p.west, p.east, s.Key); r.Err != nil {
					p.t.Fatalf("%s: %+v", s.Key, r)
				}
			}
			return true
		}))
	}
}

func TestReturnKeepsWhatLiesPastTheForkAsConflicts(t *testing.T) {
	p := startPair(t)
	forked := record.SecretKey(p.east.create(service.NewSecret{Name: "forked"}).Secret.ID)
	untouched := record.SecretKey(p.east.create(service.NewSecret{Name: "untouched"}).Secret.ID)
	p.send(forked)
	p.send(untouched)
	p.put("forked", "lost in east")
	p.put("forked", "lost too")
	p.takeOver()
	_, err := p.putIn(p.west, "forked", "kept in west")
	must(t, err)
	must(t, p.west.InheritAll(t.Context(), "east"))
	p.bringBack()
	p.bringBack()
	for _, name := range []string{"forked", "untouched"} {
		want := map[string]string{"forked": "kept in west", "untouched": "value"}[name]
		v, err := p.east.GetSecretValue(p.east.ctx(), service.ValueRef{SecretRef: service.SecretRef{Vault: "v", Secret: name}})
		if err != nil || string(v.Plaintext.Reveal()) != want {
			t.Errorf("east has %q, %v for %s", v.Plaintext.Reveal(), err, name)
		}
	}
	all := p.east.conflicts()
	if len(all) != 1 || all[0].GetRecord() != string(forked) || len(all[0].GetVersions()) != 2 || all[0].GetName() != "forked" || all[0].GetFrom() != "west" {
		t.Fatalf("conflicts: %+v", all)
	}
	for _, version := range all[0].GetVersions() {
		if _, ok, _ := p.east.shard.snapshot().Get(record.ConflictVersionKey(all[0].GetId(), secret.VersionID(version))); !ok {
			t.Errorf("the value of version %s was not kept", version)
		}
	}
	if _, err := p.putIn(p.east, "forked", "x"); !secret.HasCode(err, secret.CodeNotHome) || !strings.Contains(err.Error(), "west") {
		t.Errorf("east, which is a replica now: %v", err)
	}
	if len(p.west.conflicts()) > 0 {
		t.Errorf("west has conflicts: %+v", p.west.conflicts())
	}
}

// triple is a vault of east that west and south hold too.
type triple struct {
	*pair
	south *harness
}

func startTriple(t *testing.T) *triple {
	t.Helper()
	south, operator := startEmpty(t, "south")
	south.token = operator
	p := &triple{pair: startPair(t), south: south}
	p.replicate(secret.Target{Region: "west"}, secret.Target{Region: "south"})
	p.sendIdentities()
	p.sendAll(p.east, south)
	return p
}

// sendAll sends everything that from may send.
func (p *triple) sendAll(from, to *harness) (refused map[record.Key]error) {
	p.t.Helper()
	from.clear()
	refused = map[record.Key]error{}
	for range 2 {
		for _, prefix := range []string{record.AccountPrefix, record.PrincipalPrefix, record.CredentialPrefix, record.PolicyPrefix, record.VaultPrefix, record.SecretPrefix} {
			must(p.t, from.shard.snapshot().Scan(record.Key(prefix), record.PrefixEnd(prefix), func(s record.Stored) bool {
				owner, err := record.OwnerOf(s.Key, s.Value)
				must(p.t, err)
				if owner.Account == secret.SystemAccount || !owner.Ownership.MaySend(from.Region) {
					return true
				}
				delete(refused, s.Key)
				if r := deliver(p.t, from, to, s.Key); r.Err != nil {
					refused[s.Key] = r.Err
				}
				return true
			}))
		}
	}
	return refused
}

func TestTwoSurvivorsTakeOverAtOnce(t *testing.T) {
	p := startTriple(t)
	both := record.SecretKey(p.east.create(service.NewSecret{Name: "both"}).Secret.ID)
	quiet := record.SecretKey(p.east.create(service.NewSecret{Name: "quiet"}).Secret.ID)
	for _, key := range []record.Key{both, quiet} {
		p.send(key)
		if r := deliver(t, p.east, p.south, key); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	must(t, p.west.TakeOver(t.Context(), "east", false))
	must(t, p.south.TakeOver(t.Context(), "east", false))
	_, err := p.putIn(p.west, "both", "of west")
	must(t, err)
	_, err = p.putIn(p.south, "both", "of south")
	must(t, err)
	_, err = p.putIn(p.south, "both", "of south again")
	must(t, err)
	must(t, p.west.InheritAll(t.Context(), "east"))
	must(t, p.south.InheritAll(t.Context(), "east"))
	// They meet, in either order: west sorts after south, so its epoch is the later one.
	for key, err := range p.sendAll(p.south, p.west) {
		if !secret.HasCode(err, secret.CodeStale) {
			t.Errorf("south sends %s: %v", key, err)
		}
	}
	if refused := p.sendAll(p.west, p.south); len(refused) > 0 {
		t.Errorf("west is refused: %v", refused)
	}
	for _, h := range []*harness{p.west, p.south} {
		for _, key := range []record.Key{both, quiet} {
			if home := h.secretOf(key).Ownership.Home; home != "west" {
				t.Errorf("in %s the home of %s is %s", h.Region, key, home)
			}
		}
		if home := h.vaultOf(p.vault.ID).Ownership.Home; home != "west" {
			t.Errorf("in %s the vault's home is %s", h.Region, home)
		}
	}
	all := p.south.conflicts()
	if len(all) != 1 || all[0].GetRecord() != string(both) || len(all[0].GetVersions()) != 2 {
		t.Errorf("south's writes are %+v", all)
	}
	if _, err := p.putIn(p.south, "both", "x"); !secret.HasCode(err, secret.CodeNotHome) {
		t.Errorf("the loser accepts writes: %v", err)
	}
	if refused := p.sendAll(p.west, p.east); len(refused) > 0 {
		t.Errorf("east refuses %v", refused)
	}
	if home := p.east.secretOf(both).Ownership.Home; home != "west" {
		t.Errorf("in east the home is %s", home)
	}
}

// puller asks other regions directly.
type puller struct {
	t    *testing.T
	heir *harness
	from []*harness
}

func (p puller) Pull(ctx context.Context, lost secret.RegionName, keys []record.Key) {
	for _, survivor := range p.from {
		survivor.clear()
		for _, key := range keys {
			s, err := survivor.ShipReplica(ctx, survivor.shard.snapshot(), key, lost, p.heir.Region, nil)
			if err != nil {
				continue
			}
			r := p.heir.Receive(ctx, service.Source{Region: survivor.Region, Survivor: true}, s)
			if len(r.Needs) > 0 {
				s, err = survivor.ShipReplica(ctx, survivor.shard.snapshot(), key, lost, p.heir.Region, r.Needs)
				must(p.t, err)
				r = p.heir.Receive(ctx, service.Source{Region: survivor.Region, Survivor: true}, s)
			}
			if r.Err != nil && !secret.HasCode(r.Err, secret.CodeStale) {
				p.t.Errorf("%s of %s: %v", key, survivor.Region, r.Err)
			}
		}
	}
}

func (p puller) Compare(context.Context, secret.RegionName, secret.VaultID, func([]record.Key) error) error {
	return nil
}

func TestTheHeirGoesOnFromTheNewestSurvivor(t *testing.T) {
	p := startTriple(t)
	var keys []record.Key
	for _, name := range []string{"written", "swept"} {
		key := record.SecretKey(p.east.create(service.NewSecret{Name: name}).Secret.ID)
		p.send(key)
		p.put(name, "reached south alone")
		if r := deliver(t, p.east, p.south, key); r.Err != nil {
			t.Fatal(r.Err)
		}
		keys = append(keys, key)
	}
	p.west.Survivors = puller{t, p.west, []*harness{p.south}}
	p.takeOver()
	_, err := p.putIn(p.west, "written", "of west")
	must(t, err)
	if n := len(p.west.secretOf(keys[0]).Versions); n != 3 {
		t.Errorf("the heir wrote after %d versions", n-1)
	}
	must(t, p.west.InheritAll(t.Context(), "east"))
	p.wantInWest("swept", "reached south alone")
	if refused := p.sendAll(p.west, p.south); len(refused) > 0 || len(p.south.conflicts()) > 0 {
		t.Errorf("south refuses %v and keeps %v", refused, p.south.conflicts())
	}
}

func TestMoveHandsOver(t *testing.T) {
	p := startPair(t)
	key := record.SecretKey(p.east.create(service.NewSecret{Name: "db"}).Secret.ID)
	p.send(key)
	must(t, p.east.HandOver(t.Context(), record.VaultKey(p.vault.ID), "west"))
	must(t, p.east.HandOver(t.Context(), key, "west"))
	if _, err := p.putIn(p.east, "db", "x"); !secret.HasCode(err, secret.CodeNotHome) || !strings.Contains(err.Error(), "west") {
		t.Errorf("the former home: %v", err)
	}
	if _, err := p.putIn(p.west, "db", "x"); !secret.HasCode(err, secret.CodeNotHome) {
		t.Errorf("the new home, before it knows: %v", err)
	}
	p.send(record.VaultKey(p.vault.ID))
	p.send(key)
	o, err := p.putIn(p.west, "db", "after the move")
	must(t, err)
	if o.Secret.Ownership.Order.String() != "2:east:3" {
		t.Errorf("the move and a write made order %s", o.Secret.Ownership.Order)
	}
	if r := deliver(t, p.west, p.east, key); r.Err != nil {
		t.Fatal(r.Err)
	}
	if r := deliver(t, p.west, p.east, record.VaultKey(p.vault.ID)); r.Err != nil {
		t.Fatal(r.Err)
	}
	if len(p.east.conflicts())+len(p.west.conflicts()) > 0 {
		t.Error("a planned move made conflicts")
	}
	_, err = p.west.CreateSecret(p.west.as(p.east.token), service.NewSecret{Vault: "v", Name: "new", Value: secret.NewPlaintext([]byte("x"))})
	must(t, err)
}

func TestARegionThatIsAHomeStaysATarget(t *testing.T) {
	p := startPair(t)
	key := record.SecretKey(p.east.create(service.NewSecret{Name: "db"}).Secret.ID)
	p.send(key)
	must(t, p.east.HandOver(t.Context(), key, "west"))
	none := []secret.Target{}
	_, err := p.east.ReplicateVault(p.east.ctx(), service.VaultReplication{Vault: "v", Targets: &none})
	if !secret.HasCode(err, secret.CodeInvalid) || !strings.Contains(err.Error(), "home of 1 secrets") {
		t.Errorf("the home of a secret is taken off the targets: %v", err)
	}
}

func TestConflictsAreListedShownAndDiscarded(t *testing.T) {
	p := startPair(t)
	key := record.SecretKey(p.east.create(service.NewSecret{Name: "db"}).Secret.ID)
	p.send(key)
	p.put("db", "past the fork")
	p.takeOver()
	_, err := p.putIn(p.west, "db", "of west")
	must(t, err)
	must(t, p.west.InheritAll(t.Context(), "east"))
	p.bringBack()
	listed, err := p.east.ListConflicts(p.east.ctx(), "v", "")
	must(t, err)
	if len(listed) != 1 || listed[0].Values != nil {
		t.Fatalf("listed: %+v", listed)
	}
	id := listed[0].GetId()
	shown, err := p.east.GetConflict(p.east.ctx(), id)
	must(t, err)
	for _, version := range shown.GetVersions() {
		if value := shown.Values[secret.VersionID(version)]; string(value.Reveal()) != "past the fork" {
			t.Errorf("version %s has %q", version, value.Reveal())
		}
	}
	must(t, p.east.DiscardConflict(p.east.ctx(), id))
	if _, err := p.east.GetConflict(p.east.ctx(), id); !secret.HasCode(err, secret.CodeNotFound) {
		t.Errorf("a conflict that was discarded: %v", err)
	}
	must(t, p.east.shard.snapshot().Scan(record.ConflictVersionPrefix, record.PrefixEnd(record.ConflictVersionPrefix), func(s record.Stored) bool {
		t.Errorf("%s is left", s.Key)
		return true
	}))
}

// south takes the record over, while it is handed to west and from there to south: two
// histories that are both at their second move, in the same region.
func TestTwoMovesMeetATakeover(t *testing.T) {
	p := startTriple(t)
	key := record.SecretKey(p.east.create(service.NewSecret{Name: "db"}).Secret.ID)
	p.send(key)
	if r := deliver(t, p.east, p.south, key); r.Err != nil {
		t.Fatal(r.Err)
	}
	must(t, p.east.HandOver(t.Context(), key, "west"))
	p.send(key)
	_, err := p.putIn(p.west, "db", "of west")
	must(t, err)
	must(t, p.west.HandOver(t.Context(), key, "south"))
	must(t, p.south.TakeOver(t.Context(), "east", false))
	_, err = p.putIn(p.south, "db", "of south")
	must(t, err)
	taken := p.south.secretOf(key).Ownership
	if r := deliver(t, p.west, p.south, key); r.Err != nil {
		t.Fatal(r.Err)
	}
	_, err = p.putIn(p.south, "db", "after both")
	must(t, err)
	all := p.south.conflicts()
	if len(all) != 1 || len(all[0].GetVersions()) != 1 || all[0].GetOrder().GetEpoch().GetCounter() != taken.Order.Epoch.Counter {
		t.Errorf("what south wrote is in %+v", all)
	}
	if sec := p.south.secretOf(key); sec.Ownership.Home != "south" || len(sec.Versions) != 3 {
		t.Errorf("south has %+v", sec)
	}
	for _, h := range []*harness{p.east, p.west} {
		if r := deliver(t, p.south, h, key); r.Err != nil || len(h.conflicts()) > 0 {
			t.Errorf("in %s: %+v, conflicts %+v", h.Region, r, h.conflicts())
		}
	}
}

// Regions that are cut off from each other create policies of one name.
func TestPoliciesOfOneNameMeet(t *testing.T) {
	p := startPair(t)
	put := func(h *harness, text string) {
		t.Helper()
		_, err := h.PutPolicy(h.as(p.east.token), service.NewPolicy{Name: "new", Text: text})
		must(t, err)
	}
	put(p.east, `permit (principal, action, resource) when { false };`)
	p.takeOver()
	must(t, p.west.InheritAll(t.Context(), "east"))
	put(p.west, `permit (principal, action, resource) when { 1 == 2 };`)
	p.bringBack()
	all := p.east.conflicts()
	if len(all) != 1 || !strings.HasSuffix(all[0].GetRecord(), "/new") {
		t.Errorf("what east had is in %+v", all)
	}
}

// What was taken over stays where it is until the lost region has caught up: that would
// not hear of a move to a third one, and go on when it is told that all is over.
func TestWhatWasTakenOverWaitsForTheLostRegion(t *testing.T) {
	p := startTriple(t)
	key := record.SecretKey(p.east.create(service.NewSecret{Name: "db"}).Secret.ID)
	p.send(key)
	p.takeOver()
	must(t, p.west.InheritAll(t.Context(), "east"))
	if err := p.west.HandOver(t.Context(), key, "south"); !secret.HasCode(err, secret.CodeWrongState) {
		t.Errorf("the secret is handed on: %v", err)
	}
	if _, err := p.west.MoveVault(p.west.as(p.east.token), "v", "south"); !secret.HasCode(err, secret.CodeWrongState) {
		t.Errorf("a move of the vault is begun: %v", err)
	}
	own, err := p.west.CreateSecret(p.west.as(p.east.token), service.NewSecret{Vault: "v", Name: "new", Value: secret.NewPlaintext([]byte("x"))})
	must(t, err)
	must(t, p.west.HandOver(t.Context(), record.SecretKey(own.Secret.ID), "south")) // never was east's
	p.bringBack()
	must(t, p.west.EndTakeover(t.Context(), "east"))
	must(t, p.west.HandOver(t.Context(), key, "south"))
	if home := p.west.secretOf(key).Ownership.Home; home != "south" {
		t.Errorf("the home is %s", home)
	}
}
