package keyring_test

import (
	"context"
	"errors"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/keyring"
	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/file"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func TestNewScopeIsMadeOnce(t *testing.T) {
	w := newWorld(t, keyring.Options{})
	keys, err := w.NewScope(t.Context(), vault, at)
	if err != nil {
		t.Fatal(err)
	}
	var txn record.Txn
	keys.AddTo(&txn)
	if w.shard.commit(txn) {
		t.Fatal("the keys of a scope were made twice")
	}
	sealed := w.seal(t, vault, "content", place())
	w.Forget(vault)
	w.mustOpen(t, vault, sealed, "content")
}

func TestSealInTheTransactionThatMakesTheScope(t *testing.T) {
	w := newWorld(t, keyring.Options{})
	const scope = "01J00000000000000000000007"
	keys, err := w.NewScope(t.Context(), scope, at)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := keys.Sealer().Seal(secret.NewPlaintext([]byte("content")), place())
	if err != nil {
		t.Fatal(err)
	}
	if c := keys.Sealer().Condition(); c.Key != record.ActiveDataKeyKey(scope) || c.Revision != 0 {
		t.Errorf("condition %+v, want that the scope has no active key", c)
	}
	if _, err := w.open(t, scope, sealed, place()); !errors.Is(err, record.ErrNotFound) {
		t.Errorf("opened with a key that is not stored: %v", err)
	}
	w.store(t, keys)
	w.mustOpen(t, scope, sealed, "content")
}

func TestRotation(t *testing.T) {
	w := newWorld(t, keyring.Options{})
	old := w.sealer(t, vault)
	sealed := w.seal(t, vault, "first", place())
	mac := old.MAC("value", []byte("first"))
	a, err := w.NewGeneration(t.Context(), &w.shard, "", vault, at)
	if err != nil {
		t.Fatal(err)
	}
	b, err := w.NewGeneration(t.Context(), &w.shard, "", vault, at)
	if err != nil {
		t.Fatal(err)
	}
	w.store(t, a)
	var late record.Txn
	b.AddTo(&late)
	if w.shard.commit(late) {
		t.Error("two rotations made the same generation")
	}
	// What the old sealer sealed must not be committed any more.
	if w.shard.commit(record.Txn{Conditions: []record.Condition{old.Condition()}}) {
		t.Error("the condition of a retired generation still holds")
	}
	s := w.sealer(t, vault)
	if old.Generation() != 1 || s.Generation() != 2 {
		t.Errorf("generations %d and %d, want 1 and 2", old.Generation(), s.Generation())
	}
	if !w.shard.commit(record.Txn{Conditions: []record.Condition{s.Condition()}}) {
		t.Error("the condition of the active generation does not hold")
	}
	if !s.MAC("value", []byte("first")).Equal(mac) {
		t.Error("rotation changed the MAC")
	}
	resealed := w.seal(t, vault, "second", place())
	if g, err := keyring.Generation(resealed); g != 2 || err != nil {
		t.Errorf("sealed by generation %d, %v", g, err)
	}
	w.mustOpen(t, vault, sealed, "first")
	w.mustOpen(t, vault, resealed, "second")
	w.Forget(vault)
	w.mustOpen(t, vault, sealed, "first")
	w.mustOpen(t, vault, resealed, "second")
	// The generation is authenticated.
	resealed[4] = 1
	_, err = w.open(t, vault, resealed, place())
	wantCode(t, err, secret.CodeTampered, "changed generation")
}

func TestRewrapUnderNewMasterKey(t *testing.T) {
	w := newWorld(t, keyring.Options{})
	sealed := w.seal(t, vault, "content", place())
	oldID := w.service.Describe().ActiveKey
	newID, err := file.AddKey(w.keyFile, "")
	if err != nil {
		t.Fatal(err)
	}
	master, err := w.MasterKey(t.Context(), "")
	if err != nil || master.ID != newID {
		t.Fatalf("the master key is %v, %v; want %q", master, err, newID)
	}
	txn, err := w.Rewrap(t.Context(), &w.shard, master, vault)
	if err != nil || len(txn.Writes) != 2 {
		t.Fatalf("Rewrap: %d writes, %v", len(txn.Writes), err)
	}
	if !w.shard.commit(txn) || w.shard.commit(txn) {
		t.Fatal("the transaction must commit once")
	}
	for g, want := range map[record.Key]string{
		record.DataKeyKey(vault, 0): newID, record.DataKeyKey(vault, 1): newID, record.DataKeyKey(other, 1): oldID,
	} {
		key, _, err := record.Load(&w.shard, record.DataKeys, g)
		if err != nil || key.GetMasterKey() != want || !record.FromNanos(key.GetCreatedAt()).Equal(at) {
			t.Errorf("%s is under %q since %d, want %q", g, key.GetMasterKey(), key.GetCreatedAt(), want)
		}
	}
	w.mustOpen(t, vault, sealed, "content")
	w.Forget(vault)
	w.mustOpen(t, vault, sealed, "content")
	if txn, err := w.Rewrap(t.Context(), &w.shard, master, vault); err != nil || len(txn.Writes) != 0 {
		t.Errorf("a second Rewrap: %d writes, %v", len(txn.Writes), err)
	}
}

func TestReplicaScopeSharesTheMACKeyOnly(t *testing.T) {
	east, west := newWorld(t, keyring.Options{}), newWorld(t, keyring.Options{})
	const scope = "01J00000000000000000000007"
	east.newScope(t, scope)
	key, err := east.MACKey(t.Context(), &east.shard, scope)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := west.NewReplicaScope(t.Context(), "", scope, key, at)
	if err != nil {
		t.Fatal(err)
	}
	west.store(t, keys)
	content := []byte("content")
	if !east.sealer(t, scope).MAC("value", content).Equal(west.sealer(t, scope).MAC("value", content)) {
		t.Error("the regions disagree on the MAC")
	}
	_, err = west.open(t, scope, east.seal(t, scope, "content", place()), place())
	wantCode(t, err, secret.CodeTampered, "content of another region")
	_, err = west.NewReplicaScope(t.Context(), "", scope, secret.NewPlaintext([]byte("short")), at)
	wantCode(t, err, secret.CodeInvalid, "short MAC key")
}

func TestKeyServiceFailsWhileKeysAreMade(t *testing.T) {
	w := newWorld(t, keyring.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.NewScope(ctx, "01J00000000000000000000007", at); !errors.Is(err, context.Canceled) {
		t.Errorf("NewScope: %v", err)
	}
	if _, err := w.Sealer(t.Context(), &w.shard, "01J00000000000000000000007"); !errors.Is(err, record.ErrNotFound) {
		t.Errorf("Sealer of an unknown scope: %v", err)
	}
}

func TestCheck(t *testing.T) {
	w, stranger := newWorld(t, keyring.Options{}), newWorld(t, keyring.Options{})
	check, err := w.NewCheck(t.Context(), "east", "incarnation1")
	if err != nil {
		t.Fatal(err)
	}
	region := func() *recordpb.Region {
		return &recordpb.Region{Name: "east", Incarnation: "incarnation1", KeyCheck: check.Bytes, MasterKey: check.MasterKey}
	}
	if err := w.Check(t.Context(), region()); err != nil {
		t.Fatal(err)
	}
	err = stranger.Check(t.Context(), region())
	if !errors.Is(err, kms.ErrWrongKey) {
		t.Errorf("another key service: %v, want ErrWrongKey", err)
	}
	wantCode(t, err, secret.CodeWrongKey, "another key service")
	for name, change := range map[string]func(*recordpb.Region){
		"name":        func(r *recordpb.Region) { r.Name = "west" },
		"incarnation": func(r *recordpb.Region) { r.Incarnation = "incarnation2" },
		"master key":  func(r *recordpb.Region) { r.MasterKey = "other" },
		"no check":    func(r *recordpb.Region) { r.KeyCheck = nil },
	} {
		r := region()
		change(r)
		wantCode(t, w.Check(t.Context(), r), secret.CodeTampered, name)
	}
}
