package authn

import (
	"crypto/rand"
	"crypto/sha256"
	"hash/crc32"
	"strings"

	"github.com/oklog/ulid/v2"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// A token is lbt_<credential ID>_<secret half><checksum>, 81 characters without
// a dash or a slash, so that a double click selects it whole and a scanner for
// leaked secrets finds it with lbt_[0-9A-Z]{26}_[1-9A-HJ-NP-Za-km-z]{50}. The
// checksum is the CRC-32 of all before it; it tells a typo, and a scanner's
// false alarm, without a look-up. It protects nothing.
const (
	tokenPrefix = "lbt_"
	idLength    = ulid.EncodedSize
	// secretLength characters of 58 are 257 bits.
	secretLength   = 44
	checksumLength = 6
	secretStart    = len(tokenPrefix) + idLength + 1
	tokenLength    = secretStart + secretLength + checksumLength
)

// An access key has the shape of one of AWS, whose clients may check it.
const (
	accessKeyPrefix       = "LBAK"
	accessKeyRandomLength = 16
	accessKeyLength       = len(accessKeyPrefix) + accessKeyRandomLength
	accessKeySecretLength = 40
)

const (
	// base58 has no characters that people mistake for each other.
	base58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
	base32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
)

// isBase58 is of each byte whether it is a character of base58.
var isBase58 = func() (is [256]bool) {
	for _, c := range []byte(base58) {
		is[c] = true
	}
	return is
}()

// NewToken makes a bearer token. The hash, SHA-256 of the secret half, is what
// is stored of it.
func NewToken() (id secret.CredentialID, token secret.Plaintext, hash []byte) {
	id = secret.CredentialID(ulid.MustNew(ulid.Now(), rand.Reader).String())
	b := make([]byte, 0, tokenLength)
	b = append(b, tokenPrefix...)
	b = append(b, id...)
	b = append(b, '_')
	b = appendRandom(b, secretLength, base58)
	sum := sha256.Sum256(b[secretStart:])
	b = appendChecksum(b)
	return id, secret.NewPlaintext(b), sum[:]
}

// NewAccessKey makes an access key pair: an ID of 20 upper-case letters and
// digits, and a secret half of 40 letters and digits (234 bits), which the
// caller seals.
func NewAccessKey() (id secret.CredentialID, key secret.Plaintext) {
	name := appendRandom([]byte(accessKeyPrefix), accessKeyRandomLength, base32)
	return secret.CredentialID(name), secret.NewPlaintext(appendRandom(nil, accessKeySecretLength, base58))
}

// appendRandom appends n characters of the alphabet, all equally likely.
func appendRandom(b []byte, n int, alphabet string) []byte {
	limit := 256 - 256%len(alphabet)
	var buf [64]byte
	for n > 0 {
		_, _ = rand.Read(buf[:]) // never fails
		for _, r := range buf {
			if n > 0 && int(r) < limit {
				b = append(b, alphabet[int(r)%len(alphabet)])
				n--
			}
		}
	}
	clear(buf[:])
	return b
}

func appendChecksum(b []byte) []byte {
	sum := crc32.ChecksumIEEE(b)
	for range checksumLength {
		b = append(b, base58[sum%58])
		sum /= 58
	}
	return b
}

// parseToken splits a token into the credential's ID and the secret half.
func parseToken(token string) (id secret.CredentialID, half string, ok bool) {
	if len(token) != tokenLength || !strings.HasPrefix(token, tokenPrefix) || token[secretStart-1] != '_' {
		return "", "", false
	}
	name := token[len(tokenPrefix) : secretStart-1]
	if !secret.ValidULID(name) {
		return "", "", false
	}
	var buf [tokenLength]byte
	copy(buf[:], token)
	sum := appendChecksum(buf[:tokenLength-checksumLength])
	// The checksum is public, so the time the comparison takes tells nothing.
	if string(sum) != token {
		return "", "", false
	}
	half = token[secretStart : secretStart+secretLength]
	for i := range len(half) {
		if !isBase58[half[i]] {
			return "", "", false
		}
	}
	return secret.CredentialID(name), half, true
}

// IsToken reports whether s has the form and the checksum of a token; whether
// it works is another matter. Dialects use it to tell tokens from other
// credentials.
func IsToken(s string) bool {
	_, _, ok := parseToken(s)
	return ok
}

// IsAccessKey reports whether s has the form of an access key's ID.
func IsAccessKey(s string) bool {
	if len(s) != accessKeyLength || !strings.HasPrefix(s, accessKeyPrefix) {
		return false
	}
	for i := len(accessKeyPrefix); i < len(s); i++ {
		if strings.IndexByte(base32, s[i]) < 0 {
			return false
		}
	}
	return true
}
