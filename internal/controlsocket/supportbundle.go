package controlsocket

import (
	"context"
	"io"
	"net/http"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// SupportBundle has the process describe itself and writes what it answers, a
// compressed tar archive without secrets, to w. After an error w may hold a part.
func (c *Client) SupportBundle(ctx context.Context, w io.Writer) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://control/v1/support-bundle", nil)
	if err != nil {
		return err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return c.notReached(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
		if err != nil {
			return secret.Wrap(secret.CodeUnavailable, err, "the process did not answer in full")
		}
		return failureOf(response.Status, answer)
	}
	if _, err := io.Copy(w, response.Body); err != nil {
		return secret.Wrap(secret.CodeUnavailable, err, "the process did not answer in full")
	}
	return nil
}
