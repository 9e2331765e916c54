package authz

import (
	"bytes"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cedar-policy/cedar-go"
	"golang.org/x/sync/singleflight"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// DefaultCachedPolicies is how many parsed policies an Authorizer keeps unless
// told otherwise.
const DefaultCachedPolicies = 100_000

// Revisioned is a view that knows how far it has come: it holds every change up
// to and including Revision, and perhaps later ones. Only views of a store whose
// every change to a policy is given to Changed may implement it.
type Revisioned interface {
	Revision() int64
}

func revisionOf(view record.View) (revision int64, ok bool) {
	if r, ok := view.(Revisioned); ok {
		return r.Revision(), true
	}
	return 0, false
}

// accounts keeps the parsed policies of accounts.
//
// A set in the map that is not stale holds every change that changed was told
// of: both take the mutex, and a set from a view behind newest is not put in.
// A stale set stays, to save parsing again what did not change. Readers take no
// lock.
type accounts struct {
	actions *actionTable
	limit   int
	sets    sync.Map // secret.AccountID → *set
	loading singleflight.Group

	hits, misses atomic.Uint64

	mu sync.Mutex
	// newest is the highest revision of a change to a policy.
	newest int64
	// kept counts the policies of the sets in the map.
	kept int
}

// set is the parsed policies of an account as a view held them. All but stale
// is never changed.
type set struct {
	revision int64
	// known says that revision is that of the view.
	known   bool
	stale   atomic.Bool
	sources []source
	index   index
	size    int
}

// source is a stored policy with what was parsed from it.
type source struct {
	key      record.Key
	value    []byte
	policies []*policy
}

func newAccounts(actions *actionTable, limit int) *accounts {
	if limit <= 0 {
		limit = DefaultCachedPolicies
	}
	return &accounts{actions: actions, limit: limit}
}

// policies returns the policies of an account, no older than what the view holds
// and what changed was told, whichever is older.
func (a *accounts) policies(view record.View, account secret.AccountID) (*set, error) {
	cached := a.cached(account)
	revision, known := revisionOf(view)
	switch {
	case !known:
		return a.verified(view, account, cached)
	case cached != nil && cached.known && !cached.stale.Load():
		a.hits.Add(1)
		return cached, nil
	}
	shared, err, _ := a.loading.Do(string(account), func() (any, error) { return a.load(view, account, cached) })
	if err != nil {
		// It may be the error of another request's view.
		return a.load(view, account, cached)
	}
	s := shared.(*set)
	if s.revision >= revision || a.current(account, s) {
		return s, nil
	}
	return a.load(view, account, s)
}

func (a *accounts) cached(account secret.AccountID) *set {
	if v, ok := a.sets.Load(account); ok {
		return v.(*set)
	}
	return nil
}

// current reports whether s is what the cache holds.
func (a *accounts) current(account secret.AccountID, s *set) bool {
	return a.cached(account) == s && !s.stale.Load()
}

// verified returns the cached policies if the view holds the very same, else
// those of the view.
func (a *accounts) verified(view record.View, account secret.AccountID, cached *set) (*set, error) {
	if cached != nil {
		same, err := cached.same(view, account)
		if err != nil {
			return nil, err
		}
		if same {
			a.hits.Add(1)
			return cached, nil
		}
	}
	return a.load(view, account, cached)
}

// same reports whether the view holds what s was parsed from.
func (s *set) same(view record.View, account secret.AccountID) (bool, error) {
	i := 0
	same := true
	err := scan(view, account, func(stored record.Stored) bool {
		same = i < len(s.sources) && s.sources[i].key == stored.Key && bytes.Equal(s.sources[i].value, stored.Value)
		i++
		return same
	})
	return same && i == len(s.sources), err
}

func scan(view record.View, account secret.AccountID, visit func(record.Stored) bool) error {
	prefix := string(record.PolicyKey(account, ""))
	return view.Scan(record.Key(prefix), record.PrefixEnd(prefix), visit)
}

// load parses the view's policies, but those that old, if any, already parsed,
// and keeps the set if it may.
func (a *accounts) load(view record.View, account secret.AccountID, old *set) (*set, error) {
	a.misses.Add(1)
	parsed := map[record.Key]source{}
	if old != nil {
		for _, s := range old.sources {
			parsed[s.key] = s
		}
	}
	s := &set{index: index{}}
	s.revision, s.known = revisionOf(view)
	var failed error
	err := scan(view, account, func(stored record.Stored) bool {
		src, ok := parsed[stored.Key]
		if !ok || !bytes.Equal(src.value, stored.Value) {
			src, failed = a.parse(account, stored)
		}
		s.sources = append(s.sources, src)
		return failed == nil
	})
	if err != nil {
		return nil, err
	}
	if failed != nil {
		return nil, failed
	}
	for _, src := range s.sources {
		for _, p := range src.policies {
			s.index.add(p)
		}
		s.size += len(src.policies)
	}
	a.keep(account, s)
	return s, nil
}

func (a *accounts) parse(account secret.AccountID, stored record.Stored) (source, error) {
	p, err := record.Policies.Decode(stored.Value)
	if err != nil {
		return source{}, secret.Wrap(secret.CodeOf(err), err, "record "+string(stored.Key))
	}
	if stored.Key != record.PolicyKey(account, p.Name) || p.Account != account {
		return source{}, secret.Errorf(secret.CodeCorrupt, "record %s holds policy %s of account %s", stored.Key, p.Name, p.Account)
	}
	list, err := cedar.NewPolicyListFromBytes(p.Name, []byte(p.Text))
	if err != nil {
		return source{}, secret.Wrap(secret.CodeCorrupt, err, "policy "+p.Name+" of account "+string(account)+" cannot be read").
			WithHint("upgrade this process if a newer release wrote it")
	}
	src := source{key: stored.Key, value: bytes.Clone(stored.Value)}
	for i, c := range list {
		src.policies = append(src.policies, newPolicy(a.actions, p.Name, i, c))
	}
	return src, nil
}

// keep puts a set in the map unless its view is behind a change that is known.
func (a *accounts) keep(account secret.AccountID, s *set) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s.known && s.revision < a.newest {
		return
	}
	a.drop(account)
	a.sets.Store(account, s)
	a.kept += weight(s)
	if a.kept <= a.limit {
		return
	}
	// Make room by forgetting accounts in the map's order, which is random.
	a.sets.Range(func(other, _ any) bool {
		if other != account {
			a.drop(other.(secret.AccountID))
		}
		return a.kept > a.limit
	})
}

// weight counts an account without policies, too.
func weight(s *set) int { return s.size + 1 }

func (a *accounts) drop(account secret.AccountID) {
	if old, ok := a.sets.LoadAndDelete(account); ok {
		a.kept -= weight(old.(*set))
	}
}

func (a *accounts) changed(changes []record.Change) {
	var revision int64
	touched := map[secret.AccountID]bool{}
	for i := range changes {
		rest, ok := strings.CutPrefix(string(changes[i].Key), record.PolicyPrefix)
		if !ok {
			continue
		}
		account, _, _ := strings.Cut(rest, "/")
		touched[secret.AccountID(account)] = true
		revision = max(revision, changes[i].Revision)
	}
	if len(touched) == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.newest = max(a.newest, revision)
	for account := range touched {
		if s := a.cached(account); s != nil {
			s.stale.Store(true)
		}
	}
}

func (a *accounts) reset() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.newest, a.kept = 0, 0
	a.sets.Clear()
}
