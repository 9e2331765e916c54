package rotation

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Headers of a request to a rotator. The signature is HMAC-SHA-256, in hexadecimal,
// of the timestamp (Unix seconds), a dot and the body, under the rotator's key.
const (
	HeaderTimestamp = "Lifeboat-Timestamp"
	HeaderSignature = "Lifeboat-Signature"
)

// DefaultTimeout bounds one step of a rotator unless told otherwise.
const DefaultTimeout = time.Minute

// Endpoint is a rotator.
type Endpoint struct {
	URL string
	// Key signs requests.
	Key secret.Plaintext
	// Client sends them; it should follow no redirections.
	Client *http.Client
	// Timeout bounds one step.
	Timeout time.Duration
}

// stepNames are those of the rotators' contract.
var stepNames = map[secret.RotationStep]string{
	secret.CreateStep: "createSecret", secret.SetStep: "setSecret", secret.TestStep: "testSecret", secret.FinishStep: "finishSecret",
}

// call asks the rotator for a step. The error is told to whoever may describe the
// secret: it has nothing of what the rotator answered.
func (e *Endpoint) call(ctx context.Context, secretID string, version secret.VersionID, step secret.RotationStep, now time.Time) error {
	body, err := json.Marshal(map[string]string{"Step": stepNames[step], "SecretId": secretID, "ClientRequestToken": string(version)})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, e.Timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, e.URL, bytes.NewReader(body))
	if err != nil {
		return err
	}
	timestamp := strconv.FormatInt(now.Unix(), 10)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(HeaderTimestamp, timestamp)
	r.Header.Set(HeaderSignature, Sign(e.Key, timestamp, body))
	answer, err := e.Client.Do(r)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("the rotator did not answer within %s", e.Timeout)
		}
		return errors.New("the rotator cannot be reached")
	}
	defer func() { _ = answer.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 64<<10))
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		return fmt.Errorf("the rotator answered %s with status %d", stepNames[step], answer.StatusCode)
	}
	return nil
}

// Sign returns the signature of a request.
func Sign(key secret.Plaintext, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, key.Reveal())
	_, _ = mac.Write([]byte(timestamp + "."))
	_, _ = mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}
