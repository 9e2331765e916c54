package keyring

import (
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func TestAGenerationSealsABoundedNumberOfTimes(t *testing.T) {
	key, err := newDataKey(keyID{"scope", 1}, randomKey(), new(usage))
	if err != nil {
		t.Fatal(err)
	}
	key.usage.seals.Store(MaxSeals - 1)
	s := Sealer{seal: key}
	ad := AssociatedData{Account: "account", Field: Value}
	if _, err := s.Seal(secret.NewPlaintext([]byte("last")), ad); err != nil {
		t.Errorf("the last seal: %v", err)
	}
	if _, err := s.Seal(secret.NewPlaintext([]byte("one more")), ad); !secret.HasCode(err, secret.CodeLimit) {
		t.Errorf("one more: %v, want CodeLimit", err)
	}
}

func TestRawKeysAreWiped(t *testing.T) {
	for generation := range uint32(2) {
		raw := randomKey()
		if _, err := newDataKey(keyID{"scope", generation}, raw, new(usage)); err != nil {
			t.Fatal(err)
		}
		if string(raw) != string(make([]byte, keyBytes)) {
			t.Errorf("the raw key of generation %d was not wiped", generation)
		}
	}
	if _, err := newDataKey(keyID{"scope", 1}, []byte("short"), nil); !secret.HasCode(err, secret.CodeTampered) {
		t.Errorf("short key: %v", err)
	}
}
