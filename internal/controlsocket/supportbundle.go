package controlsocket

import (
	"context"
	"io"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// SupportBundle has the process describe itself and writes what it answers, a
// compressed tar archive without secrets, to w. After an error w may hold a part.
func (c *Client) SupportBundle(ctx context.Context, w io.Writer) error {
	response, err := c.post(ctx, "/v1/support-bundle", nil, secret.CodeUnavailable)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if _, err := io.Copy(w, response.Body); err != nil {
		return secret.Wrap(secret.CodeUnavailable, err, "the process did not answer in full")
	}
	return nil
}
