package keyring_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/keycache"
	"github.com/lifeboat-secrets/lifeboat/internal/keyring"
	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// sealedWorld is a world whose keyring can be made anew over the same sealed cache.
type sealedWorld struct {
	*world
	cache   *keycache.Cache
	options keycache.Options
	sealed  secret.Sealed
}

func newSealedWorld(t *testing.T) *sealedWorld {
	t.Helper()
	data := t.TempDir()
	s := &sealedWorld{world: newWorld(t, keyring.Options{})}
	s.options = keycache.Options{
		Path: filepath.Join(data, "key-cache"), KeyFile: filepath.Join(t.TempDir(), "key"), DataDir: data,
		MaxAge: 48 * time.Hour, Region: "east", Now: s.clock,
	}
	if err := os.WriteFile(s.options.KeyFile, bytes.Repeat([]byte{1}, 32), 0o600); err != nil {
		t.Fatal(err)
	}
	s.restart(t)
	s.sealed = s.seal(t, vault, "content", place())
	return s
}

// restart makes the keyring anew, with what is on disk.
func (s *sealedWorld) restart(t *testing.T) {
	t.Helper()
	_ = s.Close()
	err := s.cache.Write()
	if err == nil {
		s.cache, err = keycache.Open(s.options)
	}
	if err == nil {
		err = s.cache.SetIncarnation("life")
	}
	if err != nil {
		t.Fatal(err)
	}
	s.Keyring = keyring.New(keyring.Options{Wrapper: &s.service, Now: s.clock, Sealed: s.cache})
	k := s.Keyring
	t.Cleanup(func() { _ = k.Close() })
}

func (s *sealedWorld) fails(t *testing.T, code secret.Code) {
	t.Helper()
	if got, err := s.open(t, vault, s.sealed, place()); !secret.HasCode(err, code) || got != "" {
		t.Errorf("%v, want %s", err, code)
	}
}

func TestARestartedKeyringUsesTheSealedCache(t *testing.T) {
	s := newSealedWorld(t)
	s.service.fail(away)
	s.advance(47 * time.Hour)
	s.restart(t)
	s.mustOpen(t, vault, s.sealed, "content")
	calls := s.service.calls()
	s.mustOpen(t, vault, s.sealed, "content")
	if s.service.calls() != calls {
		t.Error("the key service is asked for every use")
	}
	if st := s.cache.Status(); st.Hits != 1 || st.Entries != 2 {
		t.Errorf("%+v", st)
	}
	if s.Health().OK() || !s.Health().LastSuccess.IsZero() {
		t.Errorf("%+v", s.Health())
	}
	s.advance(6 * time.Second)
	s.mustOpen(t, vault, s.sealed, "content")
	if s.service.calls() == calls {
		t.Error("the key service is not asked again")
	}
	s.advance(time.Hour)
	s.fails(t, secret.CodeKeyUnavailable)
	if !errors.Is(s.cache.Status().Err, keycache.ErrExpired) {
		t.Errorf("%+v", s.cache.Status())
	}

	s.service.fail(nil)
	s.mustOpen(t, vault, s.sealed, "content")
	s.restart(t)
	s.service.fail(away)
	s.mustOpen(t, vault, s.sealed, "content")
}

// A key service that does not answer at all holds a caller up for a moment only.
func TestASilentKeyServiceDoesNotHoldTheSealedCacheUp(t *testing.T) {
	s := newSealedWorld(t)
	s.restart(t)
	synctest.Test(t, func(t *testing.T) {
		k := keyring.New(keyring.Options{Wrapper: &s.service, Now: s.clock, Sealed: s.cache})
		defer func() { _ = k.Close() }()
		s.service.fail(hang)
		begun := time.Now()
		if _, err := k.Open(t.Context(), &s.shard, vault, s.sealed, place()); err != nil {
			t.Error(err)
		}
		if waited := time.Since(begun); waited > time.Second {
			t.Errorf("waited %s", waited)
		}
	})
}

func TestRefusedKeysLeaveTheSealedCache(t *testing.T) {
	s := newSealedWorld(t)
	s.service.fail(func(context.Context) error { return kms.WrongKey("test", "key", nil) })
	s.restart(t)
	s.fails(t, secret.CodeWrongKey)
	s.service.fail(away)
	s.fails(t, secret.CodeKeyUnavailable)
	s.restart(t)
	s.fails(t, secret.CodeKeyUnavailable)
}

func TestTheCheckOfTheRegionRefusesToo(t *testing.T) {
	s := newSealedWorld(t)
	check, err := s.NewCheck(t.Context(), "east", "life")
	if err != nil {
		t.Fatal(err)
	}
	s.service.fail(func(context.Context) error { return kms.WrongKey("test", "key", nil) })
	err = s.Check(t.Context(), &recordpb.Region{Name: "east", Incarnation: "life", KeyCheck: check.Bytes, MasterKey: check.MasterKey})
	if !errors.Is(err, kms.ErrWrongKey) || s.cache.Status().Entries != 0 {
		t.Errorf("%v, %+v", err, s.cache.Status())
	}
}

// What is deleted is in no file any more, whether the process saw it or not.
func TestDeletedKeysLeaveTheSealedCache(t *testing.T) {
	for name, seen := range map[string]bool{"seen": true, "while it was down": false} {
		t.Run(name, func(t *testing.T) {
			s := newSealedWorld(t)
			var txn record.Txn
			txn.Delete(record.DataKeyKey(vault, 1))
			s.shard.commit(txn)
			if seen {
				s.Deleted(record.DataKeyKey(vault, 1))
			} else {
				s.restart(t)
				s.service.fail(away)
				s.fails(t, secret.CodeKeyUnavailable)
				if err := s.PruneSealed(&s.shard); err != nil {
					t.Fatal(err)
				}
			}
			if n := s.cache.Status().Entries; n != 1 {
				t.Errorf("%d entries, want that of the MAC key", n)
			}
			s.Forget(vault)
			if n := s.cache.Status().Entries; n != 0 {
				t.Errorf("%d entries of a forgotten scope", n)
			}
		})
	}
}
