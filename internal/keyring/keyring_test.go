package keyring_test

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/keyring"
	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/file"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const (
	account = "01J00000000000000000000001"
	vault   = "01J00000000000000000000002"
	other   = "01J00000000000000000000003"
)

var at = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func place() keyring.AssociatedData {
	return keyring.AssociatedData{Account: account, Vault: vault, Secret: vault + ".01J00000000000000000000004", Version: "v1", Field: keyring.Value}
}

// shard is a store in memory that commits transactions as a shard does.
type shard struct {
	mu       sync.Mutex
	revision int64
	records  map[record.Key]record.Stored
}

func (s *shard) Get(key record.Key) (record.Stored, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stored, ok := s.records[key]
	return stored, ok, nil
}

func (s *shard) Scan(start, end record.Key, visit func(record.Stored) bool) error {
	s.mu.Lock()
	var found []record.Stored
	for key, stored := range s.records {
		if start <= key && key < end {
			found = append(found, stored)
		}
	}
	s.mu.Unlock()
	slices.SortFunc(found, func(a, b record.Stored) int { return strings.Compare(string(a.Key), string(b.Key)) })
	for _, stored := range found {
		if !visit(stored) {
			break
		}
	}
	return nil
}

func (s *shard) commit(txn record.Txn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range txn.Conditions {
		if s.records[c.Key].Revision != c.Revision {
			return false
		}
	}
	s.revision++
	if s.records == nil {
		s.records = make(map[record.Key]record.Stored)
	}
	for _, w := range txn.Writes {
		if w.Value == nil {
			delete(s.records, w.Key)
			continue
		}
		s.records[w.Key] = record.Stored{Key: w.Key, Value: w.Value, Revision: s.revision}
	}
	return true
}

// service is a key service whose failures the test decides.
type service struct {
	kms.Wrapper
	mu      sync.Mutex
	unwraps int
	// before runs at the beginning of each Unwrap, unless nil.
	before func(context.Context) error
}

func (s *service) Unwrap(ctx context.Context, wrapped kms.Wrapped, aad []byte) ([]byte, error) {
	s.mu.Lock()
	s.unwraps++
	before := s.before
	s.mu.Unlock()
	if before != nil {
		if err := before(ctx); err != nil {
			return nil, err
		}
	}
	return s.Wrapper.Unwrap(ctx, wrapped, aad)
}

func (s *service) fail(before func(context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = before
}

func (s *service) calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unwraps
}

// world is a keyring over a store and a key file, with the scopes account,
// vault and other.
type world struct {
	*keyring.Keyring
	shard   shard
	service service
	keyFile string
	mu      sync.Mutex
	now     time.Time
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func newWorld(t testing.TB, opts keyring.Options) *world {
	t.Helper()
	w := &world{now: at, keyFile: filepath.Join(t.TempDir(), "keys.json")}
	if _, err := file.Create(w.keyFile); err != nil {
		t.Fatal(err)
	}
	wrapper, err := file.Open(w.keyFile)
	if err != nil {
		t.Fatal(err)
	}
	w.service.Wrapper = wrapper
	opts.Wrapper = &w.service
	if opts.Now == nil {
		opts.Now = w.clock
	}
	w.Keyring = keyring.New(opts)
	t.Cleanup(func() { _, _ = w.Close(), wrapper.Close() })
	for _, scope := range []string{account, vault, other} {
		w.newScope(t, scope)
	}
	return w
}

func (w *world) newScope(t testing.TB, scope string) {
	t.Helper()
	keys, err := w.NewScope(t.Context(), scope, at)
	if err != nil {
		t.Fatal(err)
	}
	w.store(t, keys)
}

func (w *world) store(t testing.TB, keys *keyring.NewKeys) {
	t.Helper()
	var txn record.Txn
	keys.AddTo(&txn)
	if !w.shard.commit(txn) {
		t.Fatal("the transaction's conditions do not hold")
	}
}

func (w *world) sealer(t testing.TB, scope string) *keyring.Sealer {
	t.Helper()
	s, err := w.Sealer(t.Context(), &w.shard, scope)
	if err != nil {
		t.Fatalf("Sealer: %v", err)
	}
	return s
}

func (w *world) seal(t testing.TB, scope, content string, ad keyring.AssociatedData) secret.Sealed {
	t.Helper()
	sealed, err := w.sealer(t, scope).Seal(secret.NewPlaintext([]byte(content)), ad)
	if err != nil {
		t.Fatalf("Seal: %v", err)
	}
	return sealed
}

func (w *world) open(t testing.TB, scope string, sealed secret.Sealed, ad keyring.AssociatedData) (string, error) {
	t.Helper()
	p, err := w.Open(t.Context(), &w.shard, scope, sealed, ad)
	return string(p.Reveal()), err
}

func (w *world) mustOpen(t testing.TB, scope string, sealed secret.Sealed, want string) {
	t.Helper()
	if got, err := w.open(t, scope, sealed, place()); err != nil || got != want {
		t.Fatalf("Open = %d bytes, %v", len(got), err)
	}
}
