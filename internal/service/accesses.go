package service

import (
	"context"
	"errors"
	"hash/maphash"
	"math/bits"
	"strings"
	"sync"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Access says that a version of a secret was read on a day.
type Access struct {
	Secret  secret.ID
	Version secret.VersionID
	// Day is that since 1970, in UTC.
	Day int64
}

// MaxAccesses bounds what NoteAccesses takes at once.
const MaxAccesses = 2000

const (
	accessShards = 64
	// rememberedAccesses bounds what a shard knows to be noted, and what waits there.
	rememberedAccesses = 2048
	// accessesTogether bounds the secrets that one transaction notes.
	accessesTogether = 32
	secondsPerDay    = 24 * 60 * 60
)

func dayOf(t time.Time) int64 { return t.Unix() / secondsPerDay }

// accesses knows what was read in this process and is not in the store yet. Reads never
// wait for more than a map: of one that finds no place nothing is kept, and a later one
// of the day does.
type accesses struct {
	seed   maphash.Seed
	shards [accessShards]accessShard
}

type accessShard struct {
	mu sync.RWMutex
	// noted are those that need not be told again, by their hashes, with their days.
	noted   map[uint64]int64
	waiting []Access
}

func newAccesses() *accesses {
	a := &accesses{seed: maphash.MakeSeed()}
	for i := range a.shards {
		a.shards[i].noted = make(map[uint64]int64)
	}
	return a
}

func (a *accesses) note(id secret.ID, version secret.VersionID, day int64) {
	hash := a.hash(id, version)
	s := &a.shards[hash%accessShards]
	s.mu.RLock()
	known, ok := s.noted[hash]
	s.mu.RUnlock()
	if ok && known >= day {
		return
	}
	// What is kept must not keep the record alive that it was decoded from.
	s.add(hash, Access{Secret: secret.ID(strings.Clone(string(id))), Version: secret.VersionID(strings.Clone(string(version))), Day: day})
}

// hash stands for a version of a secret. Of two that share one, by a chance of 2⁻⁶⁴, only
// one is noted.
func (a *accesses) hash(id secret.ID, version secret.VersionID) uint64 {
	return bits.RotateLeft64(maphash.String(a.seed, string(id)), 1) ^ maphash.String(a.seed, string(version))
}

func (s *accessShard) add(hash uint64, a Access) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known, ok := s.noted[hash]; ok && known >= a.Day || len(s.waiting) >= rememberedAccesses {
		return
	}
	if len(s.noted) >= rememberedAccesses {
		clear(s.noted) // what is told again changes nothing
	}
	s.noted[hash] = a.Day
	s.waiting = append(s.waiting, a)
}

// take returns at most n that wait, which wait no more.
func (a *accesses) take(n int) (taken []Access) {
	for i := range a.shards {
		s := &a.shards[i]
		s.mu.Lock()
		some := min(n-len(taken), len(s.waiting))
		taken = append(taken, s.waiting[:some]...)
		if s.waiting = s.waiting[some:]; len(s.waiting) == 0 {
			s.waiting = nil
		}
		s.mu.Unlock()
	}
	return taken
}

// giveBack has what was taken wait again.
func (a *accesses) giveBack(taken []Access) {
	for _, one := range taken {
		hash := a.hash(one.Secret, one.Version)
		s := &a.shards[hash%accessShards]
		s.mu.Lock()
		delete(s.noted, hash)
		s.mu.Unlock()
		s.add(hash, one)
	}
}

// FlushAccesses hands what was read in this process since the last time, at most
// MaxAccesses, to deliver; what that fails for is handed over again. It returns how many
// there were. One call at a time.
func (s *Service) FlushAccesses(ctx context.Context, deliver func(context.Context, []Access) error) (int, error) {
	taken := s.accesses.take(MaxAccesses)
	if len(taken) == 0 {
		return 0, nil
	}
	if err := deliver(ctx, taken); err != nil {
		s.accesses.giveBack(taken)
		return 0, err
	}
	return len(taken), nil
}

// NoteAccesses stores on which days secrets were read, one record for a secret, which
// changes at most once a day for each of its versions. It is no mutation: it has no
// order, no event and no line in the audit log, which has the reads themselves, and it
// stays in this region. Secrets that are gone are left out. Errors: CodeInvalid for
// more than MaxAccesses, or what is no ID; those of the store.
func (s *Service) NoteAccesses(ctx context.Context, all []Access) error {
	if n := len(all); n > MaxAccesses {
		return secret.Invalid("accesses", "has %d entries; the limit is %d", n, MaxAccesses)
	}
	today := dayOf(s.Now())
	bySecret := make(map[secret.ID][]Access)
	var order []secret.ID
	for _, a := range all {
		if !a.Secret.Valid() {
			return secret.Invalid("accesses", "has the secret %q", a.Secret)
		}
		a.Day = min(a.Day, today) // the clock of a host may be ahead
		if bySecret[a.Secret] == nil {
			order = append(order, a.Secret)
		}
		bySecret[a.Secret] = append(bySecret[a.Secret], a)
	}
	for len(order) > 0 {
		n := min(accessesTogether, len(order))
		if err := s.noteTogether(ctx, order[:n], bySecret); err != nil {
			return err
		}
		order = order[n:]
	}
	return nil
}

func (s *Service) noteTogether(ctx context.Context, ids []secret.ID, bySecret map[secret.ID][]Access) error {
	first := true // on the local copy, which may not have a secret yet
	_, err := s.commit(ctx, func(view record.View) (*record.Txn, error) {
		local := first
		first = false
		txn, _, err := newTxn(view)
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			err := addAccess(view, txn, id, bySecret[id])
			if errors.Is(err, record.ErrNotFound) && !local {
				err = nil
			}
			if err != nil {
				return nil, err
			}
		}
		if len(txn.Writes) == 0 {
			return nil, nil
		}
		return txn, nil
	})
	return err
}

// addAccess adds when a secret was read. Errors: record.ErrNotFound if it is gone.
func addAccess(view record.View, txn *record.Txn, id secret.ID, read []Access) error {
	sec, secretRevision, err := record.Load(view, record.Secrets, record.SecretKey(id))
	if err != nil || sec.State == secret.Deleted {
		return err
	}
	key := record.AccessKey(id)
	stored, revision, err := record.Load(view, record.Accesses, key)
	if errors.Is(err, record.ErrNotFound) {
		stored, err = &recordpb.Access{Secret: string(id)}, nil
	}
	if err != nil {
		return err
	}
	changed := false
	versions := make(map[string]int64)
	for i := range sec.Versions { // those that are pruned are left out
		if v := string(sec.Versions[i].ID); stored.GetVersions()[v] != 0 {
			versions[v] = stored.GetVersions()[v]
		}
	}
	for _, a := range read {
		if sec.Version(a.Version) != nil && versions[string(a.Version)] < a.Day {
			versions[string(a.Version)], changed = a.Day, true
		}
		if stored.GetDay() < a.Day {
			stored.Day, changed = a.Day, true
		}
	}
	if !changed {
		return nil
	}
	stored.Versions = versions
	txn.Require(record.SecretKey(id), secretRevision)
	txn.Require(key, revision)
	txn.Put(key, record.Accesses.Encode(stored))
	return nil
}

// Accessed says when values of a secret were last read in this region.
type Accessed struct{ stored *recordpb.Access }

func accessedOf(view record.View, id secret.ID) (Accessed, error) {
	stored, _, err := record.Load(view, record.Accesses, record.AccessKey(id))
	if errors.Is(err, record.ErrNotFound) {
		return Accessed{}, nil
	}
	return Accessed{stored}, err
}

// At returns the day on which any value was last read, the zero time if none was.
func (a Accessed) At() time.Time { return startOf(a.stored.GetDay()) }

// Of returns the day on which a version was last read, the zero time if it was not.
func (a Accessed) Of(version secret.VersionID) time.Time {
	return startOf(a.stored.GetVersions()[string(version)])
}

func startOf(day int64) time.Time {
	if day == 0 {
		return time.Time{}
	}
	return time.Unix(day*secondsPerDay, 0).UTC()
}
