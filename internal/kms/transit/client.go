package transit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/lifeboat-secrets/lifeboat/internal/kms/credential"
)

const (
	maxResponseBytes = 256 << 10 // a key of 1,000 versions is described in 20 KiB
	maxReasonBytes   = 300
)

// client speaks the wire.
type client struct {
	http    *http.Client
	options Options
}

// refusal is an answer of the service other than success.
type refusal struct {
	status int
	// reason is what the service says, cut; empty if that is withheld.
	reason string
	// spoken is false if the answer does not look like one of Vault's: it is then
	// of something in between.
	spoken bool
}

func (r *refusal) Error() string {
	s := fmt.Sprintf("the service answered with status %d", r.status)
	if r.reason != "" {
		s += ": " + strconv.Quote(r.reason)
	}
	return s
}

// refusedWith reports whether the service itself answered with one of the
// statuses.
func refusedWith(err error, statuses ...int) bool {
	r, ok := errors.AsType[*refusal](err)
	for _, status := range statuses {
		if ok && r.spoken && r.status == status {
			return true
		}
	}
	return false
}

type encryptRequest struct {
	Plaintext      []byte `json:"plaintext"`
	AssociatedData []byte `json:"associated_data"`
	KeyVersion     int    `json:"key_version"`
}

type decryptRequest struct {
	Ciphertext     string `json:"ciphertext"`
	AssociatedData []byte `json:"associated_data"`
}

func (c *client) encrypt(ctx context.Context, key keyVersion, plaintext, binding []byte) (string, error) {
	body, err := c.do(ctx, http.MethodPost, c.options.Mount+"/encrypt/"+key.name,
		encryptRequest{Plaintext: plaintext, AssociatedData: binding, KeyVersion: key.version})
	if r, ok := errors.AsType[*refusal](err); ok {
		r.reason = "" // it might quote the request
	}
	if err != nil {
		return "", err
	}
	return decodeCiphertext(body, key.version)
}

func (c *client) decrypt(ctx context.Context, name, ciphertext string, binding []byte) ([]byte, error) {
	body, err := c.do(ctx, http.MethodPost, c.options.Mount+"/decrypt/"+name,
		decryptRequest{Ciphertext: ciphertext, AssociatedData: binding})
	defer clear(body)
	if err != nil {
		return nil, err
	}
	return decodePlaintext(body)
}

func (c *client) key(ctx context.Context, name string) (*key, error) {
	body, err := c.do(ctx, http.MethodGet, c.options.Mount+"/keys/"+name, nil)
	if err != nil {
		return nil, err
	}
	return decodeKey(body, c.options.Mount, name)
}

// rotate makes a new version of a key.
func (c *client) rotate(ctx context.Context, name string) error {
	_, err := c.do(ctx, http.MethodPost, c.options.Mount+"/keys/"+name+"/rotate", struct{}{})
	return err
}

// checkToken returns ErrToken if the service does not know the token.
func (c *client) checkToken(ctx context.Context) error {
	_, err := c.do(ctx, http.MethodGet, "auth/token/lookup-self", nil)
	if refusedWith(err, http.StatusForbidden) {
		return ErrToken
	}
	return err
}

// do returns the body of a successful answer, or a *refusal.
func (c *client) do(ctx context.Context, method, path string, request any) ([]byte, error) {
	var body []byte
	if request != nil {
		var err error
		if body, err = json.Marshal(request); err != nil {
			return nil, err
		}
		defer clear(body)
	}
	r, err := http.NewRequestWithContext(ctx, method, c.options.Address+"/v1/"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	token, err := credential.Read(c.options.TokenFile)
	if err != nil {
		return nil, err
	}
	r.Header.Set("X-Vault-Token", string(token))
	clear(token)
	r.Header.Set("X-Vault-Request", "true")
	r.Header.Set("Content-Type", "application/json")
	if c.options.Namespace != "" {
		r.Header.Set("X-Vault-Namespace", c.options.Namespace)
	}
	response, err := c.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxResponseBytes+1))
	switch {
	case err != nil:
		clear(answer)
		return nil, err
	case len(answer) > maxResponseBytes:
		clear(answer)
		return nil, fmt.Errorf("the answer has more than %d bytes", maxResponseBytes)
	case response.StatusCode != http.StatusOK && response.StatusCode != http.StatusNoContent:
		return nil, decodeRefusal(response.StatusCode, answer)
	}
	return answer, nil
}

// decodeRefusal reads {"errors": [...]}.
func decodeRefusal(status int, body []byte) *refusal {
	r := &refusal{status: status}
	var answer struct {
		Errors *[]string `json:"errors"`
	}
	if json.Unmarshal(body, &answer) != nil || answer.Errors == nil {
		return r
	}
	r.spoken = true
	r.reason = strings.Join(*answer.Errors, "; ")
	if len(r.reason) > maxReasonBytes {
		r.reason = strings.ToValidUTF8(r.reason[:maxReasonBytes], "")
	}
	return r
}
