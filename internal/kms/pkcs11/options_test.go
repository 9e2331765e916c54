package pkcs11_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/kms/pkcs11"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func TestOptionsAreChecked(t *testing.T) {
	good := pkcs11.Options{Module: "/nowhere/lib.so", Token: "t", PINFile: "/nowhere/pin", Key: "k"}
	for field, change := range map[string]func(*pkcs11.Options){
		"module":        func(o *pkcs11.Options) { o.Module = "" },
		"token":         func(o *pkcs11.Options) { o.Token = strings.Repeat("x", 33) },
		"pin_file":      func(o *pkcs11.Options) { o.PINFile = "" },
		"key":           func(o *pkcs11.Options) { o.Key = "" },
		"older_keys":    func(o *pkcs11.Options) { o.OlderKeys = make([]string, 101) },
		"older_keys[0]": func(o *pkcs11.Options) { o.OlderKeys = []string{"k"} },
		"older_keys[1]": func(o *pkcs11.Options) { o.OlderKeys = []string{"a", strings.Repeat("x", 256)} },
		"sessions":      func(o *pkcs11.Options) { o.Sessions = 1025 },
	} {
		o := good
		change(&o)
		_, err := pkcs11.Open(t.Context(), o)
		var e *secret.Error
		if !errors.As(err, &e) || e.Code != secret.CodeInvalid || e.Field != field {
			t.Errorf("%s: got %v", field, err)
		}
	}
}
