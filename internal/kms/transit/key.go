package transit

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/lifeboat-secrets/lifeboat/internal/kms"
)

// key is what the service says of a key.
type key struct {
	latest   keyVersion
	versions []keyVersion // that still decrypt
}

// keyVersion is one master key.
type keyVersion struct {
	name    string
	version int
	// id has the time of creation in it, so that a key of the same name in
	// another service, or one that was deleted and made anew, is another key.
	id string
}

// nameIn returns the name of the key in the ID of a version of it.
func nameIn(id, mount string) (string, bool) {
	rest, ok := strings.CutPrefix(id, "transit/"+mount+"/")
	name, version, ok2 := strings.Cut(rest, "/")
	return name, ok && ok2 && strings.HasPrefix(version, "v") && checkName("key", name) == nil
}

var errAnswer = errors.New("the answer is not that of a transit engine")

// decodeKey reads the description of a key. Errors: ErrUnfitKey, errAnswer.
func decodeKey(body []byte, mount, name string) (*key, error) {
	var answer struct {
		Data struct {
			Type       string                     `json:"type"`
			Derived    bool                       `json:"derived"`
			Exportable bool                       `json:"exportable"`
			Backup     bool                       `json:"allow_plaintext_backup"`
			Latest     int                        `json:"latest_version"`
			MinDecrypt int                        `json:"min_decryption_version"`
			Keys       map[string]json.RawMessage `json:"keys"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("%w: %w", errAnswer, err)
	}
	d := answer.Data
	switch {
	case d.Type == "":
		return nil, errAnswer
	case d.Type != "aes256-gcm96" && d.Type != "chacha20-poly1305":
		return nil, fmt.Errorf("%w: key %q has the type %q", ErrUnfitKey, name, d.Type)
	case d.Derived:
		return nil, fmt.Errorf("%w: key %q is derived", ErrUnfitKey, name)
	case d.Exportable:
		return nil, fmt.Errorf("%w: key %q is exportable", ErrUnfitKey, name)
	case d.Backup:
		return nil, fmt.Errorf("%w: key %q allows plaintext backups", ErrUnfitKey, name)
	}
	k := new(key)
	for text, raw := range d.Keys {
		version, err := strconv.Atoi(text)
		var created int64
		if err != nil || version < 1 || json.Unmarshal(raw, &created) != nil {
			return nil, errAnswer
		}
		if version < d.MinDecrypt {
			continue
		}
		v := keyVersion{name: name, version: version, id: fmt.Sprintf("transit/%s/%s/v%d@%d", mount, name, version, created)}
		k.versions = append(k.versions, v)
		if version == d.Latest {
			k.latest = v
		}
	}
	if k.latest.version == 0 {
		return nil, errAnswer
	}
	return k, nil
}

// decodeCiphertext reads the answer to an encryption with a version of a key.
func decodeCiphertext(body []byte, version int) (string, error) {
	var answer struct {
		Data struct {
			Ciphertext string `json:"ciphertext"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", fmt.Errorf("%w: %w", errAnswer, err)
	}
	ciphertext, prefix := answer.Data.Ciphertext, fmt.Sprintf("vault:v%d:", version)
	if !strings.HasPrefix(ciphertext, prefix) || len(ciphertext) == len(prefix) {
		return "", fmt.Errorf("%w: the ciphertext does not start with %s", errAnswer, prefix)
	}
	return ciphertext, nil
}

// decodePlaintext reads the answer to a decryption. Its errors quote nothing.
func decodePlaintext(body []byte) ([]byte, error) {
	var answer struct {
		Data struct {
			Plaintext []byte `json:"plaintext"`
		} `json:"data"`
	}
	if json.Unmarshal(body, &answer) != nil || kms.CheckPlaintext(answer.Data.Plaintext) != nil {
		clear(answer.Data.Plaintext)
		return nil, errAnswer
	}
	return answer.Data.Plaintext, nil
}
