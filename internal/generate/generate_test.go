package generate_test

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/lifeboat-secrets/lifeboat/internal/generate"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const (
	lowercase   = "abcdefghijklmnopqrstuvwxyz"
	uppercase   = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits      = "0123456789"
	punctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
)

func wantInvalid(t *testing.T, err error, field string) {
	t.Helper()
	e, ok := errors.AsType[*secret.Error](err)
	if !ok || e.Code != secret.CodeInvalid || e.Field != field {
		t.Errorf("%v, want CodeInvalid for %s", err, field)
	}
}

func TestBytes(t *testing.T) {
	for _, n := range []int{1, 32, generate.MaxBytes} {
		p, err := generate.Bytes(n)
		if err != nil || p.Len() != n {
			t.Errorf("%d bytes: got %d, %v", n, p.Len(), err)
		}
	}
	for _, n := range []int{-1, 0, generate.MaxBytes + 1} {
		_, err := generate.Bytes(n)
		wantInvalid(t, err, "bytes")
	}
	a, _ := generate.Bytes(32)
	if b, _ := generate.Bytes(32); a.Equal(b) {
		t.Error("two draws are equal")
	}
}

func TestPasswordLimits(t *testing.T) {
	all := lowercase + uppercase + digits + punctuation
	cases := []struct {
		name   string
		rules  generate.Rules
		length int
		field  string
	}{
		{"default", generate.Rules{}, 32, ""},
		{"shortest", generate.Rules{Length: 4}, 4, ""},
		{"longest", generate.Rules{Length: 4096}, 4096, ""},
		{"negative", generate.Rules{Length: -1}, 0, "length"},
		{"too short", generate.Rules{Length: 3}, 0, "length"},
		{"too long", generate.Rules{Length: 4097}, 0, "length"},
		{"more kinds than characters", generate.Rules{Length: 4, IncludeSpace: true}, 0, "length"},
		{"missing kinds allowed", generate.Rules{Length: 4, IncludeSpace: true, AllowMissingKinds: true}, 4, ""},
		{"a kind left empty does not count", generate.Rules{Length: 4, IncludeSpace: true, ExcludeCharacters: digits}, 4, ""},
		{"every kind excluded", generate.Rules{ExcludeLowercase: true, ExcludeUppercase: true, ExcludeDigits: true, ExcludePunctuation: true}, 0, "exclude_characters"},
		{"only the space", generate.Rules{ExcludeCharacters: all, IncludeSpace: true}, 32, ""},
		{"every character excluded", generate.Rules{ExcludeCharacters: all}, 0, "exclude_characters"},
		{"exclusions at the limit", generate.Rules{ExcludeCharacters: strings.Repeat("a", generate.MaxExcludeBytes)}, 32, ""},
		{"exclusions above the limit", generate.Rules{ExcludeCharacters: strings.Repeat("a", generate.MaxExcludeBytes+1)}, 0, "exclude_characters"},
		{"exclusions that are not ASCII", generate.Rules{ExcludeCharacters: "äöü\xff"}, 32, ""},
		{"the least likely rules", generate.Rules{Length: 5, IncludeSpace: true, ExcludeCharacters: uppercase[1:] + digits[1:]}, 5, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p, err := generate.Password(c.rules)
			if c.field != "" {
				wantInvalid(t, err, c.field)
			} else if err != nil || p.Len() != c.length {
				t.Errorf("%d characters, %v; want %d", p.Len(), err, c.length)
			}
		})
	}
}

// included lists what the rules leave of each kind, in another way than the
// code under test.
func included(r generate.Rules) []string {
	offered := map[string]bool{
		lowercase: !r.ExcludeLowercase, uppercase: !r.ExcludeUppercase, digits: !r.ExcludeDigits,
		punctuation: !r.ExcludePunctuation, " ": r.IncludeSpace,
	}
	var kinds []string
	for kind, ok := range offered {
		left := ""
		for _, c := range kind {
			if !strings.ContainsRune(r.ExcludeCharacters, c) {
				left += string(c)
			}
		}
		if ok && left != "" {
			kinds = append(kinds, left)
		}
	}
	return kinds
}

func TestPasswordsKeepTheirRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := generate.Rules{
			Length:             rapid.IntRange(generate.MinLength, 80).Draw(t, "length"),
			ExcludeCharacters:  rapid.StringMatching("[ -~]{0,40}").Draw(t, "exclude"),
			ExcludeLowercase:   rapid.Bool().Draw(t, "no lowercase"),
			ExcludeUppercase:   rapid.Bool().Draw(t, "no uppercase"),
			ExcludeDigits:      rapid.Bool().Draw(t, "no digits"),
			ExcludePunctuation: rapid.Bool().Draw(t, "no punctuation"),
			IncludeSpace:       rapid.Bool().Draw(t, "space"),
			AllowMissingKinds:  rapid.Bool().Draw(t, "missing kinds"),
		}
		kinds := included(r)
		p, err := generate.Password(r)
		if len(kinds) == 0 || !r.AllowMissingKinds && len(kinds) > r.Length {
			if !secret.HasCode(err, secret.CodeInvalid) {
				t.Fatalf("rules that cannot be kept: %v", err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		password := string(p.Reveal())
		if len(password) != r.Length || strings.Trim(password, strings.Join(kinds, "")) != "" {
			t.Fatalf("%q breaks %+v", password, r)
		}
		for _, kind := range kinds {
			if !r.AllowMissingKinds && !strings.ContainsAny(password, kind) {
				t.Fatalf("%q holds none of %q", password, kind)
			}
		}
	})
}

// chiSquare measures how far counts are from even.
func chiSquare(counts map[string]int, cells int) float64 {
	total := 0
	for _, n := range counts {
		total += n
	}
	expected := float64(total) / float64(cells)
	sum := expected * float64(cells-len(counts)) // cells never seen
	for _, n := range counts {
		sum += (float64(n) - expected) * (float64(n) - expected) / expected
	}
	return sum
}

// With k cells chi-square has mean k-1 and deviation sqrt(2(k-1)); the bounds
// are more than ten deviations above, so that chance never fails them.
func TestCharactersAreEquallyLikely(t *testing.T) {
	counts := map[string]int{}
	for range 100 {
		p, err := generate.Password(generate.Rules{Length: 4096, IncludeSpace: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range p.Reveal() {
			counts[string(c)]++
		}
	}
	if got := chiSquare(counts, 95); got > 94+10*14 {
		t.Errorf("chi-square %f over %d characters", got, len(counts))
	}
}

// Of the passwords of four characters from a, b, A and 0 that hold each kind,
// some have a twice: each must be as likely as any other.
func TestAllowedPasswordsAreEquallyLikely(t *testing.T) {
	rules := generate.Rules{Length: 4, ExcludePunctuation: true, ExcludeCharacters: lowercase[2:] + uppercase[1:] + digits[1:]}
	const allowed = 4*3*2*1 + // a b A 0 in any order
		4*6 + // a a A 0 and b b A 0: 12 orders each
		2*2*12 // a or b with A A 0 or A 0 0
	counts := map[string]int{}
	for range 20000 {
		p, err := generate.Password(rules)
		if err != nil {
			t.Fatal(err)
		}
		counts[string(p.Reveal())]++
	}
	if got := chiSquare(counts, allowed); len(counts) != allowed || got > allowed-1+10*14 {
		t.Errorf("chi-square %f over %d passwords, want all %d", got, len(counts), allowed)
	}
}

func TestBytesAreEquallyLikely(t *testing.T) {
	counts := map[string]int{}
	for range 4 {
		p, err := generate.Bytes(generate.MaxBytes)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range p.Reveal() {
			counts[string(rune(b))]++
		}
	}
	if got := chiSquare(counts, 256); got > 255+10*23 {
		t.Errorf("chi-square %f", got)
	}
}

func BenchmarkPassword(b *testing.B) {
	cases := map[string]generate.Rules{
		"default": {},
		"longest": {Length: generate.MaxLength},
		"worst":   {Length: 5, IncludeSpace: true, ExcludeCharacters: uppercase[1:] + digits[1:]},
	}
	for name, rules := range cases {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := generate.Password(rules); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
