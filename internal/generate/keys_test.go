package generate_test

import (
	"crypto/ed25519"
	"crypto/rsa"
	"math"
	"strings"
	"testing"

	"github.com/sethvargo/go-diceware/diceware"
	"golang.org/x/crypto/ssh"

	"github.com/lifeboat-secrets/lifeboat/internal/generate"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func TestSSHKey(t *testing.T) {
	for name, r := range map[string]generate.SSHRules{
		"default": {}, "ed25519": {Type: "ed25519", Comment: "deploy@ci"}, "rsa": {Type: "rsa", Comment: "of two words"},
	} {
		private, public, err := generate.SSHKey(r)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(private.Reveal()), "-----BEGIN OPENSSH PRIVATE KEY-----\n") {
			t.Errorf("%s: not in the format of OpenSSH", name)
		}
		key, err := ssh.ParseRawPrivateKey(private.Reveal())
		if err != nil {
			t.Fatal(err)
		}
		switch key := key.(type) {
		case *ed25519.PrivateKey:
			if r.Type == "rsa" {
				t.Errorf("%s is ed25519", name)
			}
		case *rsa.PrivateKey:
			if r.Type != "rsa" || key.N.BitLen() != generate.DefaultRSABits {
				t.Errorf("%s is RSA of %d bits", name, key.N.BitLen())
			}
		}
		half, comment, _, rest, err := ssh.ParseAuthorizedKey([]byte(public))
		signer, signErr := ssh.NewSignerFromKey(key)
		if err != nil || signErr != nil || len(rest) > 0 || comment != r.Comment || string(half.Marshal()) != string(signer.PublicKey().Marshal()) {
			t.Errorf("%s: the public key %q is not of the private one: %v, %v", name, public, err, signErr)
		}
	}
	for field, r := range map[string]generate.SSHRules{
		"type": {Type: "dsa"}, "bits": {Type: "rsa", Bits: 1024}, "comment": {Comment: "two\nlines"},
	} {
		if _, _, err := generate.SSHKey(r); !secret.HasCode(err, secret.CodeInvalid) || !strings.Contains(err.Error(), field) {
			t.Errorf("%+v: %v", r, err)
		}
	}
	if _, _, err := generate.SSHKey(generate.SSHRules{Bits: 3072}); !secret.HasCode(err, secret.CodeInvalid) {
		t.Errorf("bits of an ed25519 key: %v", err)
	}
}

func TestPassphrase(t *testing.T) {
	list := diceware.WordListEffLarge()
	known := map[string]bool{}
	for _, a := range []int{1, 2, 3, 4, 5, 6} {
		for rest := range 1296 {
			n := a*10000 + (rest/216+1)*1000 + (rest/36%6+1)*100 + (rest/6%6+1)*10 + rest%6 + 1
			known[list.WordAt(n)] = true
		}
	}
	if math.Abs(math.Log2(float64(len(known)))-generate.BitsPerWord) > 0.001 {
		t.Fatalf("%d words", len(known))
	}
	seen := map[string]bool{}
	for range 200 {
		p, err := generate.Passphrase(generate.PassphraseRules{Words: 10, Separator: "_"})
		if err != nil {
			t.Fatal(err)
		}
		words := strings.Split(string(p.Reveal()), "_")
		if len(words) != 10 {
			t.Fatalf("%d words", len(words))
		}
		for _, w := range words {
			if !known[w] {
				t.Fatalf("%q is not in the list", w)
			}
			seen[w] = true
		}
	}
	if len(seen) < 1600 { // of 2000 drawn, 1765 are expected to be different
		t.Errorf("only %d different words", len(seen))
	}
	if p, err := generate.Passphrase(generate.PassphraseRules{}); err != nil || p.Len() < 6*3+5 {
		t.Errorf("%d bytes, %v", p.Len(), err)
	}
	for field, r := range map[string]generate.PassphraseRules{"words": {Words: 3}, "separator": {Separator: "123456789"}, "control": {Separator: "\n"}} {
		if _, err := generate.Passphrase(r); !secret.HasCode(err, secret.CodeInvalid) || !strings.Contains(err.Error(), field) {
			t.Errorf("%+v: %v", r, err)
		}
	}
}
