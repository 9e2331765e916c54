package generate

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"strings"
	"unicode"

	"golang.org/x/crypto/ssh"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// The types of SSH keys.
const (
	Ed25519 = "ed25519"
	RSA     = "rsa"
)

// DefaultRSABits is the length of an RSA key; the other one allowed is 4096. To make
// a longer one takes seconds.
const DefaultRSABits = 3072

// MaxCommentBytes bounds the comment of an SSH key.
const MaxCommentBytes = 128

// SSHRules say what SSH key pair to make.
type SSHRules struct {
	// Type is Ed25519, also if empty, or RSA.
	Type string
	// Bits of an RSA key: DefaultRSABits, also if zero, or 4096.
	Bits int
	// Comment ends both keys.
	Comment string
}

func (r SSHRules) check() error {
	switch r.Type {
	case "", Ed25519:
		if r.Bits != 0 {
			return secret.Invalid("bits", "can be given for RSA keys only")
		}
	case RSA:
		if r.Bits != 0 && r.Bits != DefaultRSABits && r.Bits != 4096 {
			return secret.Invalid("bits", "is %d; allowed are %d and 4096", r.Bits, DefaultRSABits)
		}
	default:
		return secret.Invalid("type", "is unknown; allowed are %s and %s", Ed25519, RSA)
	}
	if err := secret.CheckText("comment", r.Comment, MaxCommentBytes); err != nil {
		return err
	}
	if strings.ContainsFunc(r.Comment, unicode.IsControl) {
		return secret.Invalid("comment", "must be one line without control characters")
	}
	return nil
}

// SSHKey makes an SSH key pair: the private key in the format of OpenSSH, without a
// passphrase, and the public key as a line of an authorized_keys file, without its
// end. Errors: CodeInvalid.
func SSHKey(r SSHRules) (private secret.Plaintext, public string, err error) {
	if err := r.check(); err != nil {
		return secret.Plaintext{}, "", err
	}
	var key crypto.Signer
	if r.Type == RSA {
		bits := r.Bits
		if bits == 0 {
			bits = DefaultRSABits
		}
		key, err = rsa.GenerateKey(rand.Reader, bits)
	} else {
		_, key, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		return secret.Plaintext{}, "", err
	}
	block, err := ssh.MarshalPrivateKey(key, r.Comment)
	if err != nil {
		return secret.Plaintext{}, "", err
	}
	half, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		return secret.Plaintext{}, "", err
	}
	public = strings.TrimSuffix(string(ssh.MarshalAuthorizedKey(half)), "\n")
	if r.Comment != "" {
		public += " " + r.Comment
	}
	encoded := pem.EncodeToMemory(block)
	clear(block.Bytes)
	return secret.NewPlaintext(encoded), public, nil
}
