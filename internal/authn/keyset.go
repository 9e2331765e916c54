package authn

import (
	"crypto/rsa"
	"encoding/json"

	"github.com/go-jose/go-jose/v4"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const (
	// maxKeys bounds the keys of an issuer.
	maxKeys = 100
	// minRSABits is the least that a key of an issuer may have.
	minRSABits = 2048
)

// PublicKeys returns a JSON Web Key Set reduced to the keys that can verify a
// signature, and their IDs. Keys with a shared secret, for encryption, or of
// kinds that are not known are left out; private keys are refused, since they
// have been shown to whom they should not. Errors: CodeInvalid, also if nothing
// is left.
func PublicKeys(field string, set []byte) (reduced []byte, ids []string, err error) {
	if len(set) > secret.MaxKeySetBytes {
		return nil, nil, secret.Invalid(field, "has %d bytes; the limit is %d", len(set), secret.MaxKeySetBytes)
	}
	var raw struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(set, &raw); err != nil {
		return nil, nil, secret.Invalid(field, "is not a JSON Web Key Set")
	}
	if len(raw.Keys) > maxKeys {
		return nil, nil, secret.Invalid(field, "has %d keys; the limit is %d", len(raw.Keys), maxKeys)
	}
	var kept jose.JSONWebKeySet
	seen := map[string]bool{}
	for _, text := range raw.Keys {
		var key jose.JSONWebKey
		if key.UnmarshalJSON(text) != nil || !key.Valid() {
			continue // a kind of key that is not known need not keep the others from being used
		}
		if _, symmetric := key.Key.([]byte); symmetric || key.Use == "enc" {
			continue
		}
		if !key.IsPublic() {
			return nil, nil, secret.Invalid(field, "holds a private key").WithHint("replace that key: whoever has seen it can sign")
		}
		if r, ok := key.Key.(*rsa.PublicKey); ok && r.N.BitLen() < minRSABits {
			continue
		}
		if seen[key.KeyID] {
			return nil, nil, secret.Invalid(field, "has two keys with the same ID")
		}
		seen[key.KeyID] = true
		kept.Keys = append(kept.Keys, jose.JSONWebKey{Key: key.Key, KeyID: key.KeyID, Algorithm: key.Algorithm, Use: "sig"})
		ids = append(ids, key.KeyID)
	}
	if len(kept.Keys) == 0 {
		return nil, nil, secret.Invalid(field, "has no public key that can verify a signature")
	}
	reduced, err = json.Marshal(kept)
	if err != nil {
		return nil, nil, secret.Wrap(secret.CodeInternal, err, "encode a key set")
	}
	return reduced, ids, nil
}

// KeyIDs returns the IDs of the keys of a set that PublicKeys made.
func KeyIDs(set []byte) (ids []string) {
	var keys jose.JSONWebKeySet
	if len(set) == 0 || json.Unmarshal(set, &keys) != nil {
		return nil
	}
	for i := range keys.Keys {
		ids = append(ids, keys.Keys[i].KeyID)
	}
	return ids
}
