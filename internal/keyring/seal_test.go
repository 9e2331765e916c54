package keyring_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/lifeboat-secrets/lifeboat/internal/keyring"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func wantCode(t testing.TB, err error, code secret.Code, what string) {
	t.Helper()
	if !secret.HasCode(err, code) {
		t.Errorf("%s: got %v, want code %s", what, err, code)
	}
}

func TestSealAndOpen(t *testing.T) {
	w := newWorld(t, keyring.Options{})
	rapid.Check(t, func(rt *rapid.T) {
		content := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(rt, "content")
		ad := keyring.AssociatedData{
			Account: secret.AccountID(rapid.StringN(1, 30, -1).Draw(rt, "account")), Vault: secret.VaultID(rapid.String().Draw(rt, "vault")),
			Secret: secret.ID(rapid.String().Draw(rt, "secret")), Version: secret.VersionID(rapid.String().Draw(rt, "version")), Field: keyring.Metadata,
		}
		sealed := w.seal(t, vault, string(content), ad)
		if len(sealed) != len(content)+keyring.Overhead {
			rt.Fatalf("%d bytes sealed to %d", len(content), len(sealed))
		}
		got, err := w.Open(t.Context(), &w.shard, vault, sealed, ad)
		if err != nil || !bytes.Equal(got.Reveal(), content) {
			rt.Fatalf("Open: %v", err)
		}
	})
}

func TestSealIsRandom(t *testing.T) {
	w := newWorld(t, keyring.Options{})
	const content = "correct horse battery staple"
	a, b := w.seal(t, vault, content, place()), w.seal(t, vault, content, place())
	if bytes.Equal(a, b) {
		t.Error("the same content was sealed twice to the same bytes")
	}
	if bytes.Contains(a, []byte(content)) {
		t.Error("sealed content contains its plaintext")
	}
}

// Content pasted into any other place, by whoever can write to a store, must not
// open there.
func TestMovedContentDoesNotOpen(t *testing.T) {
	w := newWorld(t, keyring.Options{})
	sealed := w.seal(t, vault, "content", place())
	for part, move := range map[string]func(*keyring.AssociatedData){
		"account":            func(ad *keyring.AssociatedData) { ad.Account = other },
		"vault":              func(ad *keyring.AssociatedData) { ad.Vault = other },
		"no vault":           func(ad *keyring.AssociatedData) { ad.Vault = "" },
		"secret":             func(ad *keyring.AssociatedData) { ad.Secret += "0" },
		"version":            func(ad *keyring.AssociatedData) { ad.Version = "v2" },
		"field":              func(ad *keyring.AssociatedData) { ad.Field = keyring.Description },
		"version into field": func(ad *keyring.AssociatedData) { ad.Version, ad.Field = "", "v1"+keyring.Value },
		"shifted border":     func(ad *keyring.AssociatedData) { ad.Secret, ad.Version = ad.Secret+"v", "1" },
	} {
		ad := place()
		move(&ad)
		got, err := w.open(t, vault, sealed, ad)
		wantCode(t, err, secret.CodeTampered, part)
		if got != "" {
			t.Errorf("%s: got content", part)
		}
	}
	_, err := w.open(t, other, sealed, place())
	wantCode(t, err, secret.CodeTampered, "another scope")
	_, err = w.open(t, "01J00000000000000000000009", sealed, place())
	wantCode(t, err, secret.CodeKeyUnavailable, "a scope without keys")
	w.mustOpen(t, vault, sealed, "content")
}

func TestChangedContentDoesNotOpen(t *testing.T) {
	w := newWorld(t, keyring.Options{})
	sealed := w.seal(t, vault, "content", place())
	for i := range sealed {
		for bit := range 8 {
			changed := slices.Clone(sealed)
			changed[i] ^= 1 << bit
			want := secret.CodeTampered
			switch {
			case i == 0 && changed[0] != 0:
				want = secret.CodeUnknownFormat
			case 0 < i && i < 5 && !bytes.Equal(changed[1:5], []byte{0, 0, 0, 0}):
				want = secret.CodeKeyUnavailable // a generation that the scope lacks
			}
			_, err := w.open(t, vault, changed, place())
			wantCode(t, err, want, "flipped bit")
		}
	}
	for n := range sealed {
		_, err := w.open(t, vault, sealed[:n], place())
		wantCode(t, err, secret.CodeTampered, "truncated")
	}
	_, err := w.open(t, vault, append(slices.Clone(sealed), 0), place())
	wantCode(t, err, secret.CodeTampered, "extended")
}

func TestMissingGenerationIsTold(t *testing.T) {
	w := newWorld(t, keyring.Options{})
	sealed := w.seal(t, vault, "content", place())
	sealed[4] = 9
	_, err := w.open(t, vault, sealed, place())
	if !errors.Is(err, record.ErrNotFound) || !strings.Contains(err.Error(), vault+"/9") {
		t.Errorf("got %v, want ErrNotFound that names the data key", err)
	}
}

func TestIncompletePlaceIsRefused(t *testing.T) {
	w := newWorld(t, keyring.Options{})
	for _, ad := range []keyring.AssociatedData{{Field: keyring.Value}, {Account: account}} {
		_, err := w.sealer(t, vault).Seal(secret.NewPlaintext([]byte("x")), ad)
		wantCode(t, err, secret.CodeInternal, "Seal")
		_, err = w.Open(t.Context(), &w.shard, vault, w.seal(t, vault, "x", place()), ad)
		wantCode(t, err, secret.CodeInternal, "Open")
	}
}

// Records of data keys that were swapped or changed in the store must not be used.
func TestSwappedDataKeyRecords(t *testing.T) {
	mac, seal := record.DataKeyKey(vault, 0), record.DataKeyKey(vault, 1)
	for name, change := range map[string]func(*shard){
		"of another scope":      func(s *shard) { s.put(seal, s.records[record.DataKeyKey(other, 1)].Value) },
		"MAC key as SEAL key":   func(s *shard) { s.put(seal, s.records[mac].Value) },
		"relabelled scope":      relabel(seal, record.DataKeyKey(other, 1), func(k *recordpb.DataKey) { k.Scope = vault }),
		"relabelled generation": relabel(seal, mac, func(k *recordpb.DataKey) { k.Generation, k.Purpose = 1, "SEAL" }),
		"changed bytes":         relabel(seal, seal, func(k *recordpb.DataKey) { k.Wrapped[20] ^= 1 }),
		"active pointer": func(s *shard) {
			s.put(record.ActiveDataKeyKey(vault), s.records[record.ActiveDataKeyKey(other)].Value)
		},
		"active MAC key": func(s *shard) {
			s.put(record.ActiveDataKeyKey(vault), record.ActiveDataKeys.Encode(&recordpb.ActiveDataKey{Scope: vault}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, keyring.Options{})
			change(&w.shard)
			_, err := w.Sealer(t.Context(), &w.shard, vault)
			wantCode(t, err, secret.CodeTampered, "Sealer")
		})
	}
}

func (s *shard) put(key record.Key, value []byte) {
	var txn record.Txn
	txn.Put(key, value)
	s.commit(txn)
}

func relabel(to, from record.Key, change func(*recordpb.DataKey)) func(*shard) {
	return func(s *shard) {
		k, err := record.DataKeys.Decode(s.records[from].Value)
		if err != nil {
			panic(err)
		}
		change(k)
		s.put(to, record.DataKeys.Encode(k))
	}
}

func TestMACSeparatesDomainsAndParts(t *testing.T) {
	w := newWorld(t, keyring.Options{})
	s := w.sealer(t, vault)
	ab, c := []byte("ab"), []byte("c")
	macs := []secret.MAC{
		s.MAC("value", ab, c), s.MAC("value", []byte("a"), []byte("bc")), s.MAC("value", []byte("abc")), s.MAC("value", ab, c, nil),
		s.MAC("value"), s.MAC("value", nil), s.MAC("request", ab, c), s.MAC("valueab", c), w.sealer(t, other).MAC("value", ab, c),
	}
	for i, a := range macs {
		for _, b := range macs[i+1:] {
			if a.Equal(b) {
				t.Errorf("MAC %d equals a later one", i)
			}
		}
	}
	w.Forget(vault)
	if !w.sealer(t, vault).MAC("value", ab, c).Equal(macs[0]) {
		t.Error("the same content has two MACs")
	}
}

func FuzzOpen(f *testing.F) {
	w := newWorld(f, keyring.Options{})
	sealed := w.seal(f, vault, "content", place())
	f.Add([]byte(sealed))
	f.Add([]byte(sealed[:20]))
	f.Add([]byte{})
	f.Add([]byte{1, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := w.open(t, vault, b, place()); err == nil && !(got == "content" && bytes.Equal(b, sealed)) {
			t.Errorf("forged content opened: %x", b)
		}
	})
}
