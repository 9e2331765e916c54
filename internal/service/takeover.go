package service

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const (
	// takeoverName is as whom a takeover moves records.
	takeoverName                     = "lifeboat-takeover"
	actionInheritRecord authz.Action = "InheritRecord"
	// inheritPage is how many records are looked at together, and how many are moved
	// between two notes of how far it came.
	inheritPage = 256
	// inheritedAtOnce bounds the records that are moved side by side.
	inheritedAtOnce = 16
	// askSurvivorsFor bounds how long a record waits for what other regions hold of
	// it. What one that does not answer holds becomes a conflict there.
	askSurvivorsFor = 2 * time.Second
)

// Survivors are the other regions that hold replicas of one that was taken over.
type Survivors interface {
	// Pull has the states of records received that survivors hold newer than this region.
	// Nobody is asked about what a comparison has just shown to be no newer there. What
	// cannot be had within the context is left out.
	Pull(ctx context.Context, lost secret.RegionName, keys []record.Key)
	// Compare compares what this region holds of a lost one, or of one vault of it, with
	// each survivor that answers, and calls missing, one at a time, for records that only
	// the survivor holds although this region is meant to, and for what is deleted there.
	// Errors: those of missing and of this region's copy.
	Compare(ctx context.Context, lost secret.RegionName, only secret.VaultID, missing func([]record.Key) error) error
}

// TakeOver makes this region the home of everything whose home is the lost region
// and of which it holds a replica: by one write, whatever the number of records.
// From then on mutations of them are accepted here, each of which first moves its
// record to the next epoch; InheritAll moves the rest. It is called by Operate, which
// authorises and audits. Errors: CodeExists if it was taken over before.
func (s *Service) TakeOver(ctx context.Context, lost secret.RegionName, unfenced bool) error {
	key := record.TakeoverKey(lost)
	revision, err := s.commit(ctx, func(view record.View) (*record.Txn, error) {
		if err := s.MayTakeOver(view, lost); err != nil {
			return nil, err
		}
		txn, fence, err := s.changeFence(view)
		if err != nil {
			return nil, err
		}
		fence.TakenOver = append(fence.TakenOver, string(lost))
		txn.Put(record.FenceKey, record.Fences.Encode(fence))
		_, again, err := record.Load(view, record.Takeovers, key)
		if err != nil && !errors.Is(err, record.ErrNotFound) {
			return nil, err
		}
		txn.Require(key, again)
		txn.Put(key, record.Takeovers.Encode(&recordpb.Takeover{Region: string(lost), At: s.Now().UnixNano(), Unfenced: unfenced}))
		return txn, nil
	})
	if err == nil {
		s.cleared(ctx, "", revision)
	}
	return err
}

// MayTakeOver returns why a region cannot be taken over now, nil if it can, as TakeOver
// does.
func (s *Service) MayTakeOver(view record.View, lost secret.RegionName) error {
	if lost == s.Region {
		return secret.Invalid("region", "is this region")
	}
	before, _, err := record.Load(view, record.Takeovers, record.TakeoverKey(lost))
	switch {
	case err == nil && len(before.GetHeldUp()) > 0: // it was back
	case err == nil:
		return secret.Errorf(secret.CodeExists, "region %s was taken over before, and is not back", lost)
	case err != nil && !errors.Is(err, record.ErrNotFound):
		return err
	}
	_, _, err = newTxn(view)
	return err
}

// changeFence returns a transaction, and a fence record to be put in it.
func (s *Service) changeFence(view record.View) (*record.Txn, *recordpb.Fence, error) {
	txn, _, err := newTxn(view)
	if err != nil {
		return nil, nil, err
	}
	fence, _, err := record.Load(view, record.Fences, record.FenceKey)
	return txn, fence, err
}

// inherit moves the record that a plan was refused for here, if its home was taken
// over by this region. inherited says that the plan is to be made again.
func (s *Service) inherit(ctx context.Context, refused error) (inherited bool, err error) {
	e, ok := errors.AsType[*notHomeError](refused)
	if !ok {
		return false, nil
	}
	taken, err := hasTakenOver(s.Store.View(ctx), e.home, e.key)
	if err != nil || !taken {
		return false, err
	}
	s.pull(ctx, e.home, []record.Key{e.key})
	return true, s.inheritOne(ctx, e.home, e.key)
}

func (s *Service) pull(ctx context.Context, lost secret.RegionName, keys []record.Key) {
	if s.Survivors == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, askSurvivorsFor)
	defer cancel()
	s.Survivors.Pull(ctx, lost, keys)
}

// inheritOne moves a record of a region that was taken over here.
func (s *Service) inheritOne(ctx context.Context, lost secret.RegionName, key record.Key) error {
	ctx, c, err := s.systemCall(ctx, actionInheritRecord, takeoverName)
	if err != nil {
		return c.end(err)
	}
	c.entry.Resource.Kind, c.entry.Resource.ID = "Record", string(key)
	revision, err := s.commit(ctx, func(view record.View) (*record.Txn, error) {
		if taken, err := hasTakenOver(view, lost, key); err != nil || !taken {
			return nil, err
		}
		return c.planMove(view, key, lost, s.Region, secret.Ownership.TakenBy)
	})
	c.entry.Committed = revision > 0
	return c.end(err)
}

// inheritedPrefixes are the kinds of records that move, each after what it belongs to.
func inheritedPrefixes() []string {
	return []string{
		record.AccountPrefix, record.PrincipalPrefix, record.CredentialPrefix, record.PolicyPrefix, record.TrustPrefix,
		record.BindingPrefix, record.IssuerPrefix, record.IssuerKeysPrefix, record.VaultPrefix, record.SecretPrefix,
	}
}

// InheritAll moves what is left of the records of a region that was taken over here,
// from the bookmark on. One process should run it at a time, which saves work. When
// all have moved it takes the region off the fence. It returns at once if there is
// nothing to do. Errors: those of the stores; what could not be moved is tried again
// by the next call.
func (s *Service) InheritAll(ctx context.Context, lost secret.RegionName) error {
	return (&inheritance{service: s, lost: lost}).all(ctx)
}

func (i *inheritance) all(ctx context.Context) error {
	s := i.service
	takeover, _, err := record.Load(s.Store.View(ctx), record.Takeovers, i.key())
	if errors.Is(err, record.ErrNotFound) || err == nil && takeover.GetMovedAt() != 0 {
		return nil
	}
	if err != nil {
		return err
	}
	i.limit = rate.NewLimiter(rate.Limit(s.InheritPerSecond), inheritPage)
	if err := s.Local.View(i.known); err != nil {
		return err
	}
	if s.Survivors != nil {
		if err := s.Survivors.Compare(ctx, i.lost, i.drill, func(keys []record.Key) error { return i.moveSome(ctx, keys, "") }); err != nil {
			return err
		}
	}
	err = fromBookmark(i.prefixes(), takeover.GetBookmark(), func(start, end record.Key) error { return i.moveRange(ctx, start, end) })
	if err != nil {
		return err
	}
	return i.end(ctx)
}

// fromBookmark calls do for the range of each prefix in turn, beginning at a bookmark
// in one of them, or with all of the first if there is none. It ends at an error.
func fromBookmark(prefixes []string, bookmark string, do func(start, end record.Key) error) error {
	start := record.Key(bookmark)
	if at := slices.IndexFunc(prefixes, start.HasPrefix); at >= 0 {
		prefixes = prefixes[at:]
	}
	for _, prefix := range prefixes {
		if !start.HasPrefix(prefix) {
			start = record.Key(prefix)
		}
		if err := do(start, record.PrefixEnd(prefix)); err != nil {
			return err
		}
	}
	return nil
}

// inheritance is what InheritAll does for one region, or for one vault of it in a
// drill.
type inheritance struct {
	service *Service
	lost    secret.RegionName
	drill   secret.VaultID
	limit   *rate.Limiter
}

// key is that of the takeover.
func (i *inheritance) key() record.Key {
	if i.drill != "" {
		return record.DrillTakeoverKey(i.lost, i.drill)
	}
	return record.TakeoverKey(i.lost)
}

// prefixes are those of inheritedPrefixes that are meant.
func (i *inheritance) prefixes() []string {
	if i.drill != "" {
		return []string{record.VaultPrefix + string(i.drill), record.SecretPrefix + string(i.drill) + "/"}
	}
	return inheritedPrefixes()
}

func (i *inheritance) moveRange(ctx context.Context, start, end record.Key) error {
	for {
		mine, next, err := i.page(start, end)
		if err != nil {
			return err
		}
		if len(mine) > 0 {
			if err := i.moveSome(ctx, mine, mine[len(mine)-1]+"\x00"); err != nil {
				return err
			}
		}
		if next == "" {
			return nil
		}
		start = next
	}
}

// known returns an error if a view does not know of the takeover yet.
func (i *inheritance) known(view record.View) error {
	taken, err := hasTakenOver(view, i.lost, record.VaultKey(i.drill))
	if err == nil && !taken {
		err = secret.Errorf(secret.CodeUnavailable, "the local store does not know of the takeover yet")
	}
	return err
}

// page returns the keys of records whose home is the lost region, out of the next
// ones of a range, and where to go on; empty if there are no more.
func (i *inheritance) page(start, end record.Key) (mine []record.Key, next record.Key, err error) {
	err = i.service.Local.View(func(view record.View) error {
		if err := i.known(view); err != nil {
			return err
		}
		mine, next = nil, ""
		looked := 0
		var inner error
		err = view.Scan(start, end, func(stored record.Stored) bool {
			if looked++; looked > 8*inheritPage || len(mine) == inheritPage {
				next = stored.Key
				return false
			}
			moves, err := i.moves(stored)
			if inner = err; err != nil {
				return false
			}
			if moves {
				mine = append(mine, stored.Key)
			}
			return true
		})
		return errors.Join(err, inner)
	})
	return mine, next, err
}

// moves reports whether a record moves: its home is the lost region, and this one is
// meant to have all of it. Of a vault of which it holds single secrets only it does
// not become the home.
func (i *inheritance) moves(stored record.Stored) (bool, error) {
	if stored.Key.HasPrefix(record.VaultPrefix) {
		v, err := record.Vaults.Decode(stored.Value)
		return err == nil && v.Ownership.Home == i.lost && secret.TargetIn(v.Replication.Targets, i.service.Region) != nil, err
	}
	owner, err := record.OwnerOf(stored.Key, stored.Value)
	return err == nil && owner.Ownership.Home == i.lost && owner.Account != secret.SystemAccount, err
}

// moveSome moves records, and notes how far that is; without a bookmark it is as far as
// before.
func (i *inheritance) moveSome(ctx context.Context, keys []record.Key, bookmark record.Key) error {
	for page := range slices.Chunk(keys, inheritPage) {
		if err := i.limit.WaitN(ctx, len(page)); err != nil {
			return err
		}
		i.service.pull(ctx, i.lost, page)
		err := sideBySide(page, inheritedAtOnce, func(key record.Key) error { return i.service.inheritOne(ctx, i.lost, key) })
		if err != nil {
			return err
		}
	}
	return i.note(ctx, bookmark, len(keys))
}

// TakeoverScope counts what this region would be the home of if it took another over.
type TakeoverScope struct {
	Accounts, Vaults, Secrets, PartialVaults uint64
}

// TakeoverScope counts what a takeover of a region moves: by the rule by which it does.
func (s *Service) TakeoverScope(view record.View, lost secret.RegionName) (scope TakeoverScope, err error) {
	i := &inheritance{service: s, lost: lost}
	for prefix, count := range map[string]*uint64{
		record.AccountPrefix: &scope.Accounts, record.VaultPrefix: &scope.Vaults, record.SecretPrefix: &scope.Secrets,
	} {
		var inner error
		err := view.Scan(record.Key(prefix), record.PrefixEnd(prefix), func(stored record.Stored) bool {
			var moves bool
			if moves, inner = i.moves(stored); moves {
				*count++
			}
			return inner == nil
		})
		if err = errors.Join(err, inner); err != nil {
			return scope, err
		}
	}
	err = scanAll(view, record.Vaults, record.VaultPrefix, func(v *secret.Vault) bool {
		if v.Ownership.Home == lost && secret.TargetIn(v.Replication.Targets, s.Region) == nil {
			scope.PartialVaults++
		}
		return true
	})
	return scope, err
}

// note stores how far the inheritance came.
func (i *inheritance) note(ctx context.Context, bookmark record.Key, moved int) error {
	key := i.key()
	_, err := i.service.commit(ctx, func(view record.View) (*record.Txn, error) {
		takeover, revision, err := record.Load(view, record.Takeovers, key)
		if err != nil {
			return nil, err
		}
		txn, _, err := newTxn(view)
		if err != nil {
			return nil, err
		}
		takeover.Bookmark = cmp.Or(string(bookmark), takeover.GetBookmark())
		takeover.Moved += uint64(moved) //nolint:gosec // a count
		txn.Require(key, revision)
		txn.Put(key, record.Takeovers.Encode(takeover))
		return txn, nil
	})
	return err
}

// end takes the region off the fence: nothing that was meant has its home there any
// more but what it sends from now on.
func (i *inheritance) end(ctx context.Context) error {
	s, key := i.service, i.key()
	_, err := s.commit(ctx, func(view record.View) (*record.Txn, error) {
		takeover, revision, err := record.Load(view, record.Takeovers, key)
		if err != nil || takeover.GetMovedAt() != 0 {
			return nil, err
		}
		txn, fence, err := s.changeFence(view)
		if err != nil {
			return nil, err
		}
		if i.drill == "" {
			fence.TakenOver = slices.DeleteFunc(fence.GetTakenOver(), func(r string) bool { return r == string(i.lost) })
		} else {
			drillOf(fence, i.drill).TakenOver = ""
			s.forgetDrills(fence)
		}
		txn.Put(record.FenceKey, record.Fences.Encode(fence))
		takeover.MovedAt = s.Now().UnixNano()
		txn.Require(key, revision)
		txn.Put(key, record.Takeovers.Encode(takeover))
		if i.drill == "" {
			if err := i.compareSurvivors(view, txn); err != nil {
				return nil, err
			}
		}
		s.Logger.Info("all records of the region have their home here now", "region", i.lost, "drill", i.drill, "records", takeover.GetMoved())
		return txn, nil
	})
	return err
}

// compareSurvivors has the other regions compared with this one: what was at home here
// before did not move, so no message tells of it, and the lost region may have had
// another one give it up.
func (i *inheritance) compareSurvivors(view record.View, txn *record.Txn) error {
	for _, peer := range i.service.Peers() {
		if peer == i.lost || peer == i.service.Region {
			continue
		}
		if err := i.service.markForComparison(view, txn, peer, string(i.lost)+" was taken over", nil); err != nil {
			return err
		}
	}
	return nil
}
