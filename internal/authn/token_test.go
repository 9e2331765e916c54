package authn

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func TestNewToken(t *testing.T) {
	shape := regexp.MustCompile(`^lbt_[0-9A-Z]{26}_[1-9A-HJ-NP-Za-km-z]{50}$`)
	seen := map[string]bool{}
	for range 200 {
		id, token, hash := NewToken()
		text := string(token.Reveal())
		if !shape.MatchString(text) || !IsToken(text) || seen[text] {
			t.Fatal("malformed or repeated token")
		}
		seen[text] = true
		gotID, half, ok := parseToken(text)
		sum := sha256.Sum256([]byte(half))
		if !ok || gotID != id || !secret.ValidULID(string(id)) || !bytes.Equal(sum[:], hash) {
			t.Fatalf("ID %s parsed as %s", id, gotID)
		}
		if printed := fmt.Sprintf("%v %+v %q %s", token, token, token, token); strings.Contains(printed, half) {
			t.Error("the token prints itself")
		}
	}
}

func TestNewAccessKey(t *testing.T) {
	seen := map[secret.CredentialID]bool{}
	for range 200 {
		id, key := NewAccessKey()
		if !IsAccessKey(string(id)) || !regexp.MustCompile(`^LBAK[A-Z2-7]{16}$`).MatchString(string(id)) || seen[id] {
			t.Fatalf("ID %s", id)
		}
		seen[id] = true
		if key.Len() != 40 {
			t.Fatalf("the secret half has %d characters", key.Len())
		}
	}
	for _, s := range []string{"", "LBAK", "AKIAABCDEFGHIJKLMNOP", "LBAKABCDEFGHIJKLMNO", "LBAKABCDEFGHIJKLMNO1", "LBAKABCDEFGHIJKLMNOPQ"} {
		if IsAccessKey(s) {
			t.Errorf("%q taken for an access key", s)
		}
	}
}

// TestTyposAreNoticed changes one character of a token: CRC-32 finds every such
// change.
func TestTyposAreNoticed(t *testing.T) {
	_, token, _ := NewToken()
	rapid.Check(t, func(t *rapid.T) {
		typo := bytes.Clone(token.Reveal())
		i := rapid.IntRange(0, len(typo)-1).Draw(t, "position")
		typo[i] = rapid.SampledFrom([]byte(base58+"0_")).Filter(func(c byte) bool { return c != typo[i] }).Draw(t, "character")
		if IsToken(string(typo)) {
			t.Errorf("a change at %d went unnoticed", i)
		}
	})
}

func TestRandomCharactersAreUniform(t *testing.T) {
	const draws = 58 * 2000
	counts := map[byte]int{}
	for _, c := range appendRandom(nil, draws, base58) {
		counts[c]++
	}
	for i := range len(base58) {
		// 2000 expected; seven standard deviations (44.7 each) allowed.
		if n := counts[base58[i]]; n < 1687 || n > 2313 {
			t.Errorf("%q drawn %d times of %d", base58[i], n, draws)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add(string(appendChecksum([]byte("lbt_01ARZ3NDEKTSV4RRFFQ69G5FAV_" + strings.Repeat("1z", secretLength/2)))))
	f.Add("")
	f.Add("lbt_")
	f.Add("lbt_01ARZ3NDEKTSV4RRFFQ69G5FAV_" + strings.Repeat("1", 50))
	f.Add(strings.Repeat("_", tokenLength))
	f.Fuzz(func(t *testing.T, s string) {
		id, half, ok := parseToken(s)
		if !ok {
			if id != "" || half != "" {
				t.Fatal("a malformed token has parts")
			}
			return
		}
		if again := string(appendChecksum([]byte(tokenPrefix + string(id) + "_" + half))); again != s {
			t.Fatalf("%q parsed as %q", s, again)
		}
	})
}
