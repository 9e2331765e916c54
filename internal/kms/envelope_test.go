package kms_test

import (
	"bytes"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func TestEnvelopeRoundtrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.String().Draw(t, "key")
		aad := rapid.SliceOf(rapid.Byte()).Draw(t, "aad")
		ciphertext := rapid.SliceOfN(rapid.Byte(), 1, 100).Draw(t, "ciphertext")
		got, err := kms.OpenEnvelope(kms.SealEnvelope(key, aad, ciphertext), aad)
		if err != nil || !bytes.Equal(got, ciphertext) {
			t.Fatalf("%x, %v", got, err)
		}
	})
}

func TestEnvelopeWithoutCiphertextIsTampered(t *testing.T) {
	for _, b := range [][]byte{nil, {}, {0}, {1}, kms.SealEnvelope("key", nil, nil).Bytes} {
		if _, err := kms.OpenEnvelope(kms.Wrapped{MasterKey: "key", Bytes: b}, nil); !errors.Is(err, kms.ErrTampered) {
			t.Errorf("%x: %v, want ErrTampered", b, err)
		}
	}
}

func TestBindingIsUnambiguous(t *testing.T) {
	if bytes.Equal(kms.Binding("ab", []byte("c")), kms.Binding("a", []byte("bc"))) {
		t.Error("the border between master key and associated data does not count")
	}
}

// What went wrong, and whether asking again helps, must be told apart.
func TestErrorsAreDistinct(t *testing.T) {
	all := map[error]error{
		kms.ErrTampered: kms.Tampered("key"), kms.ErrWrongKey: kms.WrongKey("d", "key", errors.New("cause")),
		kms.ErrFault: kms.Fault("d", errors.New("cause")), kms.ErrClosed: kms.Closed("d"),
	}
	for cause := range all {
		for of, err := range all {
			if errors.Is(err, cause) != (cause == of) {
				t.Errorf("errors.Is(%q, %q) is wrong", err, cause)
			}
		}
	}
	for err, code := range map[error]secret.Code{
		all[kms.ErrTampered]: secret.CodeTampered, all[kms.ErrWrongKey]: secret.CodeWrongKey,
		all[kms.ErrFault]: secret.CodeKeyUnavailable, all[kms.ErrClosed]: secret.CodeKeyUnavailable,
	} {
		if !secret.HasCode(err, code) {
			t.Errorf("%v has code %s, want %s", err, secret.CodeOf(err), code)
		}
	}
}

func FuzzOpenEnvelope(f *testing.F) {
	good := kms.SealEnvelope("key", []byte("aad"), []byte("ciphertext")).Bytes
	f.Add(good)
	f.Add(good[:17])
	f.Add([]byte{})
	f.Add([]byte{2})
	f.Fuzz(func(t *testing.T, b []byte) {
		ciphertext, err := kms.OpenEnvelope(kms.Wrapped{MasterKey: "key", Bytes: b}, []byte("aad"))
		if err != nil {
			if code := secret.CodeOf(err); code != secret.CodeTampered && code != secret.CodeUnknownFormat {
				t.Errorf("code %s", code)
			}
			return
		}
		if again := kms.SealEnvelope("key", []byte("aad"), ciphertext); !bytes.Equal(again.Bytes, b) {
			t.Error("two envelopes open to the same ciphertext")
		}
	})
}
