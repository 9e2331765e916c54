package generate

import (
	"strings"
	"unicode"

	"github.com/sethvargo/go-diceware/diceware"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Limits of PassphraseRules.
const (
	MinWords          = 4
	MaxWords          = 64
	DefaultWords      = 6
	DefaultSeparator  = "-"
	MaxSeparatorBytes = 8
)

// BitsPerWord is the entropy of one word: log2 of the 7776 words of the long list of
// the EFF. DefaultWords have 77 bits, ten have 129.
const BitsPerWord = 12.925

// PassphraseRules say what a passphrase looks like.
type PassphraseRules struct {
	// Words is their number, MinWords to MaxWords; zero means DefaultWords.
	Words int
	// Separator stands between words, at most MaxSeparatorBytes bytes; empty means
	// DefaultSeparator.
	Separator string
}

// Passphrase returns words of the long list of the EFF, each drawn by itself, so
// that one may come twice and every passphrase is equally likely. Errors:
// CodeInvalid.
func Passphrase(r PassphraseRules) (secret.Plaintext, error) {
	if r.Words == 0 {
		r.Words = DefaultWords
	}
	if r.Words < MinWords || r.Words > MaxWords {
		return secret.Plaintext{}, secret.Invalid("words", "is %d; allowed are %d to %d", r.Words, MinWords, MaxWords)
	}
	if r.Separator == "" {
		r.Separator = DefaultSeparator
	}
	if err := secret.CheckText("separator", r.Separator, MaxSeparatorBytes); err != nil {
		return secret.Plaintext{}, err
	}
	if strings.ContainsFunc(r.Separator, unicode.IsControl) {
		return secret.Plaintext{}, secret.Invalid("separator", "must not have control characters")
	}
	var from source
	defer from.wipe()
	list := diceware.WordListEffLarge()
	var b []byte
	for i := range r.Words {
		if i > 0 {
			b = append(b, r.Separator...)
		}
		b = append(b, list.WordAt(from.dice(list.Digits()))...)
	}
	return secret.NewPlaintext(b), nil
}

// dice returns the digits of n thrown dice.
func (s *source) dice(n int) (digits int) {
	for range n {
		digits = 10*digits + 1 + s.below(6)
	}
	return digits
}
