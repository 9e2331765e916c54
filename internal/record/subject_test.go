package record_test

import (
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
)

func TestSubject(t *testing.T) {
	for key, want := range map[record.Key]record.Key{
		record.SecretKey("V.S"):                        "secret/V/S",
		record.VersionKey("V.S", "1"):                  "secret/V/S",
		record.WorkKey(record.SecretKey("V.S")):        "secret/V/S",
		record.WorkKey(record.VaultKey("V")):           "vault/V",
		record.SecretNameKey("V", "a/b"):               "secret-name/V/a/b",
		record.VaultKey("V"):                           "vault/V",
		record.Key(record.VersionPrefix) + "malformed": "version/malformed",
		"": "",
	} {
		if got := record.Subject(key); got != want {
			t.Errorf("subject of %q is %q, want %q", key, got, want)
		}
	}
}
