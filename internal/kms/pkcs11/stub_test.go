//go:build !pkcs11 || !cgo

package pkcs11_test

import (
	"errors"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/kms/pkcs11"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func TestBinaryWithoutTheDriverSaysSo(t *testing.T) {
	o := pkcs11.Options{Module: "lib.so", Token: "t", PINFile: "pin", Key: "k"}
	w, err := pkcs11.Open(t.Context(), o)
	if w != nil || !errors.Is(err, pkcs11.ErrNotBuilt) || !secret.HasCode(err, secret.CodeKeyUnavailable) {
		t.Errorf("Open: %v", err)
	}
	if _, err := pkcs11.CreateKey(t.Context(), o); !errors.Is(err, pkcs11.ErrNotBuilt) {
		t.Errorf("CreateKey: %v", err)
	}
}
