package generate

import (
	"crypto/rand"
	"strings"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Limits on the length of a password, those of AWS GetRandomPassword.
const (
	MinLength     = 4
	MaxLength     = 4096
	DefaultLength = 32
	// MaxExcludeBytes bounds Rules.ExcludeCharacters.
	MaxExcludeBytes = 4096
)

// The kinds of characters, as AWS GetRandomPassword defines them.
const (
	lowercase   = "abcdefghijklmnopqrstuvwxyz"
	uppercase   = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits      = "0123456789"
	punctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
	space       = " "
)

// Rules say what a password looks like. The zero value is 32 characters of all
// kinds but the space, each kind at least once.
type Rules struct {
	// Length is the number of characters, MinLength to MaxLength; zero means
	// DefaultLength.
	Length int
	// ExcludeCharacters are never used; at most MaxExcludeBytes bytes.
	ExcludeCharacters  string
	ExcludeLowercase   bool
	ExcludeUppercase   bool
	ExcludeDigits      bool
	ExcludePunctuation bool
	IncludeSpace       bool
	// AllowMissingKinds does not insist that each included kind occurs.
	AllowMissingKinds bool
}

// Password returns a random password: each one that the rules allow is equally
// likely. A kind of which ExcludeCharacters leaves nothing does not count as
// included. Errors: CodeInvalid, which names the rule that cannot be kept.
func Password(r Rules) (secret.Plaintext, error) {
	if r.Length == 0 {
		r.Length = DefaultLength
	}
	if r.Length < MinLength || r.Length > MaxLength {
		return secret.Plaintext{}, secret.Invalid("length", "is %d; allowed are %d to %d", r.Length, MinLength, MaxLength)
	}
	if n := len(r.ExcludeCharacters); n > MaxExcludeBytes {
		return secret.Plaintext{}, secret.Invalid("exclude_characters", "is %d bytes long; the limit is %d", n, MaxExcludeBytes)
	}
	kinds := r.kinds()
	switch {
	case len(kinds) == 0:
		return secret.Plaintext{}, secret.Invalid("exclude_characters", "leaves no character to choose from")
	case !r.AllowMissingKinds && len(kinds) > r.Length:
		return secret.Plaintext{}, secret.Invalid("length", "is %d, too short to hold each of the %d kinds of characters", r.Length, len(kinds)).
			WithHint("allow missing kinds, or ask for a longer password")
	}
	return secret.NewPlaintext(draw(r, kinds)), nil
}

// draw draws passwords until one holds each kind. Drawing again, rather than
// planting what is missing, keeps every allowed password equally likely. At the
// very worst (5 characters, of kinds of 26, 32, 1, 1 and 1) it takes some 8,500
// short draws, about a millisecond.
func draw(r Rules, kinds []string) []byte {
	var source source
	defer source.wipe()
	from := strings.Join(kinds, "")
	password := make([]byte, r.Length)
	for {
		for i := range password {
			password[i] = from[source.below(len(from))]
		}
		if r.AllowMissingKinds || holdsEach(password, kinds) {
			return password
		}
	}
}

// kinds returns what is left of each included kind.
func (r Rules) kinds() []string {
	var left []string
	for _, kind := range []struct {
		characters string
		excluded   bool
	}{
		{lowercase, r.ExcludeLowercase},
		{uppercase, r.ExcludeUppercase},
		{digits, r.ExcludeDigits},
		{punctuation, r.ExcludePunctuation},
		{space, !r.IncludeSpace},
	} {
		if kind.excluded {
			continue
		}
		usable := strings.Map(func(c rune) rune {
			if strings.ContainsRune(r.ExcludeCharacters, c) {
				return -1
			}
			return c
		}, kind.characters)
		if usable != "" {
			left = append(left, usable)
		}
	}
	return left
}

func holdsEach(b []byte, kinds []string) bool {
	for _, kind := range kinds {
		if !strings.ContainsAny(kind, string(b)) {
			return false
		}
	}
	return true
}

// source is buffered randomness.
type source struct {
	buffer [512]byte
	unread []byte
}

// below returns a number from 0 to n-1, each equally likely: bytes from the
// highest multiple of n on are thrown away. n is at most 256.
func (s *source) below(n int) int {
	limit := 256 - 256%n
	for {
		if len(s.unread) == 0 {
			_, _ = rand.Read(s.buffer[:]) // never fails: it ends the process if the system has no randomness
			s.unread = s.buffer[:]
		}
		b := int(s.unread[0])
		s.unread = s.unread[1:]
		if b < limit {
			return b % n
		}
	}
}

func (s *source) wipe() { clear(s.buffer[:]) }
