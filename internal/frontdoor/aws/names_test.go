package aws

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// TestARNsLeadBack: the ARN of a secret, and that without its suffix, mean the
// secret; those of others do not.
func TestARNsLeadBack(t *testing.T) {
	d := New(Options{Region: "east", RegionNames: map[secret.RegionName]string{"east": "us-east-1"}, Vault: "default", TypeOf: noTypes})
	ulid := rapid.StringMatching(`[0-7][0-9A-HJKMNP-TV-Z]{25}`)
	rapid.Check(t, func(t *rapid.T) {
		account := secret.AccountID(ulid.Draw(t, "account"))
		id := secret.NewID(secret.VaultID(ulid.Draw(t, "vault")), ulid.Draw(t, "secret"))
		name := rapid.StringMatching(`[A-Za-z0-9/_+=.@!-]{1,40}`).Draw(t, "name")
		arn := d.arn(account, id, name)
		ref, err := d.ref(&arn)
		if err != nil || ref.Secret != name || !ref.Is(account, id) || ref.Or != name+"-"+suffix(id) {
			t.Fatalf("%s means %+v, %v", arn, ref, err)
		}
		if ref.Is(account+"X", id) || ref.Is(account, id+"X") {
			t.Fatal("the ARN means another secret too")
		}
		partial := arn[:len(arn)-suffixLength-1]
		ref, err = d.ref(&partial)
		is := ref.Is
		if ref.Secret != name {
			if is = ref.OrIs; ref.Or != name {
				t.Fatalf("%s means %+v", partial, ref)
			}
		}
		if err != nil || !is(account, id) || !is(account, id+"X") || is(account+"X", id) {
			t.Fatalf("%s means %+v, %v", partial, ref, err)
		}
	})
}

func FuzzSecretID(f *testing.F) {
	f.Add("arn:aws:secretsmanager:east:123456789012:secret:a-abcdef")
	f.Add("name")
	f.Add("arn:::::")
	d := New(Options{Region: "east", Vault: "default", TypeOf: noTypes})
	f.Fuzz(func(t *testing.T, id string) {
		ref, err := d.ref(&id)
		if err != nil {
			if secret.CodeOf(err) != secret.CodeInvalid {
				t.Fatal(err)
			}
			return
		}
		if checkName(ref.Secret) != nil || ref.Or != "" && checkName(ref.Or) != nil {
			t.Fatalf("%q means %+v", id, ref)
		}
	})
}
