package record_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/oklog/ulid/v2"
	"pgregory.net/rapid"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func TestKeys(t *testing.T) {
	id := secret.NewID("VAULT", "SECRET")
	for got, want := range map[record.Key]record.Key{
		record.AccountKey("A"):                            "account/A",
		record.AccountNameKey("n"):                        "account-name/n",
		record.PrincipalKey("A", "P"):                     "principal/A/P",
		record.PrincipalNameKey("A", "n"):                 "principal-name/A/n",
		record.CredentialKey("C"):                         "credential/C",
		record.CredentialOfKey("A", "P", "C"):             "credential-of/A/P/C",
		record.PolicyKey("A", "n"):                        "policy/A/n",
		record.VaultKey("V"):                              "vault/V",
		record.VaultNameKey("A", "n"):                     "vault-name/A/n",
		record.SecretKey(id):                              "secret/VAULT/SECRET",
		record.SecretNameKey("V", "a/b"):                  "secret-name/V/a/b",
		record.VersionKey(id, "v.1"):                      "version/VAULT/SECRET/v.1",
		record.DataKeyKey("V", 7):                         "data-key/V/0000000007",
		record.DataKeyRotationKey("V"):                    "data-key-rotation/V",
		record.DataKeyUsageKey("V", 7):                    "data-key-usage/V/0000000007",
		record.BackupKey("B"):                             "backup/B",
		record.ShreddingKey("V"):                          "shredding/V",
		record.ActiveDataKeyKey("V"):                      "active-data-key/V",
		record.WorkKey(record.SecretKey(id)):              "work/secret/VAULT/SECRET",
		record.QuarantineKey(record.VaultKey(id.Vault())): "quarantine/vault/VAULT",
		record.OutboxKey("U"):                             "outbox/U",
		record.HostKey("H"):                               "host/H",
		record.TrustKey("A", "n"):                         "trust/A/n",
		record.BindingKey("A", "P", "B"):                  "binding/A/P/B",
		record.BindingURIKey("spiffe://d/a/*", "A"):       "binding-uri/spiffe://d/a/*|A",
		record.IssuerKey("A", "n"):                        "issuer/A/n",
		record.IssuerKeysKey("A", "n"):                    "issuer-keys/A/n",
		record.IssuerURLKey("https://i/x", "A"):           "issuer-url/https://i/x|A",
		record.MessageKey("west", record.SecretKey(id)):   "message/west/secret/VAULT/SECRET",
		record.QueueKey("west"):                           "queue/west",
		record.ResynchronisationKey("west"):               "resynchronisation/west",
	} {
		if got != want {
			t.Errorf("key %q, want %q", got, want)
		}
	}
}

func TestMessageOf(t *testing.T) {
	target, of, ok := record.MessageOf(record.MessageKey("west", "secret/V/S"))
	if target != "west" || of != "secret/V/S" || !ok {
		t.Errorf("%q, %q, %t", target, of, ok)
	}
	for _, key := range []record.Key{"", "message/", "message/west", "message/west/", "message//secret/V/S", "work/secret/V/S"} {
		if _, _, ok := record.MessageOf(key); ok {
			t.Errorf("%q is taken for the key of a message", key)
		}
	}
}

var anyULID = rapid.Custom(func(t *rapid.T) string {
	var id ulid.ULID
	if err := id.SetTime(rapid.Uint64Range(0, ulid.MaxTime()).Draw(t, "time")); err != nil {
		t.Fatal(err)
	}
	if err := id.SetEntropy(rapid.SliceOfN(rapid.Byte(), 10, 10).Draw(t, "entropy")); err != nil {
		t.Fatal(err)
	}
	return id.String()
})

// Scans rely on it: keys sort by vault, then by the age of the secret.
func TestSecretKeysSortByVaultAndAge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v1, v2 := secret.VaultID(anyULID.Draw(t, "vault")), secret.VaultID(anyULID.Draw(t, "other vault"))
		s1, s2 := anyULID.Draw(t, "secret"), anyULID.Draw(t, "other secret")
		a, b := secret.NewID(v1, s1), secret.NewID(v2, s2)
		want := strings.Compare(string(v1), string(v2))
		if want == 0 {
			want = strings.Compare(s1, s2)
		}
		if got := strings.Compare(string(record.SecretKey(a)), string(record.SecretKey(b))); got != want {
			t.Fatalf("%s against %s is %d, want %d", a, b, got, want)
		}
		prefix := record.SecretPrefix + string(v1) + "/"
		if within := record.SecretKey(b).HasPrefix(prefix); within != (v1 == v2) {
			t.Fatalf("%s under %s is %t", record.SecretKey(b), prefix, within)
		}
		versions := string(record.VersionKey(a, ""))
		if within := record.VersionKey(b, "v").HasPrefix(versions); within != (a == b) {
			t.Fatalf("version of %s under %s is %t", b, versions, within)
		}
	})
}

func TestDataKeysSortByGeneration(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.Uint32().Draw(t, "a"), rapid.Uint32().Draw(t, "b")
		if (record.DataKeyKey("V", a) < record.DataKeyKey("V", b)) != (a < b) {
			t.Fatalf("generations %d and %d sort wrongly", a, b)
		}
	})
}

func TestPrefixEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		anyBytes := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 'a', 'b', '/', 0xfe, 0xff}), 0, 5)
		prefix, key := string(anyBytes.Draw(t, "prefix")), string(anyBytes.Draw(t, "key"))
		end := record.PrefixEnd(prefix)
		// "" means that there is no end.
		within := key >= prefix && (end == "" || record.Key(key) < end)
		if within != strings.HasPrefix(key, prefix) {
			t.Fatalf("%q within %q..%q is %t", key, prefix, end, within)
		}
	})
}

// No prefix of one kind may cover the keys of another.
func TestPrefixesAreDisjoint(t *testing.T) {
	prefixes := []string{
		record.AccountPrefix, record.AccountNamePrefix, record.ActiveDataKeyPrefix, record.CredentialPrefix, record.CredentialOfPrefix,
		record.DataKeyPrefix, record.HostPrefix, record.MessagePrefix, record.QueuePrefix, record.ResynchronisationPrefix, record.OutboxPrefix, record.PolicyPrefix, record.PrincipalPrefix, record.PrincipalNamePrefix, record.PurgePrefix,
		record.QuarantinePrefix, record.PeerPrefix, record.SecretPrefix, record.SecretNamePrefix, record.VaultPrefix, record.VaultNamePrefix,
		record.VersionPrefix, record.WorkPrefix, record.TombstonePrefix, record.SynchronisationPrefix,
		string(record.RegionKey), string(record.FenceKey),
		string(record.FormatsKey), string(record.ClockKey), record.ControlPrefix,
		record.DataKeyRotationPrefix, record.DataKeyUsagePrefix, record.BackupPrefix, record.ShreddingPrefix, string(record.MasterKeyRotationKey),
		record.TrustPrefix, record.BindingPrefix, record.BindingURIPrefix, record.IssuerPrefix, record.IssuerKeysPrefix, record.IssuerURLPrefix,
		record.TakeoverPrefix, record.MovePrefix, record.ConflictPrefix, record.ConflictVersionPrefix, record.AccessPrefix,
	}
	formats := record.Formats()
	for i, p := range prefixes {
		if slices.ContainsFunc(prefixes[i+1:], func(q string) bool { return strings.HasPrefix(q, p) || strings.HasPrefix(p, q) }) {
			t.Errorf("%q overlaps another prefix", p)
		}
		if formats[strings.TrimSuffix(p, "/")] == 0 {
			t.Errorf("%q is a prefix without a kind", p)
		}
	}
	if len(formats) != len(prefixes) {
		t.Errorf("%d kinds, %d prefixes", len(formats), len(prefixes))
	}
}
