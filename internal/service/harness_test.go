package service_test

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/audit"
	"github.com/lifeboat-secrets/lifeboat/internal/authn"
	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/event"
	"github.com/lifeboat-secrets/lifeboat/internal/keyring"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/file"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// shard is a store in memory and, at the same time, its local copy.
type shard struct {
	mu       sync.Mutex
	revision int64
	records  map[record.Key]record.Stored
	// changed is told of each commit.
	changed func([]record.Change)
	// beforeCommit, if set, runs before each transaction is decided.
	beforeCommit func(record.Txn)
	// afterCommit, if set, answers in place of what was committed.
	afterCommit func(record.Txn) error
	// together has transactions commit at the present revision.
	together bool
	// behind, if set, is what the local copy still holds.
	behind *view
}

func (s *shard) Commit(_ context.Context, txn record.Txn) (int64, error) {
	s.mu.Lock()
	before := s.beforeCommit
	s.mu.Unlock()
	if before != nil {
		before(txn)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range txn.Conditions {
		if s.records[c.Key].Revision != c.Revision {
			return 0, secret.Errorf(secret.CodeStale, "condition on %s", c.Key)
		}
	}
	if !s.together {
		s.revision++
	}
	records := maps.Clone(s.records) // views keep what they have
	var changes []record.Change
	for _, w := range txn.Writes {
		stored := record.Stored{Key: w.Key, Value: w.Value, Revision: s.revision}
		if delete(records, w.Key); w.Value != nil {
			records[w.Key] = stored
		}
		changes = append(changes, record.Change{Stored: stored, Deleted: w.Value == nil})
	}
	s.records = records
	if s.changed != nil {
		s.changed(changes)
	}
	if s.afterCommit != nil {
		if err := s.afterCommit(txn); err != nil {
			return 0, err
		}
	}
	return s.revision, nil
}

func (s *shard) snapshot() view {
	s.mu.Lock()
	defer s.mu.Unlock()
	return view{records: s.records, revision: s.revision}
}

func (s *shard) View(context.Context) record.View { return s.snapshot() }

type localCopy struct{ *shard }

func (l localCopy) View(fn func(record.View) error) error {
	l.mu.Lock()
	behind := l.behind
	l.mu.Unlock()
	if behind != nil {
		return fn(*behind)
	}
	return fn(l.snapshot())
}
func (localCopy) Age() time.Duration { return 0 }

// fallBehind has the local copy stay as it is until catchUp is called.
func (s *shard) fallBehind() (catchUp func()) {
	held := s.snapshot()
	set := func(v *view) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.behind = v
	}
	set(&held)
	return func() { set(nil) }
}

type view struct {
	records  map[record.Key]record.Stored
	revision int64
}

func (v view) Revision() int64 { return v.revision }

func (v view) Get(key record.Key) (record.Stored, bool, error) {
	s, ok := v.records[key]
	return s, ok, nil
}

func (v view) Scan(start, end record.Key, visit func(record.Stored) bool) error {
	for _, key := range slices.Sorted(maps.Keys(v.records)) {
		if key >= start && (end == "" || key < end) && !visit(v.records[key]) {
			break
		}
	}
	return nil
}

type unlimited struct{}

func (unlimited) Allow(secret.AccountID, secret.VaultID) error { return nil }

// harness is a service over a shard in memory, with a clock of its own.
type harness struct {
	*service.Service
	t         *testing.T
	shard     *shard
	auditFile string
	keyFile   string
	clock     struct {
		sync.Mutex
		now time.Time
	}
	authn *authn.Authenticator
	// token is the admin's of the account test, which has a vault named v.
	token, operator string
}

func (h *harness) now() time.Time {
	h.clock.Lock()
	defer h.clock.Unlock()
	return h.clock.now
}

func (h *harness) pass(d time.Duration) {
	h.clock.Lock()
	defer h.clock.Unlock()
	h.clock.now = h.clock.now.Add(d)
}

// as returns the context of a request with a token.
func (h *harness) as(token string) context.Context {
	return service.WithRequest(h.t.Context(), &service.Request{
		ID: "r", Authenticate: func(view record.View, now time.Time) (authn.Caller, error) { return h.authn.Bearer(view, token, now) },
	})
}

func (h *harness) ctx() context.Context { return h.as(h.token) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start returns a service of the region east with the account test.
func start(t *testing.T) *harness {
	t.Helper()
	h, operator := startEmpty(t, "east")
	account, err := h.CreateAccount(h.as(operator), "test", "")
	must(t, err)
	h.token, h.operator = string(account.Token.Reveal()), operator
	_, _, err = h.CreateVault(h.ctx(), service.NewVault{Name: "v"})
	must(t, err)
	return h
}

// startEmpty returns a service of a region without accounts, and its operator's
// token.
func startEmpty(t *testing.T, region secret.RegionName) (*harness, string) {
	t.Helper()
	dir := t.TempDir()
	h := &harness{t: t, shard: &shard{records: map[record.Key]record.Stored{}}, auditFile: filepath.Join(dir, "audit"), keyFile: filepath.Join(dir, "keys")}
	h.clock.now = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	_, err := file.Create(filepath.Join(dir, "keys"))
	must(t, err)
	wrapper, err := file.Open(filepath.Join(dir, "keys"))
	must(t, err)
	keys := keyring.New(keyring.Options{Wrapper: wrapper})
	log, err := audit.Open(audit.Options{Paths: []string{h.auditFile}, Region: region, Process: "one"})
	must(t, err)
	t.Cleanup(func() {
		must(t, log.Close())
		must(t, keys.Close())
		must(t, wrapper.Close())
	})
	h.authn, err = authn.New(authn.Options{})
	must(t, err)
	authorizer, hub := authz.New(authz.Options{}), new(event.Hub)
	h.shard.changed = func(changes []record.Change) {
		h.authn.Changed(changes)
		authorizer.Changed(changes)
		hub.Changed(changes)
	}
	h.Service = service.New(service.Options{
		Region: region, Store: h.shard, Local: localCopy{h.shard}, Keyring: keys, Authenticator: h.authn, Authorizer: authorizer,
		Audit: log, Events: hub, Throttle: unlimited{}, Now: h.now,
		Peers: func() []secret.RegionName { return []secret.RegionName{"east", "south", "west"} },
	})
	made, err := service.Initialize(t.Context(), h.shard, keys, region, h.now())
	must(t, err)
	return h, string(made.Token.Reveal())
}

func (h *harness) create(n service.NewSecret) service.Outcome {
	h.t.Helper()
	n.Vault = "v"
	if n.Value.Len() == 0 {
		n.Value = secret.NewPlaintext([]byte("value"))
	}
	o, err := h.CreateSecret(h.ctx(), n)
	must(h.t, err)
	return o
}

// audited returns how many audit lines have all of the texts.
func (h *harness) audited(texts ...string) int {
	h.t.Helper()
	data, err := os.ReadFile(h.auditFile)
	must(h.t, err)
	n := 0
	for line := range strings.Lines(string(data)) {
		if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) }) {
			n++
		}
	}
	return n
}
