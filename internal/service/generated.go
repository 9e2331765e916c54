package service

import (
	"context"
	"encoding/json"
	"maps"

	"github.com/lifeboat-secrets/lifeboat/internal/keyring"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// PublicKeyMetadata is the key of the custom metadata that holds the public key of
// a key pair that was generated.
const PublicKeyMetadata = "ssh-public-key"

// Generated is a value that is made where it is stored, so that nobody sees it.
type Generated struct {
	// Make returns the value and, of a key pair, the public key. It is called at most
	// once, when the caller is known to be permitted.
	Make func() (value secret.Plaintext, publicKey string, err error)
	// Rule says what Make makes; by it a repeated creation is recognised.
	Rule string

	made      bool
	value     secret.Plaintext
	publicKey string
}

func valueAndGenerate() error {
	return secret.Invalid("generate", "cannot be given together with a value")
}

// take returns what Make made, however often a mutation is planned.
func (g *Generated) take() (secret.Plaintext, string, error) {
	if !g.made {
		var err error
		if g.value, g.publicKey, err = g.Make(); err != nil {
			return secret.Plaintext{}, "", err
		}
		g.made = true
	}
	return g.value, g.publicKey, nil
}

// opener returns what opens sealed texts of a secret.
func (c *call) opener(ctx context.Context, view record.View) func(*secret.Secret, keyring.Field, secret.Sealed) (secret.Plaintext, error) {
	return func(sec *secret.Secret, field keyring.Field, sealed secret.Sealed) (secret.Plaintext, error) {
		return c.service.Keyring.Open(ctx, view, string(sec.ID.Vault()), sealed, associatedData(sec, "", field))
	}
}

// generateFor makes the value of a new secret and returns its encoded metadata.
func (e *edit) generateFor(n *NewSecret) (metadata []byte, err error) {
	if n.Value, e.publicKey, err = n.Generate.take(); err != nil {
		return nil, err
	}
	if e.publicKey != "" {
		with := maps.Clone(n.Metadata)
		if with == nil {
			with = map[string]string{}
		}
		with[PublicKeyMetadata] = e.publicKey
		n.Metadata = with
	}
	return encodeMetadata(n.Metadata)
}

// generate makes the value of a new version. It finds the version that the request
// put before, if there is one.
func (e *edit) generate(sec *secret.Secret, n NewValue) (value secret.Plaintext, err error) {
	for i := range sec.Versions {
		if prior := &sec.Versions[i]; n.RequestToken != "" && prior.RequestToken == n.RequestToken {
			e.version, e.replayed, e.nothing = prior, true, true
			e.publicKey, err = e.storedPublicKey(sec)
			return secret.Plaintext{}, err
		}
	}
	if value, e.publicKey, err = n.Generate.take(); err != nil || e.publicKey == "" {
		return value, err
	}
	metadata, err := e.metadata(sec)
	if err != nil {
		return secret.Plaintext{}, err
	}
	metadata[PublicKeyMetadata] = e.publicKey
	encoded, err := encodeMetadata(metadata)
	if err != nil {
		return secret.Plaintext{}, err
	}
	sec.Metadata, err = e.seal(sec, "", keyring.Metadata, secret.NewPlaintext(encoded))
	return value, err
}

// metadata opens the custom metadata of a secret.
func (e *edit) metadata(sec *secret.Secret) (map[string]string, error) {
	metadata := map[string]string{}
	if len(sec.Metadata) == 0 {
		return metadata, nil
	}
	encoded, err := e.open(sec, keyring.Metadata, sec.Metadata)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(encoded.Reveal(), &metadata); err != nil {
		return nil, secret.Errorf(secret.CodeCorrupt, "custom metadata of secret %s cannot be decoded", sec.ID)
	}
	return metadata, nil
}

func (e *edit) storedPublicKey(sec *secret.Secret) (string, error) {
	metadata, err := e.metadata(sec)
	return metadata[PublicKeyMetadata], err
}
