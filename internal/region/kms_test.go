package region

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/file"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/pkcs11"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Every driver that the configuration allows is one that the process can open.
func TestKeyServiceDrivers(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "credential")
	if err := os.WriteFile(path, []byte("[default]\naws_access_key_id = a\naws_secret_access_key = b\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	nowhere := "https://127.0.0.1:1"
	for driver, c := range map[string]config.KMS{
		"file":    {File: config.KMSFile{Path: filepath.Join(dir, "none")}},
		"pkcs11":  {PKCS11: config.KMSPKCS11{Module: filepath.Join(dir, "none"), Token: "t", PINFile: path, Key: "k"}},
		"transit": {Transit: config.KMSTransit{Address: nowhere, Key: "k", TokenFile: path, Timeout: time.Minute}},
		"aws-kms": {AWS: config.KMSAWS{Key: "alias/k", Region: "eu-central-1", Endpoint: nowhere, CredentialsFile: path, Timeout: time.Minute}},
	} {
		c.Driver = driver
		_, err := OpenKeyService(t.Context(), &c)
		switch {
		case driver == "file" && errors.Is(err, file.ErrNoFile):
		case driver == "pkcs11" && !pkcs11.Built && errors.Is(err, pkcs11.ErrNotBuilt):
		case driver != "file" && errors.Is(err, kms.ErrFault):
		default:
			t.Errorf("%s: %v", driver, err)
		}
	}
	_, err := OpenKeyService(t.Context(), &config.KMS{Driver: "cloud"})
	if !secret.HasCode(err, secret.CodeInvalid) {
		t.Errorf("unknown driver: %v", err)
	}
}

func TestKeyServiceErrorsNameTheConfiguration(t *testing.T) {
	for want, c := range map[string]config.KMS{
		"kms.pkcs11.older_keys[0]": {Driver: "pkcs11", PKCS11: config.KMSPKCS11{Module: "m", Token: "t", PINFile: "p", Key: "k", OlderKeys: []string{"k"}}},
		"kms.transit.address":      {Driver: "transit", Transit: config.KMSTransit{Address: "http://vault.example", Key: "k", TokenFile: "t"}},
		"kms.aws_kms.endpoint":     {Driver: "aws-kms", AWS: config.KMSAWS{Key: "k", Endpoint: "http://kms.example"}},
	} {
		_, err := OpenKeyService(t.Context(), &c)
		if e, ok := errors.AsType[*secret.Error](err); !ok || e.Field != want {
			t.Errorf("%s: got %v", want, err)
		}
	}
}

func TestSilentKeyServiceLeavesAProcessReady(t *testing.T) {
	for name, c := range map[string]struct {
		err   error
		vital bool
	}{
		"answers":     {nil, true},
		"fault":       {kms.Fault("transit", errors.New("sealed")), false},
		"late":        {secret.Wrap(secret.CodeUnavailable, context.DeadlineExceeded, "late"), false},
		"wrong key":   {kms.WrongKey("transit", "k", nil), true},
		"tampered":    {kms.Tampered("k"), true},
		"no copy yet": {errIncomplete, true},
	} {
		if got := keysCheck(c.err); got.vital != c.vital || got.err != c.err {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
