package service

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const (
	collectorName                     = "lifeboat-collector"
	actionCollectDeleted authz.Action = "CollectDeleted"
	// maxGraves bounds those that one round looks at more closely, of each region.
	maxGraves = 10_000
	// collectedAtOnce bounds those that one transaction deletes.
	collectedAtOnce = 40
)

// Grave is what is left of a deleted record, or of a copy that was given up: a
// tombstone, or a secret that is purged.
type Grave struct {
	secret.Grave
	// Record is the key of the record.
	Record record.Key
	// stored is the key of what is left, revision that of the store at which it was
	// written.
	stored   record.Key
	revision int64
	account  secret.AccountID
}

// Graves are those of a region at one moment.
type Graves struct {
	At secret.Moment
	// Forgotten is the time before which a deletion is in every backup that can be
	// expected to be restored.
	Forgotten time.Time
	// Ready are those whose home this region is and that wait for nothing but their
	// holders; Replicas are all others, by home. Both are bounded.
	Ready    []Grave
	Replicas map[secret.RegionName][]Grave
	// Resting counts those whose home this region is by what they wait for, Copies
	// the others.
	Resting map[secret.Resting]int
	Copies  int

	seen map[secret.RegionName]int
}

// Graves looks for what is left of deleted records.
func (s *Service) Graves() (*Graves, error) {
	g := &Graves{Replicas: make(map[secret.RegionName][]Grave), Resting: make(map[secret.Resting]int), seen: make(map[secret.RegionName]int)}
	err := s.Local.View(func(view record.View) (err error) {
		if g.At, err = momentOf(view); err != nil {
			return err
		}
		if g.Forgotten, err = s.forgottenBefore(view); err != nil {
			return err
		}
		around, err := surroundingsOf(view)
		if err != nil {
			return err
		}
		var addErr error
		add := func(grave Grave) bool {
			addErr = g.add(view, s.Region, around, grave)
			return addErr == nil
		}
		err = view.Scan(record.TombstonePrefix, record.PrefixEnd(record.TombstonePrefix), func(stored record.Stored) bool {
			t, err := record.Tombstones.Decode(stored.Value)
			if addErr = err; err != nil {
				return false
			}
			return add(Grave{
				Record: record.Key(t.Record), stored: stored.Key, revision: stored.Revision, account: t.Account,
				Grave: secret.Grave{Ownership: t.Ownership, DeletedAt: t.DeletedAt, Holders: around.holdersOf(record.Key(t.Record), t.Account, t.Holders)},
			})
		})
		if err = errors.Join(err, addErr); err != nil {
			return err
		}
		err = view.Scan(record.SecretPrefix, record.PrefixEnd(record.SecretPrefix), func(stored record.Stored) bool {
			sec, err := record.Secrets.Decode(stored.Value)
			if err != nil || sec.State != secret.Deleted {
				return true // hosts report what cannot be decoded on their own
			}
			return add(Grave{
				Record: stored.Key, stored: stored.Key, revision: stored.Revision, account: sec.Account,
				Grave: secret.Grave{Ownership: sec.Ownership, DeletedAt: sec.UpdatedAt, Holders: around.holdersOf(stored.Key, sec.Account, nil)},
			})
		})
		return errors.Join(err, addErr)
	})
	return g, err
}

// add takes up one grave.
func (g *Graves) add(view record.View, region secret.RegionName, around *surroundings, grave Grave) error {
	home := grave.Ownership.Home
	if home != region {
		g.Copies++
		if slices.Contains(around.forgottenLives, string(grave.Ownership.Incarnation)) {
			return nil // nobody is left who knows whether it can come back
		}
		g.seen[home]++
		g.Replicas[home] = draw(g.Replicas[home], grave, g.seen[home])
		return nil
	}
	if err := around.describe(view, &grave); err != nil {
		return err
	}
	resting := grave.Rest(g.Forgotten)
	g.Resting[resting]++
	if resting == secret.ForNothing {
		g.Ready = draw(g.Ready, grave, g.Resting[resting])
	}
	return nil
}

// draw takes up the nth grave. If there are more than are looked at, chance decides
// which, so that those that have to wait do not keep the others from being looked at.
func draw(drawn []Grave, grave Grave, n int) []Grave {
	if len(drawn) < maxGraves {
		return append(drawn, grave)
	}
	if i := rand.IntN(n); i < maxGraves { //nolint:gosec // need not be hard to guess
		drawn[i] = grave
	}
	return drawn
}

// forgottenBefore returns the time before which a deletion is in every backup that
// can be expected to be restored; the zero time for a day after a restore.
func (s *Service) forgottenBefore(view record.View) (time.Time, error) {
	now := s.Now()
	if held, err := purgeHeld(view, now); held || err != nil {
		return time.Time{}, err
	}
	before := now.Add(-s.Keys.BackupsKeptFor)
	err := scanAll(view, record.Backups, record.BackupPrefix, func(b *recordpb.Backup) bool {
		if made := record.FromNanos(b.GetCreatedAt()); now.Before(s.keptUntil(b)) && made.Before(before) {
			before = made
		}
		return true
	})
	return before, err
}

// surroundings are what a view holds of vaults and of what is on its way to other
// regions.
type surroundings struct {
	vaults   map[secret.VaultID][]secret.RegionName
	accounts map[secret.AccountID][]secret.RegionName
	// forgotten are regions of which no life is accepted any more, and forgottenLives
	// those of them and of others.
	forgotten      []secret.RegionName
	forgottenLives []string
	// targets have messages; resynchronising is everything of some regions.
	targets         []secret.RegionName
	resynchronising map[secret.RegionName]bool
	// synchronised are the vaults, and the accounts of those, of which something is
	// under way; all is set if that is not known of one.
	synchronised map[string]bool
	all          bool
}

func surroundingsOf(view record.View) (*surroundings, error) {
	a := &surroundings{
		vaults: make(map[secret.VaultID][]secret.RegionName), accounts: make(map[secret.AccountID][]secret.RegionName),
		resynchronising: make(map[secret.RegionName]bool), synchronised: make(map[string]bool),
	}
	if err := a.bury(view); err != nil {
		return nil, err
	}
	owners := make(map[secret.VaultID]secret.AccountID)
	err := scanAll(view, record.Vaults, record.VaultPrefix, func(v *secret.Vault) bool {
		owners[v.ID], a.vaults[v.ID] = v.Account, v.Replication.Holders()
		a.accounts[v.Account] = union(a.accounts[v.Account], a.vaults[v.ID])
		return true
	})
	if err != nil {
		return nil, err
	}
	// A vault that is deleted is held by those that held it until they heard of it.
	err = view.Scan(record.TombstonePrefix+record.VaultPrefix, record.PrefixEnd(record.TombstonePrefix+record.VaultPrefix), func(stored record.Stored) bool {
		if t, err := record.Tombstones.Decode(stored.Value); err == nil {
			a.vaults[secret.VaultID(t.Record[len(record.VaultPrefix):])] = t.Holders
			a.accounts[t.Account] = union(a.accounts[t.Account], t.Holders)
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	err = scanAll(view, record.Synchronisations, record.SynchronisationPrefix, func(sync *recordpb.Synchronisation) bool {
		if slices.Contains(a.forgotten, secret.RegionName(sync.GetTarget())) {
			return true
		}
		account, ok := owners[secret.VaultID(sync.GetVault())]
		a.synchronised[sync.GetVault()], a.synchronised[string(account)], a.all = true, true, a.all || !ok
		return true
	})
	if err != nil {
		return nil, err
	}
	err = scanAll(view, record.Resynchronisations, record.ResynchronisationPrefix, func(r *recordpb.Resynchronisation) bool {
		a.resynchronising[secret.RegionName(r.GetTarget())] = !r.GetForgotten()
		return true
	})
	if err != nil {
		return nil, err
	}
	a.targets, err = targetsWithMessages(view)
	a.targets = slices.DeleteFunc(a.targets, func(r secret.RegionName) bool { return slices.Contains(a.forgotten, r) })
	return a, err
}

// bury takes note of the regions that were forgotten.
func (a *surroundings) bury(view record.View) error {
	return scanAll(view, record.Peers, record.PeerPrefix, func(p *recordpb.Peer) bool {
		if p.GetForgottenAt() != 0 {
			a.forgotten = append(a.forgotten, secret.RegionName(p.GetRegion()))
		}
		a.forgottenLives = append(a.forgottenLives, p.GetForgotten()...)
		return true
	})
}

// targetsWithMessages finds each by one step, however many messages it has.
func targetsWithMessages(view record.View) (targets []secret.RegionName, err error) {
	for start := record.Key(record.MessagePrefix); ; {
		var target secret.RegionName
		err := view.Scan(start, record.PrefixEnd(record.MessagePrefix), func(stored record.Stored) bool {
			target, _, _ = record.MessageOf(stored.Key)
			return false
		})
		if err != nil || target == "" {
			return targets, err
		}
		targets = append(targets, target)
		start = record.PrefixEnd(record.MessagePrefix + string(target) + "/")
	}
}

func union(a, b []secret.RegionName) []secret.RegionName {
	for _, region := range b {
		if !slices.Contains(a, region) {
			a = append(a, region)
		}
	}
	return a
}

// holdersOf returns the regions that may hold a copy of a record, and are not forgotten;
// own are those that its tombstone names.
func (a *surroundings) holdersOf(key record.Key, account secret.AccountID, own []secret.RegionName) []secret.RegionName {
	holders := a.namedHolders(key, account, own)
	if len(a.forgotten) == 0 {
		return holders
	}
	return slices.DeleteFunc(slices.Clone(holders), func(r secret.RegionName) bool { return slices.Contains(a.forgotten, r) })
}

func (a *surroundings) namedHolders(key record.Key, account secret.AccountID, own []secret.RegionName) []secret.RegionName {
	if id := record.SecretIDOf(key); id != "" {
		return a.vaults[id.Vault()]
	}
	if key.HasPrefix(record.VaultPrefix) {
		return own
	}
	return a.accounts[account]
}

// describe fills in what the rule of collection needs to know.
func (a *surroundings) describe(view record.View, g *Grave) (err error) {
	kind, rest, _ := strings.Cut(string(g.Record), "/")
	scope, _, _ := strings.Cut(rest, "/")
	switch kind + "/" {
	case record.VaultPrefix:
		// The records of its secrets name it as what says who held them.
		if g.Occupied, err = anyUnder(view, record.SecretPrefix+scope+"/"); err != nil {
			return err
		}
	case record.SecretPrefix, record.PrincipalPrefix, record.CredentialPrefix, record.BindingPrefix:
	default:
		g.Named = true
	}
	if _, g.Open, err = view.Get(record.WorkKey(g.Record)); err != nil {
		return err
	}
	g.Waiting, err = a.waits(view, g, scope)
	return err
}

// waits reports whether anything of a record is on its way, or may be.
func (a *surroundings) waits(view record.View, g *Grave, scope string) (bool, error) {
	if a.all || a.synchronised[scope] || a.synchronised[string(g.account)] {
		return true, nil
	}
	if slices.ContainsFunc(g.Holders, func(holder secret.RegionName) bool { return a.resynchronising[holder] }) {
		return true, nil
	}
	for _, target := range a.targets {
		if _, waiting, err := view.Get(record.MessageKey(target, g.Record)); waiting || err != nil {
			return true, err
		}
	}
	return false, nil
}

// CollectDeleted forgets deleted records whose home this region is, once holders have
// confirmed, and answers how many. One that has changed since Graves saw it stays.
// It is no mutation: callers and other regions see no difference.
func (s *Service) CollectDeleted(ctx context.Context, graves []Grave) (int, error) {
	return s.dig(ctx, graves, func(record.View, *record.Txn) error { return nil })
}

// ForgetReplicas forgets what is left here of records of another region, which said
// at a moment that they may be forgotten: from then on nothing counts that it read
// before. Errors: as for RaiseHorizon.
func (s *Service) ForgetReplicas(ctx context.Context, home secret.RegionName, said secret.Moment, graves []Grave) (int, error) {
	return s.dig(ctx, graves, func(view record.View, txn *record.Txn) error {
		known, _, err := peerRecord(view, home)
		if err == nil && known == nil {
			err = secret.Errorf(secret.CodeUnavailable, "region %s was not met here yet", home)
		}
		if err == nil {
			_, err = raiseHorizon(view, txn, home, said)
		}
		return err
	})
}

// dig deletes what is left of records, if it is what Graves saw. with adds what must
// be done in the same transaction.
func (s *Service) dig(ctx context.Context, graves []Grave, with func(record.View, *record.Txn) error) (deleted int, err error) {
	for batch := range slices.Chunk(graves, collectedAtOnce) {
		n, err := s.digTogether(ctx, batch, with)
		if deleted += n; err != nil {
			return deleted, err
		}
	}
	return deleted, nil
}

func (s *Service) digTogether(ctx context.Context, graves []Grave, with func(record.View, *record.Txn) error) (deleted int, err error) {
	ctx, c, err := s.systemCall(ctx, actionCollectDeleted, collectorName)
	if err != nil {
		return 0, c.end(err)
	}
	c.entry.Resource.Kind, c.entry.Resource.ID = "Record", string(graves[0].Record)
	if n := len(graves); n > 1 {
		c.entry.Resource.Name = fmt.Sprintf("and %d others", n-1)
	}
	revision, err := s.commit(ctx, func(view record.View) (*record.Txn, error) {
		deleted = 0
		txn, _, err := newTxn(view)
		if err != nil {
			return nil, err
		}
		for _, g := range graves {
			stored, ok, err := view.Get(g.stored)
			if err != nil {
				return nil, err
			}
			_, open, err := view.Get(record.WorkKey(g.Record))
			if err != nil {
				return nil, err
			}
			if !ok || open || stored.Revision != g.revision {
				continue
			}
			txn.Require(g.stored, g.revision)
			txn.Require(record.WorkKey(g.Record), 0)
			txn.Delete(g.stored)
			deleted++
		}
		if deleted == 0 {
			return nil, nil
		}
		return txn, with(view, txn)
	})
	if revision == 0 {
		deleted = 0
	}
	c.entry.Committed = revision > 0
	return deleted, c.end(err)
}

// LiveOf returns those of some records that are live in a view, and when that was so.
func (s *Service) LiveOf(view record.View, keys []record.Key) (live []record.Key, at secret.Moment, err error) {
	if at, err = momentOf(view); err != nil {
		return nil, at, err
	}
	for _, key := range keys {
		held, alive, err := heldBy(view, key)
		if err != nil {
			return nil, at, err
		}
		if !secret.Confirms(held, alive) {
			live = append(live, key)
		}
	}
	return live, at, nil
}

// heldBy returns the ownership of a record that a view holds, nil if it has none, and
// whether it is live.
func heldBy(view record.View, key record.Key) (*secret.Ownership, bool, error) {
	stored, ok, err := view.Get(key)
	if !ok || err != nil {
		return nil, false, err
	}
	if key.HasPrefix(record.SecretPrefix) {
		sec, err := record.Secrets.Decode(stored.Value)
		if err != nil {
			return nil, false, err
		}
		// What was promoted is none of the deleted secret's copies.
		return &sec.Ownership, sec.State != secret.Deleted && !sec.IsDetached(), nil
	}
	owner, err := record.OwnerOf(key, stored.Value)
	return &owner.Ownership, true, err
}

// ForgottenOf returns those of some records whose home this region is and of which a
// peer may forget what is left there, and when that was so. Errors: CodeUnavailable
// if the region is fenced.
func (s *Service) ForgottenOf(view record.View, peer secret.RegionName, keys []record.Key) (forgotten []record.Key, at secret.Moment, err error) {
	if _, _, err := newTxn(view); err != nil { // whoever is fenced does not know
		return nil, at, err
	}
	if at, err = momentOf(view); err != nil {
		return nil, at, err
	}
	for _, key := range keys {
		here, meant, err := meantForPeer(view, key, peer)
		if err != nil {
			return nil, at, err
		}
		if secret.Forgettable(here, meant) {
			forgotten = append(forgotten, key)
		}
	}
	return forgotten, at, nil
}

// meantForPeer reports whether a view has anything of a record, and whether that is
// meant for a peer, as far as that can be said without looking at everything.
func meantForPeer(view record.View, key record.Key, peer secret.RegionName) (here, meant bool, err error) {
	if _, buried, err := view.Get(record.TombstoneKey(key)); buried || err != nil {
		return true, true, err
	}
	stored, ok, err := view.Get(key)
	if !ok || err != nil {
		return false, false, err
	}
	switch {
	case key.HasPrefix(record.SecretPrefix):
		sec, err := record.Secrets.Decode(stored.Value)
		if err != nil {
			return true, true, err
		}
		vault, _, err := record.Load(view, record.Vaults, record.VaultKey(sec.ID.Vault()))
		if errors.Is(err, record.ErrNotFound) {
			return true, true, nil
		}
		if err != nil {
			return true, true, err
		}
		return true, sec.State == secret.Deleted || meantFor(vault, sec, peer), nil
	case key.HasPrefix(record.VaultPrefix):
		v, err := record.Vaults.Decode(stored.Value)
		return true, err != nil || v.HeldBy(peer), err
	}
	return true, true, nil
}
